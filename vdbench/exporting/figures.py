"""What is exported: every figure of each estimator at each place, and the times that were measured round by round."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vdbench.comparison.reading import RESULTS
from vdbench.comparison.reading import read as read_run
from vdbench.comparison.stored import NotComparable, Stored
from vdbench.measures.throughput_metrics import samples_of
from vdbench.store import tables

if TYPE_CHECKING:
    import pandas as pd


class Where(NamedTuple):
    """An estimator at a place.

    Attributes:
        problem: Its label.
        checkpoint: Its name.
        batch_size: M.
        estimator: Label.
    """

    problem: str
    checkpoint: str
    batch_size: int
    estimator: str

    def __str__(self) -> str:
        return f"{self.problem}, {self.checkpoint}, M={self.batch_size}, {self.estimator}"


@dataclass(frozen=True)
class Times:
    """Seconds per gradient.

    Attributes:
        seconds: One value a round, in their order.
        calls: Gradients that a round's value is the mean of.
    """

    seconds: list[float]
    calls: int


@dataclass(frozen=True)
class Figures:
    """A run's figures.

    Attributes:
        run: It, read.
        frame: The table of results, with ``name`` (metric, layer and role in words), without pairs of estimators.
    """

    run: Stored
    frame: pd.DataFrame

    def places(self) -> list[tuple[Where, pd.DataFrame]]:
        """Every estimator at every place, with its figures that belong to no step."""
        plain = self.frame[self.frame["step"].isna()]
        return _by_place(plain)

    def courses(self) -> list[tuple[Where, pd.DataFrame]]:
        """The same with the figures by step."""
        return _by_place(self.frame[self.frame["step"].notna()].sort_values("step", kind="stable"))

    def times(self, where: Where) -> Times | None:
        """The times of an estimator; None where they were not measured, or their block is damaged."""
        try:
            table = self.run.pass_of((*where, "throughput")).values
        except NotComparable:
            return None
        mode = self.run.suite.modes[0]
        mine = table["estimator"] == where.estimator
        if "mode" in table:
            mine = mine & (table["mode"] == mode)
        seconds = [float(x) for x in samples_of(table, where.estimator, mode)]
        return Times(seconds, int(np.median(table["calls"][mine])))


def read(folder: Path) -> Figures:
    """Read a run folder.

    Raises:
        InputError: It is none, or its record or its results are damaged.
    """
    run = read_run(folder)
    frame = tables.read_frame(folder / RESULTS)[0]
    good = (frame["status"] != "failed") & ~frame["metric"].str.startswith("pairwise.")
    if "mode" in frame.columns:
        good &= frame["mode"].isin(["", run.suite.modes[0]])
    frame = frame[good].copy()
    frame["name"] = [_name({str(k): v for k, v in row.items()}) for row in frame.to_dict("records")]
    return Figures(run, frame)


def _by_place(frame: pd.DataFrame) -> list[tuple[Where, pd.DataFrame]]:
    found: list[tuple[Where, pd.DataFrame]] = []
    for _, part in frame.groupby(["problem", "checkpoint", "batch_size", "label"], sort=False):
        one = part.iloc[0]
        where = Where(
            str(one["problem"]), str(one["checkpoint"]), int(one["batch_size"]), str(one["label"])
        )
        found.append((where, part))
    return found


def _name(row: dict[str, Any]) -> str:
    """Metric, and what it is about, in words."""
    parts = [row["metric"], *(row[key] for key in ("layer", "role") if row[key] != "all")]
    against = f" against {row['against']}" if row["against"] else ""
    return " ".join(map(str, parts)) + against


def number(x: Any) -> float | None:
    """A number that JSON has; None for one that is not finite."""
    return float(x) if math.isfinite(float(x)) else None


def interval(row: Any) -> dict[str, Any]:
    """A figure with its interval."""
    return {
        "value": number(row["value"]),
        "ci_low": number(row["ci_low"]),
        "ci_high": number(row["ci_high"]),
        "level": number(row["level"]),
        "n": int(row["n"]),
        "unit": str(row["unit"]),
    }
