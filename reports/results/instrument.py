"""What runs measured about vdbench itself: coverage, widths, false alarms, power, killed runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.results.estimate import Estimate
from reports.results.groups import estimate_of
from reports.results.load import Results, Run

if TYPE_CHECKING:
    import pandas as pd

PLACE = ["problem", "checkpoint", "batch_size"]
KINDS = ("coverage.", "width.", "false_alarms.", "power.", "wrong.", "kills.")
SPECIAL = ("coverage.smallest", "coverage.stopped_at", "coverage.converged")
"""Metrics of coverage that are no share of intervals, or repeat the smallest one."""


@dataclass(frozen=True)
class Dot:
    """One share.

    Attributes:
        metric: What the intervals are of.
        label: The estimator.
        whole: Whether it is of all layers together.
        share: The share and its interval.
        level: The level that the intervals claim.
    """

    metric: str
    label: str
    whole: bool
    share: Estimate
    level: float


def places(results: Results) -> Iterator[tuple[Run, str, pd.DataFrame]]:
    """Find the rows about vdbench itself, run by run and place by place."""
    frame = results.frame[results.frame["metric"].str.startswith(KINDS)]
    for run in results.runs.values():
        mine = frame[frame["run"] == run.name]
        for key, rows in mine.groupby(PLACE, sort=False):
            problem, checkpoint, size = tuple(key)
            parts = [run.name] * results.several
            parts += [str(problem), f"checkpoint {checkpoint}", f"batch {size:g}"]
            yield run, " · ".join(parts), rows


def rows_of(rows: pd.DataFrame, *starts: str) -> list[Any]:
    """Return the rows whose metric begins so, without the special ones of coverage."""
    kept = rows[rows["metric"].str.startswith(starts)]
    special = kept["metric"].str.startswith(SPECIAL)
    return list(kept[~special].itertuples(index=False))


def claimed(row: Any, level: float) -> float:
    """Return the level that a row's intervals claim; the run's where it does not say."""
    return float(row.detail.get("claimed", level))


def coverage_dots(rows: pd.DataFrame, level: float) -> list[Dot]:
    """Return what the figure of coverage shows."""
    return [
        Dot(row.metric.removeprefix("coverage."), row.label, row.layer == "all",
            estimate_of(row), claimed(row, level))
        for row in rows_of(rows, "coverage.")
    ]  # fmt: skip
