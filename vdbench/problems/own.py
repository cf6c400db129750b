"""Problems of the user's own: found by ``package.module:factory``, and imported only where the user named the code.

A suite is data: that it names a function does not let it run one. Named is what an installed package has as an entry
point in the group ``vdbench.problems``, the module of a ``--plugin FILE.py``, and what ``--allow`` or ``--set`` name.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any

from vdbench.errors import InputError, nearest, one_line, sentence, shown

ENTRY_POINTS = "vdbench.problems"

plugins: dict[str, ModuleType] = {}
"""Modules of plug-in files, by the name of the file without ending; they are not imported again."""


def installed() -> dict[str, importlib.metadata.EntryPoint]:
    """Factories of installed packages, by the name and by the ``package.module:factory`` of their entry point."""
    found = list(importlib.metadata.entry_points(group=ENTRY_POINTS))
    return {entry.value: entry for entry in found} | {entry.name: entry for entry in found}


def need_allowed(
    where: str, factories: Mapping[str, str], builtin: Collection[str], allow: Collection[str]
) -> None:
    """See that a suite runs no code that the user has not named; nothing is imported to find out.

    Args:
        where: What messages call the suite.
        factories: By problem, its factory.
        builtin: Names of vdbench's own factories.
        allow: Modules, and factories as ``package.module:factory``, that the user named; a package's name stands for
            its modules.

    Raises:
        InputError: It does; says what to add to the command line.
    """
    named = {f for f in factories.values() if ":" in f and f not in allow}
    known = installed() if named else {}
    for name, factory in factories.items():
        module, colon, _ = factory.partition(":")
        if factory in builtin or not colon or factory in allow or factory in known:
            continue
        parts = module.split(".")
        if any(".".join(parts[: n + 1]) in allow for n in range(len(parts))):
            continue
        if not all(part.isidentifier() for part in parts):
            raise InputError(
                f"{where}: problem {shown(name)}: {shown(factory)} is no package.module:factory."
            )
        raise InputError(
            sentence(
                f"{where[:60]}: problem {shown(name, 60)} would run {shown(factory, 60)[1:-1]}, which nobody has "
                f"allowed: if you trust it, add --allow {shlex.quote(module)}"
                " (from Python, allow=[...])."
            )
        )


def find(name: str, factory: str, builtin: Collection[str]) -> Callable[..., Any]:
    """The function that makes a problem; its module is imported.

    Args:
        name: The problem's.
        factory: ``package.module:factory``, looked up from the current folder too, or the name of an entry point.
        builtin: Names of vdbench's own factories, for messages.

    Raises:
        InputError: It cannot be found.
    """
    module, colon, function = factory.partition(":")
    entry = installed().get(factory)
    if entry is not None:
        module, _, function = entry.value.partition(":")
    elif not colon:
        raise InputError(
            f"problem '{name}': factory '{factory}' is unknown.{nearest(factory, builtin)} "
            "One of your own is written package.module:factory."
        )
    home = plugins.get(module) or _imported(name, module)
    found = getattr(home, function, None)
    if found is None:
        raise InputError(f"problem '{name}': module '{module}' has no '{function}'.")
    if not callable(found):
        raise InputError(f"problem '{name}': {factory} is no function.")
    make: Callable[..., Any] = found
    return make


def _imported(name: str, module: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a folder of the user's hides no package
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"problem '{name}': there is no module '{error.name}'.") from error
    except (Exception, SystemExit) as error:
        raise InputError(
            f"problem '{name}': importing '{module}' failed with {type(error).__name__}: {one_line(error)}"
        ) from error
