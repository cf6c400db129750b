"""Which estimators a check on the command line is of: one by name, made of others or not, or all of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vdbench import problems
from vdbench.errors import InputError, nearest, shown
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import get
from vdbench.measures.registry import load
from vdbench.problems.problem import Problem
from vdbench.suite import yaml_file
from vdbench.suite.schema import ProblemSpec
from vdbench.suite.yaml_text import YamlError, parse


def subjects(name: str, options: Sequence[str] = (), of: Sequence[str] = ()) -> list[Estimator]:
    """The estimators meant.

    Args:
        name: A registered name, or a path ending in ``.py`` to a file that registers some: all of them.
        options: ``key=value``, the value as YAML writes it; for one estimator.
        of: What a wrapper wraps, from the outside in: ``["samples", "local"]``.

    Raises:
        InputError: There is no such name, file or option, the options are for several estimators, or ``of`` is for none
            that wraps.
    """
    names = registry.load_plugin(name) if name.endswith(".py") else [name]
    values = _values(options)
    if len(names) > 1 and (values or of):
        raise InputError(
            f"check {name}: --option and --of are for one estimator, and the file registers {len(names)}: "
            f"{', '.join(names)}; load it with --plugin and name one."
        )
    return [_made(one, values, of) for one in names]


def own_problem(text: str, allow: Sequence[str], plugins: Sequence[Path]) -> Problem:
    """A problem by its factory, as a suite names it, or one of a suite's.

    Args:
        text: A factory of vdbench, ``module:factory`` of the user's own, or ``suite:problem`` with a bundled suite's
            name or the path of a YAML file. A module that ``allow`` or ``plugins`` name comes before a suite of that
            name.
        allow: Modules and factories that may be run.
        plugins: Files that were loaded, whose modules may be run, too.

    Raises:
        InputError: It is not allowed, cannot be found or returns no problem.
    """
    named = [*allow, *(plugin.stem for plugin in plugins)]
    suite, colon, name = text.rpartition(":")
    if colon and text not in named and suite not in named and _is_suite(suite):
        spec = _of_suite(suite, name)
        name, factory, options = spec.name, spec.factory, spec.options
    else:
        name, factory, options = "own", text, {}
    problems.need_allowed("check --problem", {name: factory}, named)
    return problems.build(name, factory, options)


def _is_suite(text: str) -> bool:
    """Whether a text names a bundled suite, or a file as suites are in."""
    return text in yaml_file.names() or Path(text).suffix in (".yaml", ".yml")


def _of_suite(suite: str, name: str) -> ProblemSpec:
    """A problem of a suite, by its name there."""
    known = {spec.name: spec for spec in load(suite).problems}
    if name not in known:
        raise InputError(
            f"check --problem: suite '{suite}' has no problem {shown(name)}.{nearest(name, known)}"
        )
    return known[name]


def _made(name: str, values: dict[str, Any], of: Sequence[str]) -> Estimator:
    if not of:
        return get(name, **values)
    if "of" in values:
        raise InputError(
            f"check {name}: the estimator inside is given twice, by --of and --option of."
        )
    known = [f.name for f in dataclasses.fields(registry.find(name))]  # type: ignore[arg-type]
    if "of" not in known:
        raise InputError(
            f"check {name}: estimator '{name}' wraps no other; --of is for one that does, such as samples."
        )
    first, *rest = of
    return get(name, **values, of=_made(first, {}, rest))


def _values(options: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--option {text}: expected key=value, such as samples=4.")
        if key.strip() in found:
            raise InputError(f"--option {text}: option '{key.strip()}' is given twice.")
        try:
            found[key.strip()] = parse(value)
        except YamlError as error:
            why = error.problem if error.refused else "the value is no YAML"
            raise InputError(f"--option {text}: {why}.") from error
    return found
