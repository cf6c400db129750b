"""The table of figures: ``results.parquet``, one row a figure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbench.estimation.options import canonical, options
from vdbench.measures.cells import Cell
from vdbench.measures.metrics import MetricValue
from vdbench.schema import COLUMNS
from vdbench.store import tables

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

FILE = "results.parquet"

KIND = {FILE: "results", "training.parquet": "trainings"}
"""What the seal of a table says that it is, by the table's name."""


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
        "mode": cell.mode,
    }


def rows(cell: Cell, run: Mapping[str, Any], values: Iterable[MetricValue]) -> list[Row]:
    """Rows of a cell's values; one without a value or a finite interval says so."""
    found = []
    for figure in values:
        estimate = figure.estimate
        status, message, why = standing(figure)
        detail = {**figure.detail, **({"why": why} if why else {})}
        found.append(
            {
                **identity(cell, run),
                **({"precision": figure.precision} if figure.precision else {}),
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
                "detail": as_json(detail),
            }
        )
    return found


def finite(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Facts without the numbers that are not finite, which JSON does not have."""
    return {k: v for k, v in detail.items() if not (isinstance(v, float) and not math.isfinite(v))}


def as_json(detail: Mapping[str, Any]) -> str:
    """Facts as a JSON object."""
    return json.dumps(finite(detail), sort_keys=True)


def standing(figure: MetricValue) -> tuple[str, str, str]:
    """Status, message, and why there is no value or no interval.

    The status is ``undefined`` without a value, and ``bounded`` where n is too small for an interval, at all or for
    tails as heavy as those of the units.

    A ratio has no value where its denominator is zero, or an unbiased estimate of a square that is not above it.
    """
    estimate = figure.estimate
    if estimate.needed and figure.status in ("ok", "bounded"):
        why = f"too few units for these tails; about {estimate.needed:,} would do"
        return "bounded", f"{why}; {figure.message}" if figure.message else why, why
    if figure.status != "ok" or (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return figure.status, figure.message, ""
    if not math.isfinite(estimate.value):
        why, status = "the denominator is not above zero", "undefined"
        message = f"no value: {why}"
    else:
        why, status = f"n = {estimate.n} is too small for a finite interval", "bounded"
        message = why
    return status, f"{message}; {figure.message}" if figure.message else message, why


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
        "detail": "{}",
    }


def frame(found: list[Row]) -> pd.DataFrame:
    """The table with its columns in order and of their types."""
    import pandas as pd

    types = {name: kind for name, (kind, _) in COLUMNS.items()}
    return pd.DataFrame(found, columns=list(types)).astype(types)


def write(found: list[Row], path: Path, address: Mapping[str, Any]) -> None:
    """Write ``results.parquet`` with its seal, atomically.

    Args:
        found: The rows.
        path: The file.
        address: Of which run they are, and what they came from.
    """
    tables.write_frame(path, frame(found), {"kind": KIND[FILE], **address})
