"""A suite that is built in Python: its mapping may hold problems and estimators, where a file has their names.

An item of ``problems`` may be a `Problem`, or a mapping whose key ``problem`` has one, or a pair of a module and its
data. An estimator may stand wherever its name may.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from vdbench.errors import InputError, shown
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import label, options, within
from vdbench.problems import given
from vdbench.problems.from_module import noisy
from vdbench.problems.problem import Problem


def plain(source: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Problem]]:
    """The suite as a file would have it, and the problems that were handed over, by name.

    Args:
        source: The suite as a mapping; what is wrong in it beside is left to be refused.

    Raises:
        InputError: A problem is none, or has no name of its own; a module does not become one (`vdbench.noisy`); or an
            estimator is of a class that is no longer registered.
    """
    written = dict(source)
    held: dict[str, Problem] = {}
    if isinstance(written.get("problems"), list | tuple):
        written["problems"] = [
            _problem(place, item, held) for place, item in enumerate(written["problems"])
        ]
    for key in ("estimators", "checkpoints"):
        if isinstance(written.get(key), list | tuple):
            written[key] = [_estimator(item) for item in written[key]]
    for key in ("baseline", "reference"):
        if isinstance(written.get(key), Estimator):
            made = known(written[key])
            written[key] = label(made) if key == "baseline" else spec(made)
    return written, held


def spec(estimator: Estimator) -> dict[str, Any]:
    """How a suite writes an estimator.

    Raises:
        InputError: Its class is not registered, or not any longer.
    """
    made = known(estimator)
    return {"name": made.declaration.name, "options": options(made)}


def known(estimator: Estimator) -> Estimator:
    """The estimator itself, if it and those it wraps are of the classes that are registered.

    Raises:
        InputError: One is not; a suite would measure another by its name.
    """
    cls = type(estimator)
    declared = getattr(cls, "declared", None)
    if declared is None:
        raise InputError(
            f"{shown(estimator)} is of a class that is not registered; put @vdbench.register(...) above it."
        )
    if registry.find(declared.name) is not cls:
        raise InputError(
            f"{shown(estimator)} is of a class that was registered as '{declared.name}' before the present one; make "
            f"it again, such as with vdbench.get('{declared.name}')."
        )
    for inner in within(estimator):
        known(inner)
    return estimator


def _problem(place: int, item: Any, held: dict[str, Problem]) -> Any:
    """An item of ``problems`` as a file has it; a problem goes into ``held``."""
    rest: dict[str, Any] = {}
    if isinstance(item, Mapping):
        if "problem" not in item:
            return _with_labels(item)
        rest = {key: value for key, value in item.items() if key != "problem"}
        for key in ("factory", "options"):
            if key in rest:
                raise InputError(
                    f"suite: problems.{place}: expected either a problem or {key}, not both."
                )
        item = item["problem"]
    found = _made(place, item, rest.get("name"))
    name = str(rest.pop("name", found.name))
    held[name] = dataclasses.replace(found, name=name)
    return {"name": name, **given.spec(held[name]), **_with_labels(rest)}


def _made(place: int, item: Any, name: Any) -> Problem:
    """A problem, or one of a module and its data."""
    if isinstance(item, Problem):
        return item
    if isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], nn.Module):
        return noisy(item[0], item[1], name=str(name or "module"))
    raise InputError(
        f"suite: problems.{place}: expected a problem (vdbench.noisy), a module with its data as (module, data), or a "
        f"mapping as in a file, not {shown(item)}."
    )


def _with_labels(item: Mapping[str, Any]) -> dict[str, Any]:
    """A problem's keys with the labels of its estimators."""
    chosen = item.get("estimators")
    if not isinstance(chosen, list | tuple):
        return dict(item)
    names = [label(known(e)) if isinstance(e, Estimator) else e for e in chosen]
    return {**item, "estimators": names}


def _estimator(item: Any) -> Any:
    """An estimator, or what has one within, as a file has it."""
    if isinstance(item, Estimator):
        return spec(item)
    if isinstance(item, Mapping):
        return {key: _estimator(value) for key, value in item.items()}
    return [_estimator(one) for one in item] if isinstance(item, list | tuple) else item
