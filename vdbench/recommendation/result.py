"""What was found: an answer to each question, the candidates with their figures, and what more time would settle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from vdbench.recommendation.contest import Question
from vdbench.recommendation.forecast import Step
from vdbench.siblings import import_own
from vdbench.statistics import Estimate

if TYPE_CHECKING:
    import pandas as pd

BEST, WITHIN, STAY, OPEN = "best", "within the zone", "stay", "too close to call"
"""Verdicts: surely the best; surely within the zone of the best; nothing is worth changing; not settled."""


@dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Attributes:
        question: A cost and a role.
        verdict: One of `BEST`, `WITHIN`, `STAY` and `OPEN`.
        pick: Number of the candidate that is named; where it is open, that of the lowest estimate.
        left: Numbers of those of which it is not sure that another is better; ``pick`` is among them.
        ratio: Variance × cost of the pick over the baseline's.
        regret: By what share the pick may be worse than the best, at most; inf if not known.
        gain: By what share any candidate may lower the baseline's variance × cost, at most, from 0 to 1.
    """

    question: Question
    verdict: str
    pick: int
    left: tuple[int, ...]
    ratio: Estimate
    regret: float
    gain: float


@dataclass(frozen=True)
class Row:
    """A candidate's figures.

    Attributes:
        estimator: Its label.
        batch_size: M.
        n: Units of variance.
        rounds: Of timing.
        seconds: Per gradient, the median, with an interval of its own: 95 % over all looks.
        peak_bytes: Of a gradient, the median over processes, with their range; NaN where it was not measured.
        variance: By role, with an interval of its own: 95 % over all looks.
        ratios: Variance × cost over the baseline's, by question.
        standing: By question: ``left``, or the number of the candidate that beat it.
    """

    estimator: str
    batch_size: int
    n: int
    rounds: int
    seconds: Estimate
    peak_bytes: Estimate
    variance: Mapping[str, Estimate]
    ratios: Mapping[Question, Estimate]
    standing: Mapping[Question, str | int]


def _ends(name: str, of: Estimate) -> dict[str, float]:
    """An estimate as columns of a table."""
    return {name: of.value, f"{name}_low": of.low, f"{name}_high": of.high}


@dataclass(frozen=True)
class Recommendation:
    """Which estimator to use for a model, and how surely.

    Attributes:
        model: Name of the problem.
        machine: What it was measured on, in words.
        minutes: That were asked for.
        spent: Minutes that it took.
        error: Probability that anything said is wrong, at most.
        zone: Relative difference that does not matter.
        rows: The candidates that were measured, by number; 0 is the baseline.
        answers: To the questions.
        left_out: Estimators that were not tried or failed, with the reason.
        untried: Candidates for which there was no time.
        aside: Candidates that were left after a first block, of the highest estimates, for lack of time.
        steps: Candidates left over time, seen and forecast.
        suite: The suite that measures the candidates again, as YAML; empty where the problem was made in Python, which
            no file can name.
        command: How to run it.
        notes: What else a reader should know.

    Example:
        >>> import torch
        >>> import vdbench
        >>> net = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
        >>> found = vdbench.recommend(
        ...     net, "digits", minutes=0.02, batch_sizes=[8], estimators=["local"], isolate=False
        ... )
        >>> sorted({row.estimator for row in found.rows.values()})
        ['local', 'naive']
    """

    model: str
    machine: str
    minutes: float
    spent: float
    error: float
    zone: float
    rows: dict[int, Row]
    answers: list[Answer]
    left_out: dict[str, str]
    untried: list[str]
    steps: list[Step]
    suite: str
    command: str
    notes: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        return str(import_own("reports").recommended(self, "headline"))

    @property
    def frame(self) -> pd.DataFrame:
        """One row a candidate and question."""
        import pandas as pd

        return pd.DataFrame([line for number in self.rows for line in self._lines(number)])

    def _lines(self, number: int) -> list[dict[str, Any]]:
        row = self.rows[number]
        found = []
        for question, ratio in row.ratios.items():
            beaten = row.standing[question]
            found.append(
                {
                    "estimator": row.estimator,
                    "batch_size": row.batch_size,
                    "cost": question.cost,
                    "role": question.role,
                    **_ends("variance", row.variance[question.role]),
                    **_ends("seconds", row.seconds),
                    **_ends("peak_bytes", row.peak_bytes),
                    "ratio": ratio.value,
                    "ci_low": ratio.low,
                    "ci_high": ratio.high,
                    "left": beaten == "left",
                    "beaten_by": "" if isinstance(beaten, str) else self.name(beaten),
                    "units": row.n,
                    "rounds": row.rounds,
                }
            )
        return found

    def name(self, number: int) -> str:
        """A candidate in words."""
        row = self.rows[number]
        return f"{row.estimator} at M = {row.batch_size}"

    def text(self, width: int = 120) -> str:
        """The answer as text for a terminal of so many columns."""
        return str(import_own("reports").recommended(self, "text", width))

    def markdown(self) -> str:
        """The answer as Markdown."""
        return str(import_own("reports").recommended(self, "markdown"))

    def html(self) -> str:
        """The answer as a page that needs no other file."""
        return str(import_own("reports").recommended(self, "html"))

    def json(self) -> dict[str, Any]:
        """The answer as data for JSON; numbers that are not finite are None."""
        answers = [
            {
                "cost": a.question.cost,
                "role": a.question.role,
                "verdict": a.verdict,
                "pick": self.name(a.pick),
                "left": [self.name(i) for i in a.left],
                "ratio": {"value": a.ratio.value, "ci_low": a.ratio.low, "ci_high": a.ratio.high},
                "regret": a.regret,
                "gain_at_most": a.gain,
            }
            for a in self.answers
        ]
        steps = [{**asdict(s), "question": None, **s.question._asdict()} for s in self.steps]
        for step in steps:
            del step["question"]
        found = {
            "headline": self.headline,
            "model": self.model,
            "machine": self.machine,
            "minutes": self.minutes,
            "spent": self.spent,
            "error": self.error,
            "zone": self.zone,
            "answers": answers,
            "candidates": [line for number in self.rows for line in self._lines(number)],
            "left_out": self.left_out,
            "untried": self.untried,
            "aside": self.aside,
            "steps": steps,
            "suite": self.suite,
            "command": self.command,
            "notes": self.notes,
        }
        return dict(_finite(found))

    def _repr_html_(self) -> str:
        """The tables of the page, for a notebook."""
        return str(import_own("reports").recommended(self, "fragment"))

    def __repr__(self) -> str:
        return f"Recommendation({self.headline})"


def _finite(value: Any) -> Any:
    """A value whose numbers JSON has."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
