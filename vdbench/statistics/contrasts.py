"""Contrasts of every kind of figure: means of units that are shared or not, medians of rounds, products of ratios."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vdbench import statistics
from vdbench.statistics import Estimate
from vdbench.statistics.contrast import Contrast, Part
from vdbench.statistics.sequential import student, two_sided

Rows = NDArray[np.float64]
Critical = Callable[[float], float]
"""The critical value on the normal scale for an error rate α, at the look at hand."""

ABOVE = 4.0
"""Standard errors that a denominator must lie above zero for the delta method."""


def one_look(alpha: float) -> float:
    """The critical value where there is one look."""
    return two_sided(1 - alpha)


def ratio_of_means(
    new: ArrayLike, base: ArrayLike, critical: Critical, signed: bool = False
) -> Contrast:
    """Compare the means of rows that share units; see `statistics.ratio`.

    Args:
        new: One value a unit, shape (n,).
        base: The same units in the same order; one of the two may go on for more.
        critical: Of the look at which both stopped.
        signed: As in `statistics.ratio`.
    """
    a, b = _two(new, base)
    n = min(len(a), len(b))

    def repeated(count: int, alpha: float) -> Estimate:
        x, y = np.resize(a[:n], count), np.resize(b[:n], count)
        return statistics.ratio(x, y, one_look(alpha), signed=signed)

    freedom = _freedom(_influence(a[:n]) - _influence(b[:n]))
    return Contrast(
        True,
        lambda alpha: statistics.ratio(a, b, critical(alpha), signed=signed),
        (Part("units", n, repeated, freedom),),
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
        signed: As in `statistics.ratio`.
        unit: What a row is.
    """
    a, b = _two(new, base)

    def quotient(x: Rows, y: Rows, above: float, below: float) -> Estimate:
        top = statistics.positive_mean(x, above, signed=signed)
        bottom = statistics.positive_mean(y, below, signed=signed)
        if top.value < 0:
            return Estimate(math.nan, math.nan, math.nan, min(top.n, bottom.n))
        return statistics.product(top, inverse(bottom))

    def repeated(count: int, alpha: float) -> Estimate:
        z = one_look(alpha)
        return quotient(np.resize(a, count), np.resize(b, count), z, z)

    freedom = _together(_influence(a), _influence(b))
    return Contrast(
        True,
        lambda alpha: quotient(a, b, *(z(alpha) for z in critical)),
        (Part(unit, min(len(a), len(b)), repeated, freedom),),
    )


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
    """Compare means that may be negative: the interval of the mean difference, or Welch's of two samples.

    Where nothing varies although the two are not identical, as errors of a few seeds that are counted in examples may
    be, nothing is known of the spread: the interval is without ends.

    Args:
        new: One value a unit, shape (n,).
        base: Shape (m,).
        shared: Whether the first, second, … of both share what is random; what one has more is left out.
        unit: What a row is; ``seeds`` are few (`statistics.seed_mean`).
        identical: Whether the two are known to be the same.
    """
    a, b = _two(new, base)
    n = min(len(a), len(b))

    def gap(x: Rows, y: Rows, alpha: float) -> Estimate:
        if not shared:
            found = _welch(x, y, one_look(alpha))
        elif unit == "seeds":
            found = statistics.seed_mean(x - y, 1 - alpha)
        else:
            found = statistics.mean(x - y, one_look(alpha))
        unknown = found.low == found.high and not identical
        return replace(found, low=-math.inf, high=math.inf) if unknown else found

    if shared:
        a, b = a[:n], b[:n]

    def repeated(count: int, alpha: float) -> Estimate:
        return gap(np.resize(a, count), np.resize(b, count), alpha)

    freedom = _freedom(a - b) if shared else _together(a, b)
    return Contrast(
        False, lambda alpha: gap(a, b, alpha), (Part(unit, n, repeated, freedom),), identical
    )


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
        return Contrast(False, lambda alpha: nothing)
    return difference_of_means(a, b, shared, "units")


def ratio_of_medians(new: ArrayLike, base: ArrayLike, shared: bool) -> Contrast:
    """Compare medians of times: of the ratios round by round, or of two samples that share nothing.

    Args:
        new: Seconds, one value a round.
        base: Likewise.
        shared: Whether both were timed in turn, in the same rounds.
    """
    a, b = _two(new, base)
    n = min(len(a), len(b))

    def quotient(x: Rows, y: Rows, alpha: float) -> Estimate:
        if shared:
            return _positive(statistics.median(x / y, 1 - alpha))
        top, bottom = (_positive(statistics.median(rows, 1 - alpha)) for rows in (x, y))
        return statistics.product(top, inverse(bottom))

    if shared:
        a, b = a[:n], b[:n]

    def repeated(count: int, alpha: float) -> Estimate:
        return quotient(np.resize(a, count), np.resize(b, count), alpha)

    # an interval of ranks knows the spread about as well as a quarter of the rows know a variance
    part = Part("rounds", n, repeated, n / 4)
    same = len(a) == len(b) and bool((a == b).all())
    return Contrast(True, lambda alpha: quotient(a, b, alpha), (part,), shared and same)


def at_looks(a: Contrast, looks: int) -> Contrast:
    """A contrast of a measurement that could have ended at any of so many looks (Bonferroni)."""
    return replace(a, at=lambda alpha: a.at(alpha / looks))


def product(a: Contrast, b: Contrast) -> Contrast:
    """Multiply two ratios that are independent, such as one of variances and one of times."""
    return Contrast(
        True,
        lambda alpha: statistics.product(a.at(alpha), b.at(alpha)),
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

    return Contrast(True, at)


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


def _freedom(rows: Rows) -> float:
    """The degrees of freedom with which rows tell their variance, by their kurtosis; 0 where they do not vary."""
    n = len(rows)
    if n < 2 or not np.isfinite(rows).all():
        return 0.0
    away = rows - rows.mean()
    squared = float((away**2).mean())
    if squared == 0:
        return 0.0
    kurtosis = float((away**4).mean()) / squared**2
    return max(1.0, min(n - 1.0, 2 * n / max(kurtosis - 1, 1e-9)))


def _together(a: Rows, b: Rows) -> float:
    """The same for the difference of two independent rows (Satterthwaite)."""
    freedoms = _freedom(a), _freedom(b)
    if not all(freedoms):
        return max(freedoms) if len(a) > 1 and len(b) > 1 else 0.0
    squares = float(a.var()), float(b.var())
    return sum(squares) ** 2 / sum(
        s**2 / freedom for s, freedom in zip(squares, freedoms, strict=True)
    )
