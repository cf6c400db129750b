"""The estimators and checkpoints that a suite's short specifications stand for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from vdbench import limits
from vdbench.errors import InputError
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import get, label
from vdbench.suite.schema import CheckpointSpec, EstimatorSpec


def expand(spec: EstimatorSpec) -> list[Estimator]:
    """The estimators that a specification stands for: one for each combination of listed option values.

    Raises:
        InputError: The name or an option is not one there is.
    """
    limits.within(
        f"estimator '{spec.name}'", "estimators", count(spec.options), limits.limits().estimators
    )
    combinations = _combinations(spec.options)
    if not combinations:
        raise InputError(f"estimator '{spec.name}': an option's list of values is empty.")
    return [get(spec.name, **options) for options in combinations]


def count(grid: Mapping[str, Any]) -> int:
    """How many estimators options stand for, before one is made."""
    values = [value if isinstance(value, list) else [value] for value in grid.values()]
    return math.prod(
        sum(count(item) if isinstance(item, Mapping) else 1 for item in items) for items in values
    )


def _combinations(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every mapping that one with lists in it stands for; a mapping within, as a wrapper's ``of``, is a grid too."""
    values = {key: value if isinstance(value, list) else [value] for key, value in grid.items()}
    each = [
        [
            one
            for item in items
            for one in (_combinations(item) if isinstance(item, Mapping) else [item])
        ]
        for items in values.values()
    ]
    return [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*each)]


def single(spec: EstimatorSpec) -> Estimator:
    """The one estimator that a specification stands for.

    Raises:
        InputError: It stands for several, or is not valid.
    """
    found = expand(spec)
    if len(found) > 1:
        raise InputError(
            f"estimator '{spec.name}': one is needed here, the options give {len(found)}."
        )
    return found[0]


def checkpoint_name(spec: CheckpointSpec) -> str:
    """The name given, else ``initial`` or ``local-5-epochs``."""
    if spec.name:
        return spec.name
    if spec.epochs == 0:
        return "initial"
    return f"{label(single(spec.estimator))}-{spec.epochs}-epochs"
