"""The table of figures: ``results.parquet``, one row a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbench.estimation.options import canonical, options
from vdbench.measures.metrics import Figure
from vdbench.runner.plan import Cell
from vdbench.store import atomic

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "suite": "str", "problem": "str", "checkpoint": "str", "estimator": "str", "options": "str",
    "objective": "str", "parameterization": "str", "precision": "str", "device": "str",
    "batch_size": "int64", "samples": "int64", "seed": "int64", "layer": "str", "role": "str",
    "metric": "str", "step": "float64", "seconds": "float64", "value": "float64", "ci_low": "float64",
    "ci_high": "float64", "level": "float64", "n": "int64", "unit": "str", "status": "str",
    "message": "str", "against": "str", "label": "str", "serves": "str",
}  # fmt: skip
"""Columns of ``results.parquet`` in order, with their types.

``samples`` is how many draws of noise one gradient is the mean of: the option ``samples`` of an estimator that has one,
and of a wrapper that times what it wraps takes; an antithetic pair is 2. ``objective`` is the run's, with the KL's
gradient or without; ``serves`` is the objective class of the estimator on that problem.
"""

Row = dict[str, Any]


def identity(cell: Cell, run: Mapping[str, Any]) -> Row:
    """What a cell says of each of its rows.

    Args:
        cell: The cell.
        run: ``suite``, ``objective``, ``parameterization``, ``precision``, ``device`` and ``seed`` of the run, and
            ``serves`` where the estimator serves another objective than it does on dense layers.
    """
    return {
        "serves": cell.estimator.declaration.objective,
        **run,
        "problem": cell.problem,
        "checkpoint": cell.checkpoint,
        "estimator": cell.estimator.declaration.name,
        "options": canonical(options(cell.estimator)),
        "batch_size": cell.batch_size,
        "samples": cell.estimator.draws_per_gradient,
        "label": cell.label,
    }


def rows(cell: Cell, run: Mapping[str, Any], figures: Iterable[Figure]) -> list[Row]:
    """Rows of a cell's figures; one without a value or a finite interval says so."""
    found = []
    for figure in figures:
        estimate = figure.estimate
        status, message = standing(figure)
        found.append(
            {
                **identity(cell, run),
                "layer": figure.layer,
                "role": figure.role,
                "metric": figure.metric,
                "step": figure.step,
                "seconds": figure.seconds,
                "value": estimate.value,
                "ci_low": estimate.low,
                "ci_high": estimate.high,
                "level": figure.level,
                "n": estimate.n,
                "unit": figure.unit,
                "status": status,
                "message": message,
                "against": figure.against,
            }
        )
    return found


def standing(figure: Figure) -> tuple[str, str]:
    """Status and message: ``undefined`` without a value, ``bounded`` where n is too small for an interval.

    A ratio has no value where its denominator is zero, or an unbiased estimate of a square that is not above it.
    """
    estimate = figure.estimate
    if figure.status != "ok" or (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return figure.status, figure.message
    if not math.isfinite(estimate.value):
        why, status = "no value: the denominator is not above zero", "undefined"
    else:
        why, status = f"n = {estimate.n} is too small for a finite interval", "bounded"
    return status, f"{why}; {figure.message}" if figure.message else why


def failure(cell: Cell, run: Mapping[str, Any], cause: str) -> Row:
    """The one row that a failed cell leaves."""
    return {
        **identity(cell, run),
        "layer": "all",
        "role": "all",
        "metric": cell.measure,
        "step": math.nan,
        "seconds": math.nan,
        "value": math.nan,
        "ci_low": math.nan,
        "ci_high": math.nan,
        "level": math.nan,
        "n": 0,
        "unit": "",
        "status": "failed",
        "message": cause,
        "against": "",
    }


def frame(found: list[Row]) -> pd.DataFrame:
    """The table with its columns in order and of their types."""
    import pandas as pd

    return pd.DataFrame(found, columns=list(COLUMNS)).astype(COLUMNS)


def write(found: list[Row], path: Path) -> None:
    """Write ``results.parquet``, atomically."""
    table = frame(found)
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)
