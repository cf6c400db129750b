"""Means of draws compared with what they should be: three looks, whose false-alarm rates multiply.

A first look compares every figure of a certificate with its truth, at a family-wise rate of `RATE` (Bonferroni over all
columns of all samples). What differs is drawn again, more often, from fresh noise, and fails only if it differs in all
looks, each at the same rate over the columns that are looked at. The looks are independent, so a correct estimator
fails with probability RATE³ at most, 1/125,000, as far as Student's law holds for means of draws. Where tails are
heavy it does not: but even if each look erred five times as often as it says, all three would in 1 of 1,000
certificates, `FALSE_ALARM`. A defect that the first look sees is seen by the others, whose standard errors are smaller
and whose columns are fewer.

Where a first look leaves no doubt, by `CERTAIN`, the others are taken at once, and a certificate that has failed
draws no more. With light tails that is no easier to fail: p below `CERTAIN` is rarer than p below the rate of a first
look over all columns, and the later looks have the family-wise rate `RATE` as always. A first look errs somewhere
with probability RATE at most; the others have to err there. Draws that all are the same number, and not the truth,
may be waiting for a rare one: they leave doubt, and are not looked at with fewer draws for it (`doubtless`).

A column whose spread a few draws carry is not judged at all (`CARRIED`): its mean has no law that is known. The one
thing that no number of draws excludes is a value so rare that no look has drawn it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

Rows = NDArray[np.float64]

RATE = 0.02
"""Family-wise rate of false alarms of each look."""

FALSE_ALARM = 0.001
"""What a certificate promises."""

LATER = {"second": 2, "third": 2}
"""Looks after the first, with their draws for each of the first."""

TOGETHER = 4
"""Questions that are looked at again, at most, as long as one of them fails: the rest would change no verdict."""

CERTAIN = 1e-12
"""p of a column of a first look that leaves no doubt: below the first looks' rate for as many as 10¹⁰ columns."""

POWER = 0.96
"""The first look finds what `power` says with this probability, and all together with 0.95: the later ones see more."""

CARRIED = 50.0
"""Draws that must carry the spread of a column, (Σd²)²/Σd⁴: a mean over fewer is far from normal."""

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

    @property
    def _size(self) -> Rows:
        return np.maximum(np.abs(self.truth), self.scale)

    @cached_property
    def _exact(self) -> NDArray[np.bool_]:
        """Which columns' draws differ by rounding alone."""
        found: NDArray[np.bool_] = self.error <= ROUNDING * self._size
        return found

    @property
    def waiting(self) -> bool:
        """Whether the draws of a column are all the same number, and not the truth: a rare one may be missing."""
        return bool((self._exact & (self.p[: len(self.mean)] == 0) & np.isfinite(self.mean)).any())

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
        size, exact = self._size, self._exact
        t = np.divide(gap, error, out=np.zeros_like(gap), where=~exact)
        p = 2 * stdtr(len(self.rows) - 1, -np.abs(t))
        p[exact] = np.where(np.abs(gap) <= 10 * ROUNDING * size, 1.0, 0.0)[exact]
        p[~np.isfinite(gap)] = 0.0
        along = self.along
        if along is None or exact.all():
            return np.asarray(p)
        second = None if self.plain is None else self._along(self.plain)
        return np.append(p, [_p_of_mean(a) for a in (along, second) if a is not None])

    @cached_property
    def carried(self) -> Rows:
        """How many draws carry the spread of each figure of `p`; infinite where there is none."""
        parts = [_carried(self.rows - self.mean)]
        along = self.along
        if along is not None and len(self.p) > len(self.mean):
            second = None if self.plain is None else self._along(self.plain)
            parts += [_carried(a[:, None] - a.mean()) for a in (along, second) if a is not None]
        return np.concatenate(parts)

    @property
    def judged_by(self) -> float | None:
        """The same along the truth; None where the truth is 0, or the draws do not differ but for rounding."""
        if self.along is None or float(self.along.std()) <= ROUNDING:
            return None
        return float(_carried(self.along[:, None] - self.along.mean())[0])

    def flagged(self, rate: float) -> tuple[bool, bool]:
        """Whether a figure differs at this rate, and whether one seems to whose spread a few draws carry."""
        low = self.p < rate
        if not low.any():
            return False, False
        few = self.carried < CARRIED
        return bool((low & ~few).any()), bool((low & few).any())

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


