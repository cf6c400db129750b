"""What a comparison says: its rows, each with a verdict, and what could not be compared."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from vdbench.siblings import import_own
from vdbench.statistics.contrast import Contrast

if TYPE_CHECKING:
    import pandas as pd

BETTER, WORSE, SAME, INCONCLUSIVE = "BETTER", "WORSE", "SAME", "INCONCLUSIVE"
ORDER = (WORSE, INCONCLUSIVE, BETTER, SAME)
"""Verdicts in the order in which rows are shown."""

ADJUSTMENT = "Bonferroni"
"""How p-values and intervals are adjusted for the number of comparisons."""

LESS_IS_BETTER = {
    "variance.total": True,
    "variance.noise": True,
    "efficiency.variance_seconds": True,
    "time.seconds_per_gradient": True,
    "memory.peak_bytes": True,
    "relative_bias": True,
    "convergence.final_elbo": False,
    "training.elbo": False,
    "test.error": True,
    "test.nll": True,
    "test.ece": True,
}
"""Metrics that can be compared, and whether less of them is better."""

UNASKED = ("variance.noise",)
"""Metrics that are compared only where they are named: what they say is part of another."""

SETTINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "variance": {"units": ("measures.variance.first_units", "measures.variance.max_units")},
    "throughput": {
        "units": ("measures.variance.first_units", "measures.variance.max_units"),
        "rounds": ("measures.throughput.rounds",),
    },
    "memory": {"processes": ("measures.memory.repetitions",)},
    "bias": {"units": ("measures.bias.units",)},
    "convergence": {"seeds": ("measures.convergence.seeds",)},
    "training": {"seeds": ("measures.training.seeds",)},
}
"""The keys of a suite that set how many units, rounds or seeds are taken, by measure."""


class Where(NamedTuple):
    """What is compared: a place, and an estimator in each run.

    Attributes:
        problem: Its label.
        checkpoint: Its name.
        batch_size: M.
        base: Label of the estimator in the first run.
        new: Label of the one that it is compared with.
    """

    problem: str
    checkpoint: str
    batch_size: int
    base: str
    new: str


@dataclass(frozen=True)
class Candidate:
    """A figure of two estimators or runs, before it is judged.

    Attributes:
        where: What is compared.
        measure: Whose figure it is.
        metric: As in `vdbench.schema`.
        contrast: New against base; None where no interval can be given.
        values: Of base and new.
        unit: Of both.
        layer: As in `vdbench.schema`.
        role: As in `vdbench.schema`.
        n: Units, rounds or seeds that were compared.
        paired: Whether both share what is random.
        margin: For a difference: from the tolerance, the difference that counts as none.
        rounding: Relative difference that rounding alone may make.
        why: Why there is no interval, or what a reader should know.
    """

    where: Where
    measure: str
    metric: str
    contrast: Contrast | None
    values: tuple[float, float]
    unit: str
    layer: str = "all"
    role: str = "all"
    n: int = 0
    paired: bool = True
    margin: Callable[[float], float] = float
    rounding: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Row:
    """One figure, compared.

    Attributes:
        problem: Its label.
        checkpoint: Its name.
        batch_size: M.
        base: Label of the estimator in the base run.
        new: Label of the one in the new run.
        metric: As in `vdbench.schema`.
        layer: As in `vdbench.schema`.
        role: As in `vdbench.schema`.
        unit: Of both values.
        base_value: The base run's figure.
        new_value: The new run's.
        kind: ``ratio`` (new / base) or ``difference`` (new − base; of squares where the metric is ``relative_bias``).
        value: The ratio or difference; NaN where there is none.
        low: Lower end of its interval, adjusted for all rows.
        high: Upper end.
        p: Adjusted p-value of "no difference".
        verdict: ``BETTER``, ``WORSE``, ``SAME`` or ``INCONCLUSIVE``.
        why: Why there is no interval, or what a reader should know of it.
        paired: Whether both share minibatches and noise, rounds or seeds.
        n: Units, rounds or seeds that were compared.
        needed: Settings of the suite with which a verdict is to be expected; empty where one was reached, or where
            no number would help.
    """

    problem: str
    checkpoint: str
    batch_size: int
    base: str
    new: str
    metric: str
    layer: str
    role: str
    unit: str
    base_value: float
    new_value: float
    kind: str
    value: float
    low: float
    high: float
    p: float
    verdict: str
    why: str
    paired: bool
    n: int
    needed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """What was not compared, and why.

    Attributes:
        problem: Its label.
        checkpoint: Its name.
        batch_size: M.
        estimator: Label, or both labels.
        measure: Whose figures.
        why: What differs, is missing or is damaged.
    """

    problem: str
    checkpoint: str
    batch_size: int
    estimator: str
    measure: str
    why: str


@dataclass(frozen=True)
class Comparison:
    """Two runs, or two estimators of one run, compared figure by figure.

    Attributes:
        base: Name of the run or estimator that is compared with.
        new: Name of the one that is judged.
        level: Level at which all intervals and verdicts hold together.
        tolerance: Relative difference that counts as none.
        family: How many comparisons the level is adjusted for.
        rows: The rows, WORSE first.
        refused: What was not compared.
        differing: What differs between the runs, in words: versions, commits, machines.

    Example:
        >>> import vdbench
        >>> suite = {
        ...     "name": "mine",
        ...     "problems": [{"name": "digits", "options": {"widths": []}}],
        ...     "batch_sizes": [16],
        ...     "estimators": ["naive", "local"],
        ...     "baseline": "naive",
        ...     "measures": {"variance": {"first_units": 64, "max_units": 64}},
        ... }
        >>> finished = vdbench.run(suite, "runs/compared")
        >>> found = vdbench.compare(finished.folder, base="naive", new="local")
        >>> found.verdict, found.exit_code()
        ('BETTER', 0)
        >>> sorted(row.verdict for row in found.rows if row.role == "scale" and row.layer == "all")
        ['BETTER']
    """

    base: str
    new: str
    level: float
    tolerance: float
    family: int
    rows: list[Row]
    refused: list[Refusal]
    differing: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The first of WORSE, INCONCLUSIVE, BETTER and SAME that a row has."""
        found = {row.verdict for row in self.rows}
        return next((verdict for verdict in ORDER if verdict in found), SAME)

    def exit_code(self, strict: bool = False) -> int:
        """1 where a row is WORSE; with ``strict`` also where one is INCONCLUSIVE or could not be compared; else 0."""
        wrong = any(row.verdict == WORSE for row in self.rows)
        unsure = any(row.verdict == INCONCLUSIVE for row in self.rows) or bool(self.refused)
        return int(wrong or (strict and unsure))

    @property
    def needed(self) -> dict[str, int]:
        """Settings of the suite with which every row that has such a number is expected to be settled."""
        found: dict[str, int] = {}
        for row in self.rows:
            for key, n in row.needed.items():
                found[key] = max(n, found.get(key, 0))
        return found

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a table of pandas."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        return str(import_own("reports").compared(self, "headline"))

    def text(self, width: int = 120) -> str:
        """The result as a table for a terminal of so many columns."""
        return str(import_own("reports").compared(self, "text", width))

    def markdown(self) -> str:
        """The result as Markdown, for a pull request."""
        return str(import_own("reports").compared(self, "markdown"))

    def html(self) -> str:
        """The result as a page that needs no other file."""
        return str(import_own("reports").compared(self, "html"))

    def json(self) -> dict[str, Any]:
        """The result as data for JSON; numbers that are not finite are None."""
        rows = [_finite(asdict(row)) for row in self.rows]
        return {
            "verdict": self.verdict,
            "headline": self.headline,
            "base": self.base,
            "new": self.new,
            "level": self.level,
            "tolerance": self.tolerance,
            "adjustment": ADJUSTMENT,
            "comparisons": self.family,
            "needed": self.needed,
            "differing": self.differing,
            "rows": rows,
            "refused": [asdict(refusal) for refusal in self.refused],
        }

    def _repr_html_(self) -> str:
        """The tables of the page, for a notebook."""
        return str(import_own("reports").compared(self, "fragment"))

    def __repr__(self) -> str:
        counts = {v: sum(row.verdict == v for row in self.rows) for v in ORDER}
        said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
        return f"Comparison({self.base} → {self.new}: {said}; {len(self.refused)} not compared)"


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose numbers JSON has."""
    bad = {k for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)}
    return dict(json.loads(json.dumps({k: None if k in bad else v for k, v in row.items()})))
