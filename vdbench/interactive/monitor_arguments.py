"""What a monitor is given, checked before a training begins."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from vdbench.datasets.conversion import as_dataset
from vdbench.errors import InputError, nearest, shown
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import get, label
from vdbench.problems.from_module import noisy
from vdbench.problems.problem import Problem
from vdbench.suite import in_python

LEAST = 16
"""Fewest units of a measurement: fewer have no interval worth the name."""


def check_settings(every: Any, units: Any, objective: str, precision: str, level: Any) -> None:
    """See that numbers and choices are ones there are."""
    for name, value, least in (("every", every, 1), ("units", units, LEAST)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(
                f"Monitor: {name} must be a whole number of at least {least}, not {value!r}."
            )
    for name, chosen, known in (
        ("objective", objective, ("likelihood", "elbo")),
        ("precision", precision, ("float32", "float64")),
    ):
        if chosen not in known:
            raise InputError(f"Monitor: {name} '{chosen}' is unknown.{nearest(chosen, known)}")
    if not 0.5 <= level < 1:
        raise InputError(f"Monitor: level must be from 0.5 to below 1, not {level!r}.")


def check(model: Any, data: Any, parameters: Any, options: Mapping[str, Any]) -> None:
    """See that what is given is of the right kind."""
    if isinstance(model, Problem):
        if data is not None or options:
            more = "data" if data is not None else next(iter(options))
            raise InputError(
                f"Monitor: problem '{model.name}' is made already; leave {more}= out, or pass the module."
            )
        if parameters is None:
            raise InputError(
                f"Monitor: problem '{model.name}' does not change with a training; pass parameters=, the tensors that "
                "the training changes, by the problem's names."
            )
        return
    if not isinstance(model, nn.Module):
        raise InputError(
            f"Monitor: expected a torch.nn.Module or a problem (vdbench.noisy), not {shown(model)}."
        )
    if data is None:
        raise InputError("Monitor: a module needs data=, such as (X, y).")
    known = set(inspect.signature(noisy).parameters) - {
        "module",
        "data",
        "parameters",
        "keep_weights",
    }
    for name in options:
        if name not in known:
            raise InputError(f"Monitor: there is no option '{name}'.{nearest(name, known)}")


def estimators(given: Any) -> dict[str, Estimator]:
    """Estimators by their labels."""
    found: dict[str, Estimator] = {}
    for one in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(one, str | Estimator):
            raise InputError(
                f"Monitor: estimators: expected names or estimators, not {shown(one)}; data are the third argument."
            )
        made = get(one) if isinstance(one, str) else in_python.known(one)
        if label(made) in found:
            raise InputError(f"Monitor: estimator '{label(made)}' is given twice.")
        found[label(made)] = made
    if not found:
        raise InputError("Monitor: estimators is empty.")
    return found


def baseline(given: str | None, labels: Sequence[str]) -> str:
    """What ratios are against: what is given, else naive, else the first."""
    if given is None:
        return "naive" if "naive" in labels else labels[0]
    if given not in labels:
        raise InputError(
            f"Monitor: baseline '{given}' is none of the estimators.{nearest(given, labels)}"
        )
    return given


def read(data: Any, options: dict[str, Any]) -> Any:
    """The data, read once; several inputs stay as they are given, since they are read with the module."""
    name = str(options.get("name", "module"))
    found = as_dataset(data, test=options.get("test"), target=options.get("target"), name=name)
    if found.tables is not None:
        return data
    for key in ("test", "target"):
        options.pop(key, None)
    return found.dataset
