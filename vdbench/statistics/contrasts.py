"""Two things compared: an interval at any level, a p-value, and the number of units that would settle it.

A `Contrast` is a ratio or a difference with its interval as a function of the error rate α. All else follows from
that function: its p-value is the smallest α at which the interval excludes "no difference" (1, or 0), so that p-value
and interval never disagree, whatever the interval is made of (means of units, medians of rounds, looks at which a cell
could have stopped).

**How many units settle it.** With T the tolerance on the scale on which the interval is symmetric (log(1 + t) of a
ratio), an interval of half-width T/2 or less always gives a verdict: an estimate farther than T/2 from "no
difference" excludes it, and the interval of a nearer one lies within the tolerance. So `needed` is the number of
units at which the half-width is T/2, for units that are looked at once. The spread of a unit is itself an estimate:
its upper 95 % limit is used, from a chi-square law with the degrees of freedom that the kurtosis of the units allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri

from vdbench.statistics import intervals
from vdbench.statistics.intervals import Estimate
from vdbench.statistics.sequential import student, two_sided

Rows = NDArray[np.float64]
Critical = Callable[[float], float]
"""The critical value on the normal scale for an error rate α, at the look at hand."""

SMALLEST = 12
"""p-values below 10 to the minus this are given as that."""

STEPS = 16
"""Error rates tried a decade, between which a p-value is interpolated."""

SURE = 0.95
"""How sure the number of units is to be large enough, as far as the spread of a unit is known."""

LEAST = 3
"""Degrees of freedom below which a spread is too little known for a number of units."""

MOST = 10**6
"""Units beyond which no number is given."""

ABOVE = 4.0
"""Standard errors that a denominator must lie above zero for the delta method."""


@dataclass(frozen=True)
class Part:
    """One source of the interval's width.

    Attributes:
        unit: What is counted: ``units``, ``rounds``, ``processes`` or ``seeds``.
        spread: Standard deviation of what one of them contributes, on the scale where the interval is symmetric.
        freedom: Degrees of freedom that this is known with.
    """

    unit: str
    spread: float
    freedom: float

    def needed(self, alpha: float, half: float) -> int | None:
        """The number at which the half-width is at most ``half``; None where there is none below `MOST`."""
        if self.spread == 0:
            return 2
        if not (self.freedom >= LEAST and math.isfinite(self.spread) and half > 0):
            return None
        spread = self.spread * math.sqrt(self.freedom / float(chdtri(self.freedom, SURE)))
        z = two_sided(1 - alpha)

        def enough(n: int) -> bool:
            return student(z, n) * spread <= half * math.sqrt(n)

        most = 2
        while not enough(most):
            if most >= MOST:
                return None
            most = min(2 * most, MOST)
        least = most // 2 if most < MOST else 2 ** int(math.log2(MOST))  # not enough, or 1
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (least, middle) if enough(middle) else (middle, most)
        return most


@dataclass(frozen=True)
class Contrast:
    """A ratio or a difference of two things, new against base.

    Attributes:
        ratio: Whether it is a ratio; else a difference.
        at: The estimate with its interval at level 1 − α, for an error rate α.
        parts: Where its width comes from.
        identical: Whether the two are the same numbers, so that nothing is uncertain.
    """

    ratio: bool
    at: Callable[[float], Estimate]
    parts: tuple[Part, ...]
    identical: bool = False

    @property
    def null(self) -> float:
        """The value of no difference."""
        return 1.0 if self.ratio else 0.0

    def p(self) -> float:
        """The smallest α at which the interval excludes no difference; 1 where none below 1 does."""
        last = SMALLEST * STEPS
        if self.identical or self._gap(1) <= 0:
            return 1.0
        if self._gap(last) > 0:
            return float(10.0**-SMALLEST)
        inside, outside = (
            last,
            1,
        )  # error rates 10^(-k / STEPS): excluded at `outside`, not at `inside`
        while inside - outside > 1:
            middle = (inside + outside) // 2
            inside, outside = (inside, middle) if self._gap(middle) > 0 else (middle, outside)
        near, far = self._gap(outside), -self._gap(inside)
        share = near / (near + far) if math.isfinite(far) and near + far > 0 else 0.0
        return float(10.0 ** -((outside + share) / STEPS))

    def _gap(self, place: int) -> float:
        """How far the interval stays away from no difference, on its symmetric scale; negative if it holds it."""
        found = self.at(10.0 ** -(place / STEPS))
        low, high = found.low, found.high
        if math.isnan(found.value):
            return -math.inf
        if not self.ratio:
            return max(low, -high)
        return max(
            math.log(low) if low > 0 else -math.inf, -math.log(high) if high > 0 else math.inf
        )

    def needed(self, alpha: float, tolerance: float) -> dict[str, int] | None:
        """How many units, rounds or seeds give a verdict whatever the truth is, with one look at error rate α.

        Args:
            alpha: Error rate of the interval.
            tolerance: Relative for a ratio, absolute for a difference.

        Returns:
            A number for each part; None where no number is known to be enough.
        """
        if tolerance <= 0:
            return None
        most = math.log1p(tolerance) if self.ratio else tolerance
        half = most / 2 / math.sqrt(len(self.parts))
        found = {part.unit: part.needed(alpha, half) for part in self.parts}
        known = {unit: n for unit, n in found.items() if n is not None}
        return known if len(known) == len(found) else None


def one_look(alpha: float) -> float:
    """The critical value where there is one look."""
    return two_sided(1 - alpha)


def ratio_of_means(
    new: ArrayLike, base: ArrayLike, critical: Critical, signed: bool = False, unit: str = "units"
) -> Contrast:
    """Compare the means of rows that share units; see `intervals.ratio`.

    Args:
        new: One value a unit, shape (n,).
        base: The same units in the same order; one of the two may go on for more.
        critical: Of the look at which both stopped.
        signed: As in `intervals.ratio`.
        unit: What a row is.
    """
    a, b = _two(new, base)
    n = min(len(a), len(b))
    shared = _influence(a[:n]) - _influence(b[:n])
    return Contrast(
        True,
        lambda alpha: intervals.ratio(a, b, critical(alpha), signed=signed),
        (Part(unit, *_spread(shared)),),
        len(a) == len(b) and bool((a == b).all()),
    )


def ratio_of_independent_means(
    new: ArrayLike,
    base: ArrayLike,
    critical: tuple[Critical, Critical],
    signed: bool = False,
    unit: str = "units",
) -> Contrast:
    """Compare the means of rows that share nothing: the squared half-widths of their logs add.

    Args:
        new: One value a unit, shape (n,).
        base: Shape (m,).
        critical: Of the look at which each stopped.
        signed: As in `intervals.ratio`.
        unit: What a row is.
    """
    a, b = _two(new, base)

    def at(alpha: float) -> Estimate:
        top, bottom = (
            intervals.positive_mean(rows, z(alpha), signed=signed)
            for rows, z in zip((a, b), critical, strict=True)
        )
        if top.value < 0:
            return Estimate(math.nan, math.nan, math.nan, min(top.n, bottom.n))
        return intervals.product(top, inverse(bottom))

    return Contrast(True, at, (_both(unit, _influence(a), _influence(b)),))


def inverse(a: Estimate) -> Estimate:
    """One over an estimate that is not negative; NaN where that is not above 0."""
    if not a.value > 0:
        return Estimate(math.nan, math.nan, math.nan, a.n)
    low = 1 / a.high if a.high > 0 else math.inf
    return Estimate(1 / a.value, low, 1 / a.low if a.low > 0 else math.inf, a.n)


def difference_of_means(
    new: ArrayLike,
    base: ArrayLike,
    shared: bool = True,
    unit: str = "seeds",
    identical: bool = False,
) -> Contrast:
    """Compare means that may be negative: Student's interval of the differences, or Welch's of two samples.

    Where nothing varies although the two are not identical, as errors of a few seeds that are counted in examples may
    be, nothing is known of the spread: the interval is without ends.

    Args:
        new: One value a unit, shape (n,).
        base: Shape (m,).
        shared: Whether the first, second, … of both share what is random; what one has more is left out.
        unit: What a row is.
        identical: Whether the two are known to be the same.
    """
    a, b = _two(new, base)
    if shared:
        n = min(len(a), len(b))
        gaps = a[:n] - b[:n]
        part = Part(unit, *_spread(gaps))
    else:
        part = _both(unit, a, b)

    def at(alpha: float) -> Estimate:
        z = one_look(alpha)
        found = intervals.mean(gaps, z) if shared else _welch(a, b, z)
        if found.low == found.high and not identical:
            return replace(found, low=-math.inf, high=math.inf)
        return found

    if part.spread == 0:
        part = Part(unit, math.nan, 0)
    return Contrast(False, at, (part,), identical)


def difference_of_ratios(
    new: tuple[ArrayLike, ArrayLike], base: tuple[ArrayLike, ArrayLike], shared: bool
) -> Contrast:
    """Compare two ratios of means that may be negative, such as squared relative biases.

    The ratio A/B of means of rows (a_i), (b_i) moves with row i by (a_i − (A/B)b_i)/b̄ (delta method). Without value
    where a denominator is not at least `ABOVE` standard errors above zero.

    Args:
        new: Numerator and denominator, one value a unit each; what the denominator estimates is positive.
        base: Likewise.
        shared: Whether units with the same number share minibatches and noise.
    """
    a, b = _linear(*_two(*new)), _linear(*_two(*base))
    if a is None or b is None:
        nothing = Estimate(math.nan, math.nan, math.nan, 0)
        return Contrast(False, lambda alpha: nothing, (Part("units", math.nan, 0),))
    return difference_of_means(a, b, shared, "units")


def ratio_of_medians(new: ArrayLike, base: ArrayLike, shared: bool) -> Contrast:
    """Compare medians of times: of the ratios round by round, or of two samples that share nothing.

    Args:
        new: Seconds, one value a round.
        base: Likewise.
        shared: Whether both were timed in turn, in the same rounds.
    """
    a, b = _two(new, base)
    if shared:
        n = min(len(a), len(b))
        quotients = a[:n] / b[:n]
        part = Part("rounds", *_median_spread(np.log(quotients)))
        same = len(a) == len(b) and bool((a == b).all())
        return Contrast(
            True, lambda alpha: _positive(intervals.median(quotients, 1 - alpha)), (part,), same
        )

    def at(alpha: float) -> Estimate:
        top, bottom = (_positive(intervals.median(rows, 1 - alpha)) for rows in (a, b))
        return intervals.product(top, inverse(bottom))

    spreads = [_median_spread(np.log(rows)) for rows in (a, b)]
    return Contrast(True, at, (_sum("rounds", *spreads),))


def product(a: Contrast, b: Contrast) -> Contrast:
    """Multiply two ratios that are independent, such as one of variances and one of times."""
    return Contrast(
        True,
        lambda alpha: intervals.product(a.at(alpha), b.at(alpha)),
        (*a.parts, *b.parts),
        a.identical and b.identical,
    )


def widened(a: Contrast, relative: float) -> Contrast:
    """A ratio whose interval reaches further by a relative amount that no number of units makes smaller."""
    if relative == 0:
        return a

    def at(alpha: float) -> Estimate:
        found = a.at(alpha)
        return replace(found, low=found.low / (1 + relative), high=found.high * (1 + relative))

    # units alone cannot make it narrow: no number of them is named
    return Contrast(True, at, tuple(Part(part.unit, math.nan, 0) for part in a.parts))


def _positive(a: Estimate) -> Estimate:
    return Estimate(a.value, max(0.0, a.low), a.high, a.n)


def _welch(a: Rows, b: Rows, z: float) -> Estimate:
    n = min(len(a), len(b))
    if n < 2:
        value = float(a.mean() - b.mean()) if n else math.nan
        return Estimate(value, -math.inf, math.inf, n)
    parts = [float(rows.var(ddof=1)) / len(rows) for rows in (a, b)]
    squared = sum(parts)
    value = float(a.mean() - b.mean())
    if squared == 0:
        return Estimate(value, value, value, n)
    freedom = squared**2 / sum(
        part**2 / (len(rows) - 1) for part, rows in zip(parts, (a, b), strict=True)
    )
    # `student` takes a number of rows: one more than the degrees of freedom
    half = student(z, max(2, math.floor(freedom) + 1)) * math.sqrt(squared)
    return Estimate(value, value - half, value + half, n)


def _two(new: ArrayLike, base: ArrayLike) -> tuple[Rows, Rows]:
    return np.asarray(new, dtype=np.float64), np.asarray(base, dtype=np.float64)


def _influence(rows: Rows) -> Rows:
    """What each row contributes to the log of the mean."""
    middle = float(rows.mean()) if len(rows) else 0.0
    return rows / middle if middle > 0 else np.full(len(rows), math.nan)


def _linear(a: Rows, b: Rows) -> Rows | None:
    """Rows whose mean is the ratio of the means of ``a`` and ``b``, and whose spread is that ratio's."""
    if len(b) < 2 or not b.mean() > ABOVE * b.std(ddof=1) / math.sqrt(len(b)):
        return None
    value = float(a.mean() / b.mean())
    return np.asarray(value + (a - value * b) / b.mean())


