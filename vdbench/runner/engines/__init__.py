"""Engines: libraries that have jobs of a run done on many machines. Each has one file here.

What is handed out are the jobs of `vdbench.runner.bench`, as to ``--jobs`` and to ``vdbench worker``. Which machine
does a job, when, and again if the machine is lost, is the engine's business.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from vdbench import workers
from vdbench.errors import InputError, nearest, shown
from vdbench.runner.orders import Engine

LOCAL = "local"
ENGINES = {"ray": "on_ray", "slurm": "on_slurm"}
"""Modules of this folder by the engine's name; the package that it needs is an extra of the same name."""


def named(
    name: str, options: Mapping[str, Any] | None, share: str, isolate: bool = True
) -> Engine | None:
    """An engine.

    Args:
        name: ``local``, ``ray`` or ``slurm``.
        options: What it is told; its module lists what there is.
        share: fsspec URL; '' for a folder that all machines see.
        isolate: Whether estimators may have processes of their own, which engines need.

    Returns:
        The engine; None for ``local``.

    Raises:
        InputError: There is no such engine or option, or its package is not installed.
    """
    given = dict(options or {})
    if name not in (LOCAL, *ENGINES):
        raise InputError(f"--engine {name}: there is none.{nearest(name, (LOCAL, *ENGINES))}")
    if name == LOCAL:
        if given or share:
            what = "--share" if share else "--engine-option"
            raise InputError(f"{what}: it is for --engine {' or '.join(ENGINES)}.")
        return None
    why = workers.possible() if isolate else "isolate=False asks for one process"
    if why:
        raise InputError(f"--engine {name}: it measures in processes of their own, and {why}.")
    _need("fsspec", "--share", "fsspec") if share else None
    module = importlib.import_module(f"vdbench.runner.engines.{ENGINES[name]}")
    _need(module.PACKAGE, f"--engine {name}", f"vdbench[{name}]")
    made: Engine = module.make(_options(name, module.Options, given), share)
    return made


def parsed(given: Sequence[str]) -> dict[str, Any]:
    """Options of an engine as the command line has them, ``KEY=VALUE``; values are read as YAML reads them.

    Raises:
        InputError: One is not of this form.
    """
    found: dict[str, Any] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not (key and sign):
            raise InputError(
                f"--engine-option {shown(text)}: expected KEY=VALUE, as in address=auto."
            )
        if key in found:
            raise InputError(f"--engine-option {shown(key)}: it is given twice.")
        try:
            found[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError):
            found[key] = value
    return found


def _need(package: str, asked: str, install: str) -> None:
    try:
        # a folder of that name, as Ray makes one, is imported too, but has no file
        there = getattr(importlib.import_module(package), "__file__", None) is not None
    except ImportError:
        there = False
    if not there:
        raise InputError(
            f"{asked}: it needs the package {package}, which is not installed here; pip install '{install}'."
        )


def _options(name: str, kind: type[BaseModel], given: Mapping[str, Any]) -> Any:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            said = f"there is none.{nearest(key, kind.model_fields)}"
        else:
            said = f"{first['msg']}."
        raise InputError(f"--engine-option {key} of {name}: {said}") from error
