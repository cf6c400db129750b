"""Means of draws compared with what they should be: two looks, whose false-alarm rates multiply.

A first look compares every figure of a certificate with its truth, at a family-wise rate of `RATE` (Bonferroni over all
columns of all samples). What differs is drawn again, twice as often, from fresh noise, and fails only if it
differs once more, at the same rate over the columns that are looked at again. The looks are independent, so a
correct estimator fails with probability RATE² at most: 1/400, as far as Student's law holds for means of draws. The
rest up to `FALSE_ALARM` is for heavy tails, where it does not quite. Both limits are mild, 3 to 4 standard errors,
where a mean of thousands of draws is close to normal, and a defect that the first look sees is seen by the second,
whose standard errors are smaller and whose columns are fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

Rows = NDArray[np.float64]

RATE = 0.05
"""Family-wise rate of false alarms of each look."""

FALSE_ALARM = 0.01
"""What a certificate promises."""

AGAIN = 2
"""Draws of the second look for each of the first."""

POWER = 0.975
"""Each look finds what `power` says with this probability, both with 0.95."""

ROUNDING = 1e-9
"""A column whose draws differ by no more than this share of its size is compared without statistics."""


@dataclass(frozen=True)
class Sample:
    """Draws of some figures, each of which has a true mean.

    Attributes:
        where: What they are of.
        rows: (n, columns).
        truth: (columns,).
        names: Of the columns.
        scale: Size of what the columns are of, in their unit, against which rounding is judged.
        weights: (columns,), the direction along which a common factor shows best; the truth if None.
        plain: (columns,), a second direction in which a difference is looked for; none if None.
    """

    where: str
    rows: Rows
    truth: Rows
    names: Sequence[str] = ()
    scale: float = 1.0
    weights: Rows | None = None
    plain: Rows | None = None

    def __post_init__(self) -> None:
        # Every statistic runs down the columns, which is several times as fast where they are contiguous.
        object.__setattr__(self, "rows", np.asfortranarray(self.rows))

    @cached_property
    def mean(self) -> Rows:
        """Of the draws."""
        found: Rows = self.rows.mean(0)
        return found

    @cached_property
    def error(self) -> Rows:
        """Standard errors of `mean`, (columns,)."""
        found: Rows = self.rows.std(0, ddof=1) / np.sqrt(len(self.rows))
        return found

    @cached_property
    def along(self) -> Rows | None:
        """Relative deviation of every draw along the truth: ⟨g − t, w⟩/⟨t, w⟩; None where the truth is 0.

        Its mean is b where the mean gradient is 1 + b times the truth, whatever the weights w.
        """
        return self._along(self.truth if self.weights is None else self.weights)

    def _along(self, weights: Rows) -> Rows | None:
        if float(self.truth @ self.truth) <= (ROUNDING * self.scale) ** 2:
            return None
        found: Rows = (self.rows - self.truth) @ weights / float(self.truth @ weights)
        return found

    @cached_property
    def p(self) -> Rows:
        """Two-sided p of every column, and of the projections on the truth, which see a common factor."""
        gap, error = self.mean - self.truth, self.error
        size = np.maximum(np.abs(self.truth), self.scale)
        exact = error <= ROUNDING * size
        t = np.divide(gap, error, out=np.zeros_like(gap), where=~exact)
        p = 2 * stdtr(len(self.rows) - 1, -np.abs(t))
        p[exact] = np.where(np.abs(gap) <= 10 * ROUNDING * size, 1.0, 0.0)[exact]
        p[~np.isfinite(gap)] = 0.0
        along = self.along
        if along is None or exact.all():
            return np.asarray(p)
        second = None if self.plain is None else self._along(self.plain)
        return np.append(p, [_p_of_mean(a) for a in (along, second) if a is not None])

    def relative(self, rate: float) -> tuple[float, float, float] | None:
        """Deviation along the truth with an interval that errs at this rate; None where the truth is 0."""
        along = self.along
        if along is None:
            return None
        half = -stdtrit(len(along) - 1, rate / 2) * along.std(ddof=1) / np.sqrt(len(along))
        return float(along.mean()), float(along.mean() - half), float(along.mean() + half)

    def power(self, rate: float) -> float | None:
        """The smallest common factor off 1 that a look at this rate finds with probability `POWER`."""
        along = self.along
        if along is None:
            return None
        limit = -stdtrit(len(along) - 1, rate / 2) + ndtri(POWER)
        return float(limit * along.std(ddof=1) / np.sqrt(len(along)))


def _p_of_mean(rows: Rows) -> float:
    """Two-sided p of a mean of 0; 0 where it is not finite."""
    error = rows.std(ddof=1) / np.sqrt(len(rows))
    found = float(2 * stdtr(len(rows) - 1, -abs(rows.mean()) / error))
    return found if np.isfinite(found) else 0.0


Draw = Callable[[str, int], list[Sample]]
"""``draw(look, times)``: fresh samples for a look, each of ``times`` as many draws as the first."""


@dataclass(frozen=True)
class Question:
    """Samples that one piece of work draws together.

    Attributes:
        test: The test that asks.
        draw: Draws them, always in the same order.
        first: Those of the first look.
    """

    test: str
    draw: Draw
    first: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """What became of one sample.

    Attributes:
        sample: The draws of the last look that it had.
        differs: Whether both looks found a difference.
        rate: The rate at which a column of its last look was judged.
        power: From the first look, which decides what is seen.
        worst: The smallest p of its last look.
        draws: Of the first look.
    """

    sample: Sample
    differs: bool
    rate: float
    power: float | None
    worst: float
    draws: int


def answers(questions: Sequence[Question]) -> list[list[Answer]]:
    """Two looks at all questions of a certificate together, an answer for every sample of each."""
    columns = sum(len(s.p) for q in questions for s in q.first)
    rate = RATE / max(1, columns)
    flagged = [[bool((s.p < rate).any()) for s in q.first] for q in questions]
    again = [
        q.draw("second", AGAIN) if any(f) else q.first
        for q, f in zip(questions, flagged, strict=True)
    ]
    seen = [
        s
        for part, f in zip(again, flagged, strict=True)
        for s, yes in zip(part, f, strict=True)
        if yes
    ]
    second = RATE / max(1, sum(len(s.p) for s in seen))
    found = []
    for question, part, flags in zip(questions, again, flagged, strict=True):
        row = []
        for first, last, flag in zip(question.first, part, flags, strict=True):
            use, at = (last, second) if flag else (first, rate)
            worst = float(use.p.min(initial=1.0))
            row.append(
                Answer(use, flag and worst < at, at, first.power(rate), worst, len(first.rows))
            )
        found.append(row)
    return found
