"""The whole trainings of a run: figures by problem and estimator, and their course."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reports.results.estimate import Estimate
from reports.results.groups import estimate_of, whole
from reports.results.load import EPOCHS, Results, Run

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[str, str]
"""Problem and estimator."""

COURSES = ("test.error", "test.error.mean_weights", "test.nll", "training.elbo")
"""Metrics that are shown by epoch."""
EARLY = 0.2
"""The share of the epochs that may be cut off where it would flatten the rest of the curves."""


@dataclass(frozen=True)
class Trainings:
    """The trainings of one run.

    Attributes:
        run: The run.
        title: Its name among those reported on.
        rows: Its rows of whole trainings.
        epochs: Every epoch of every seed (``training.parquet``).
        keys: Problems and estimators, in the suite's order.
        part: Which part of the run's it is, where they are split.
    """

    run: Run
    title: str
    rows: pd.DataFrame = field(repr=False)
    epochs: pd.DataFrame = field(repr=False)
    keys: list[Key]
    part: str = ""

    @property
    def base(self) -> str:
        """The problem that differences are taken to; empty for none."""
        return str((self.run.info.get("suite") or {}).get("baseline_problem") or "")

    def name(self, key: Key) -> str:
        """Name a training: its problem, and the estimator where the problem has several."""
        problem, label = key
        several = sum(other == problem for other, _ in self.keys) > 1
        return f"{problem}, {label}" if several else problem

    def finals(self, metric: str, layer: str = "all") -> dict[Key, Estimate]:
        """Return what each training gave."""
        rows = self._of(metric, layer)
        return {(r.problem, r.label): estimate_of(r) for r in each(rows[rows["step"].isna()])}

    def course(self, metric: str) -> dict[Key, dict[float, Estimate]]:
        """Return a metric of each training by epoch."""
        rows = self._of(metric, "all")
        found: dict[Key, dict[float, Estimate]] = {}
        epochs = self._steps
        for row in each(rows[rows["step"].notna()].sort_values("step")):
            key = (row.problem, row.label)
            if row.step in epochs[key]:
                found.setdefault(key, {})[epochs[key][row.step]] = estimate_of(row)
        return found

    def layers(self, metric: str, key: Key) -> list[str]:
        """Return the layers that a metric is given for."""
        rows = self.rows[(self.rows["metric"] == metric) & (self.rows["problem"] == key[0])]
        return list(dict.fromkeys(rows[rows["label"] == key[1]]["layer"]))

    def _of(self, metric: str, layer: str) -> pd.DataFrame:
        found: pd.DataFrame = self.rows[
            (self.rows["metric"] == metric) & (self.rows["layer"] == layer)
        ]
        return found

    @property
    def _steps(self) -> dict[Key, dict[float, float]]:
        """The epoch of each step."""
        unique = self.epochs[["problem", "estimator", "step", "epoch"]].drop_duplicates()
        found: dict[Key, dict[float, float]] = {key: {} for key in self.keys}
        for row in each(unique):
            found[row.problem, row.estimator][row.step] = row.epoch
        return found

    def window(self, metric: str) -> tuple[float, float] | None:
        """Return the range of a metric's axis: all of it, or without steep first epochs."""
        points = [(x, e) for course in self.course(metric).values() for x, e in course.items()]
        if not points:
            return None
        far = EARLY * max(x for x, _ in points)
        every = [v for _, e in points for v in (e.low, e.high) if math.isfinite(v)]
        late = [v for x, e in points if x >= far for v in (e.low, e.high) if math.isfinite(v)]
        every, late = every or [e.value for _, e in points], late or every
        low, high = min(late), max(late)
        if max(every) - min(every) <= 3 * (high - low):
            low, high = min(every), max(every)
        room = 0.05 * (high - low) or 1.0
        return low - room, high + room

    @property
    def cut(self) -> bool:
        """Whether the figure leaves early values off an axis."""
        for metric in ("test.error", "test.nll", "training.elbo"):
            ends, course = self.window(metric), self.course(metric)
            if ends and any(not ends[0] <= e.value <= ends[1]
                            for points in course.values() for e in points.values()):  # fmt: skip
                return True
        return False

    @property
    def spread(self) -> bool:
        """Whether any layer has more than one value of log α."""
        rows = self.histogram()
        keys = ["problem", "estimator", "layer", "seed"]
        return len(rows) > 0 and bool((rows.groupby(keys).size() > 1).any())

    def histogram(self) -> pd.DataFrame:
        """Return the counts of log α at each training's last tracked epoch."""
        rows = self.epochs[self.epochs["metric"] == "log_alpha"]
        last = rows.groupby(["problem", "estimator", "seed"])["epoch"].transform("max")
        found: pd.DataFrame = rows[rows["epoch"] == last]
        return found


def each(frame: pd.DataFrame) -> Iterator[Any]:
    """Go through the rows of a frame."""
    yield from frame.itertuples(index=False)


def trainings_of(results: Results) -> list[Trainings]:
    """Find the whole trainings of each run that has figures of such; without their epochs where these are lost."""
    import pandas as pd

    found = []
    for run in results.runs.values():
        frame = results.frame
        rows = frame[(frame["run"] == run.name) & whole(frame)]
        rows = rows[rows["status"] != "failed"]
        if rows.empty:
            continue
        every = (
            pd.DataFrame(columns=["run", *EPOCHS]) if results.training is None else results.training
        )
        epochs = every[every["run"] == run.name]
        keys = list(dict.fromkeys((row.problem, row.label) for row in each(rows)))
        found.append(Trainings(run, run.name, rows, epochs, keys))
    return found