def _carried(deviations: Rows) -> Rows:
    """(Σd²)²/Σd⁴ of each column, the number of draws if all were equally far from the mean."""
    squares = deviations**2
    total = squares.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Rows = total**2 / (squares**2).sum(0)
    return np.where(total > 0, found, np.inf)


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
        declared: Whether a difference is declared, and no failure: one look measures it.
    """

    test: str
    draw: Draw
    first: list[Sample] = field(default_factory=list)
    declared: bool = False


@dataclass(frozen=True)
class Answer:
    """What became of one sample.

    Attributes:
        sample: The draws of the last look that it had.
        differs: Whether all looks found a difference.
        few: Whether one seems to be there that a few draws carry, and that is not judged.
        rate: The rate at which a column of its last look was judged.
        power: From the first look, which decides what is seen.
        worst: The smallest p of its last look.
        draws: Of the first look.
        carried: How many of them carry the spread along the truth; None where the truth is 0.
        open: Whether the first look found a difference that was not looked at again, since another failed.
    """

    sample: Sample
    differs: bool
    few: bool
    rate: float
    power: float | None
    worst: float
    draws: int
    carried: float | None
    open: bool = False


def doubtless(samples: Sequence[Sample]) -> bool:
    """Whether draws differ from the truth beyond doubt: few more will show it."""
    return any(not s.waiting and s.flagged(CERTAIN)[0] for s in samples)


def certain(question: Question) -> list[Answer] | None:
    """Answers of a question whose first look leaves no doubt, and whose other looks agree; else None."""
    if question.declared:
        return None
    rows = [[_looked(s, CERTAIN) for s in question.first]]
    if not _open(rows[0]):
        return None
    for look, times in LATER.items():
        _again([question], rows, [0], look, times)
    if not _open(rows[0]):
        return None
    return [_answer(s, one, CERTAIN) for s, one in zip(question.first, rows[0], strict=True)]


def answers(questions: Sequence[Question], closed: bool = False) -> list[list[Answer]]:
    """All looks at all questions of a certificate together, an answer for every sample of each.

    The questions that differ most are looked at again, `TOGETHER` at a time, until one fails in all looks: it takes no
    more for a certificate to fail. What then was not looked at again is open. Of a ``closed`` certificate, which has
    failed already, no question is looked at again.
    """
    rate = RATE / max(1, sum(len(s.p) for q in questions for s in q.first))
    rows = [[_looked(s, rate) for s in q.first] for q in questions]
    asked = (k for k, row in enumerate(rows) if _open(row) and not questions[k].declared)
    waiting = sorted(asked, key=lambda k: _order(rows[k]))
    while waiting and not closed:
        now, waiting = waiting[:TOGETHER], waiting[TOGETHER:]
        for look, times in LATER.items():
            _again(questions, rows, [k for k in now if _open(rows[k])], look, times)
        if any(_open(rows[k]) for k in now):
            break
    for k in waiting:
        rows[k] = [replace(one, differs=False, open=one.differs) for one in rows[k]]
    return [
        [_answer(begun, one, rate) for begun, one in zip(question.first, row, strict=True)]
        for question, row in zip(questions, rows, strict=True)
    ]


@dataclass(frozen=True)
class _Looked:
    """A sample after a look."""

    sample: Sample
    differs: bool
    few: bool
    rate: float
    open: bool = False


def _looked(sample: Sample, rate: float) -> _Looked:
    differs, few = sample.flagged(rate)
    return _Looked(sample, differs, few, rate)


def _open(row: Sequence[_Looked]) -> bool:
    return any(one.differs for one in row)


def _order(row: Sequence[_Looked]) -> tuple[float, int]:
    """The clearest difference first; of those that leave no doubt the one with the fewest numbers to draw."""
    worst = min(float(one.sample.p.min(initial=1.0)) for one in row if one.differs)
    return max(worst, 1e-30), sum(one.sample.rows.size for one in row)


def _again(
    questions: Sequence[Question],
    rows: list[list[_Looked]],
    which: Sequence[int],
    look: str,
    times: int,
) -> None:
    """Another look at what differs in these questions, at one rate for all of their figures."""
    drawn = {k: questions[k].draw(look, times) for k in which}
    columns = sum(
        len(s.p)
        for k, part in drawn.items()
        for s, one in zip(part, rows[k], strict=True)
        if one.differs
    )
    rate = RATE / max(1, columns)
    for k, part in drawn.items():
        rows[k] = [
            _looked(s, rate) if one.differs else one for s, one in zip(part, rows[k], strict=True)
        ]


def _answer(begun: Sample, last: _Looked, first: float) -> Answer:
    worst = float(last.sample.p.min(initial=1.0))
    return Answer(
        last.sample, last.differs, last.few, last.rate, begun.power(first), worst, len(begun.rows),
        begun.judged_by, last.open,
    )  # fmt: skip
