"""What is plotted: rows of the tidy table of results, with the run's own intervals in ``ci_low`` and ``ci_high``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.results.groups import NOISY
from reports.results.load import Results

if TYPE_CHECKING:
    import pandas as pd

CURVE = "convergence.elbo"


@dataclass(frozen=True)
class Chosen:
    """What one figure shows.

    Attributes:
        problem: Label of the problem.
        checkpoint: Its name.
        batch_size: M; 0 for several.
        rows: Of the table of results.
        baseline: The suite's.
    """

    problem: str
    checkpoint: str
    batch_size: int
    rows: pd.DataFrame
    baseline: str

    @property
    def title(self) -> str:
        """Where it was measured."""
        size = f" · batch {self.batch_size}" if self.batch_size else ""
        return f"{self.problem} · {self.checkpoint}{size}"

    def of(self, metric: str) -> pd.DataFrame:
        """The rows of a metric over all layers, of the noisy weights' roles where it has roles.

        ``own`` is the objective of the baseline; an estimator that ``serves`` another is not ranked with it.
        """
        rows = self.rows[(self.rows["metric"] == metric) & (self.rows["layer"] == "all")]
        good = rows["role"].isin([*NOISY, "all"]) & rows["value"].notna()
        return rows[good].assign(own=self._objective)

    @property
    def _objective(self) -> str:
        """The objective of the baseline, with which the others are ranked."""
        mine = self.rows[self.rows["label"] == self.baseline]["serves"]
        return str(mine.iloc[0]) if len(mine) else ""


def places(results: Results, *metrics: str) -> list[Chosen]:
    """Every place that has all of some metrics."""
    keys = ["run", "problem", "checkpoint", "batch_size"]
    found = []
    for _, rows in results.frame.groupby(keys, sort=False):
        chosen = _chosen(results, rows, int(rows["batch_size"].iloc[0]))
        if all(len(chosen.of(metric)) for metric in metrics):
            found.append(chosen)
    return found


def sizes(results: Results) -> list[Chosen]:
    """Every checkpoint whose variance was measured at several minibatch sizes."""
    frame, found = results.frame, []
    keys = ["run", "problem", "checkpoint"]
    for _, rows in frame[frame["batch_size"] > 0].groupby(keys, sort=False):
        chosen = _chosen(results, rows, 0)
        if chosen.of("variance.total")["batch_size"].nunique() > 1:
            found.append(chosen)
    return found


def trainings(results: Results) -> list[Chosen]:
    """Every problem whose ELBO was measured along a training."""
    found = []
    keys = ["run", "problem", "checkpoint", "batch_size"]
    for _, rows in results.frame.groupby(keys, sort=False):
        mine = rows[(rows["metric"] == CURVE) & rows["step"].notna() & rows["value"].notna()]
        if len(mine):
            found.append(_chosen(results, mine, int(mine["batch_size"].iloc[0])))
    return found


def _chosen(results: Results, rows: pd.DataFrame, size: int) -> Chosen:
    """Rows of one place of one run."""
    one = rows.iloc[0]
    baseline = results.runs[str(one["run"])].baseline
    return Chosen(str(one["problem"]), str(one["checkpoint"]), size, rows, baseline)