def _spread(rows: Rows) -> tuple[float, float]:
    """The standard deviation of rows, and the degrees of freedom that their kurtosis allows it."""
    n = len(rows)
    if n < 2 or not np.isfinite(rows).all():
        return math.nan, 0.0
    away = rows - rows.mean()
    squared = float((away**2).mean())
    if squared == 0:
        return 0.0, n - 1.0
    kurtosis = float((away**4).mean()) / squared**2
    return math.sqrt(squared * n / (n - 1)), max(1.0, min(n - 1.0, 2 * n / max(kurtosis - 1, 1e-9)))


def _median_spread(rows: Rows) -> tuple[float, float]:
    """The same for a median: what a row would have to contribute to a mean of the same precision."""
    n = len(rows)
    if n < 8:
        return math.nan, 0.0
    found = intervals.median(rows, 0.9)
    half = (found.high - found.low) / 2
    return half * math.sqrt(n) / two_sided(0.9), max(1.0, n / 4)


def _both(unit: str, a: Rows, b: Rows) -> Part:
    return _sum(unit, _spread(a), _spread(b))


def _sum(unit: str, a: tuple[float, float], b: tuple[float, float]) -> Part:
    """The spread of the difference of two independent rows, with Satterthwaite's degrees of freedom."""
    squared = a[0] ** 2 + b[0] ** 2
    if not squared > 0 or not (a[1] and b[1]):
        return Part(unit, math.sqrt(squared) if squared >= 0 else math.nan, min(a[1], b[1]))
    freedom = squared**2 / (a[0] ** 4 / a[1] + b[0] ** 4 / b[1])
    return Part(unit, math.sqrt(squared), freedom)
