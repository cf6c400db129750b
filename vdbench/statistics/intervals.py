"""Estimates and intervals from rows of independent units: pure functions, one a kind of figure.

``z`` is the normal quantile of the level. `vdbench.statistics.tails` turns it into how far an interval reaches on
either side, by the skewness of the rows and their number.

What is not known is said with infinities: (-inf, inf), or (0, inf) for what cannot be negative. So it is with fewer
than three rows, and where a few rows decide: `Estimate.needed` then says about how many would do. What has no value (no
rows, a zero denominator) is NaN. Rows that are all equal have no spread, and give an interval of no width: the
statement is about the units seen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from vdbench.statistics.estimate import Estimate, Rows, checked, exp, moments
from vdbench.statistics.tails import Shape, arms, shape

CURVATURE = 1.5
"""What the log scale corrects of an estimate's skewness, in relative standard errors."""

ROUNDING = 1e-12
"""Share of the errors of a ratio's parts below which its own error is nothing but rounding."""


def mean(rows: ArrayLike, z: float) -> Estimate:
    """Estimate a mean that may be negative, on its own scale.

    Args:
        rows: One value a unit, shape (n,).
        z: Normal quantile of the level.

    Raises:
        ValueError: ``rows`` is not one-dimensional, or a row is not finite (named by its index).
    """
    rows = checked(rows)
    if len(rows) < 2:
        return Estimate(float(rows[0]) if len(rows) else math.nan, -math.inf, math.inf, len(rows))
    value, error = moments(rows)
    if error == 0:
        return Estimate(value, value, value, len(rows))
    reach = arms(shape(rows), 0.0, 0.0, z, len(rows))
    low, high = value - float(reach.below) * error, value + float(reach.above) * error
    return Estimate(value, low, high, len(rows), int(reach.needed))


def positive_mean(rows: ArrayLike, z: float, signed: bool = False) -> Estimate:
    """Estimate the mean m of rows that cannot be negative, on the log scale, where se(log m) ≈ se/m.

    Student's statistic of log m has the second-order term −g/3 + se/2m times Z², that of m −g/3 (delta method): the
    log scale corrects 1.5·se/m of the skewness g. Rows that are all zero give (0, 0, 0): no variance was seen.

    Args:
        rows: One value a unit, not negative, shape (n,).
        z: Normal quantile of the level.
        signed: Whether single rows may be negative although what their mean estimates is not.

    Returns:
        The estimate; (0, inf) for fewer than three rows, and ``high`` may overflow to inf. Signed rows whose mean
        is not positive have the interval of :func:`mean`.

    Raises:
        ValueError: As :func:`mean`, or a row is negative.
    """
    rows = checked(rows, positive=not signed)
    if len(rows) < 2:
        return Estimate(float(rows[0]) if len(rows) else math.nan, 0.0, math.inf, len(rows))
    value, error = moments(rows)
    if value <= 0 and signed:
        return mean(rows, z)
    if value == 0:
        return Estimate(0.0, 0.0, 0.0, len(rows))
    tails = Shape(shape(rows).g, 0.0)
    return _log_interval(_Log(value, error / value, tails, error / value, 0.0, len(rows)), z)


class _Log(NamedTuple):
    """An estimate on the log scale: value, standard error of its log, tails, relative errors above and below."""

    value: float
    error: float
    tails: Shape
    above: float
    below: float
    n: int


def _log_interval(of: _Log, z: float) -> Estimate:
    if of.error == 0:
        return Estimate(of.value, of.value, of.value, of.n)
    up, down = (min(part, 1e3) for part in (of.above, of.below))
    both, most = math.hypot(up, down), up + down
    # in exact numbers |up² − down²| ≤ most · error; rows that are rigid but for rounding have no skewness
    bend = max(-most, min(most, (up**2 - down**2) / of.error))
    g = float(of.tails.g) - CURVATURE * bend
    tails = Shape(g, of.tails.h) if of.error > ROUNDING * both else Shape(0.0, 0.0)
    below, above = (of.error * part / both if both else 0.0 for part in (down, up))
    reach = arms(tails, below, above, z, of.n)
    # products, not exp(log ± half): the value then never falls outside by rounding
    low = of.value * math.exp(-float(reach.below) * of.error)
    high = of.value * exp(float(reach.above) * of.error)
    return Estimate(of.value, low, high, of.n, int(reach.needed))


def ratio(numerator: ArrayLike, denominator: ArrayLike, z: float, signed: bool = False) -> Estimate:
    """Estimate the ratio of two means from paired rows that cannot be negative.

    With a, b the paired rows and ā, b̄ their means, log(ā/b̄) moves with unit i by a_i/ā - b_i/b̄
    (delta method), so whatever the pair has in common (minibatches, noise) cancels. Two
    estimators with identical rows give exactly (1, 1, 1): under common random numbers they
    are one estimator as far as the units can tell.

    Where one has more units, the other's mean is carried to them by regression: with u and w the
    common rows of the longer and the shorter over their means, w̄ moves by β(ū_all - ū), β their
    regression coefficient, held within [-1, 1] (double sampling: Cochran, *Sampling Techniques*, 1977, ch. 12).

    Args:
        numerator: One value a unit, not negative, shape (n,).
        denominator: The same units in the same order, shape (n,); or one of the two goes on for more units.
        z: Normal quantile of the level.
        signed: Whether single rows may be negative although what their means estimate is not.

    Returns:
        The estimate, with the n of the shorter; NaN where the denominator's mean is zero, (0, 0, 0) where only the
        numerator's is, and (0, inf) for fewer than three rows. Of signed rows, NaN where either mean is negative.

    Raises:
        ValueError: As :func:`positive_mean`.
    """
    a, b = checked(numerator, positive=not signed), checked(denominator, positive=not signed)
    n = min(len(a), len(b))
    if len(a) != len(b) and n > 1:
        short, long = (a, b) if len(a) < len(b) else (b, a)
        if moments(short)[0] > 0 and moments(long[:n])[0] > 0 and moments(long)[0] > 0:
            found = _double_sampling(short, long)
            return _log_interval(found if short is a else _inverse(found), z)
    a, b = a[:n], b[:n]
    (top, above), (bottom, below) = (moments(rows) if n else (0.0, 0.0) for rows in (a, b))
    if bottom <= 0 or top < 0:
        return Estimate(math.nan, math.nan, math.nan, n)
    value = top / bottom
    if n < 2:
        return Estimate(value, 0.0, math.inf, n)
    if top == 0:
        return Estimate(0.0, 0.0, 0.0, n)
    adds = a / top - b / bottom
    found = _Log(value, moments(adds)[1], shape(adds), above / top, below / bottom, n)
    return _log_interval(found, z)


def _inverse(of: _Log) -> _Log:
    tails = Shape(-float(of.tails.g), of.tails.h)
    return _Log(1 / of.value, of.error, tails, of.below, of.above, of.n)


def _double_sampling(short: Rows, long: Rows) -> _Log:
    """mean(short)/mean(long) from unequal numbers of units."""
    n, count = len(short), len(long)
    (mine, above), (common, _), (every, below) = map(moments, (short, long[:n], long))
    w, u = short / mine, long / common
    beta = regression(short, long)
    value = mine * (1 + beta * (every / common - 1)) / every
    # what each unit adds: the rest of the regression in the common units, the longer's mean in all
    adds = -(1 - beta) * (long / every - 1) / count
    rest = w - beta * u[:n]
    adds[:n] += (rest - rest.mean()) / n
    error = math.sqrt(float((adds**2).sum()) * n / (n - 1))
    return _Log(value, error, shape(adds), above / mine, below / every, n)


def regression(short: Rows, long: Rows) -> float:
    """How much of a relative change of the mean of ``long`` the mean of ``short`` goes along with; see `ratio`."""
    n = len(short)
    u = long / moments(long[:n])[0]
    spread = float(np.var(u[:n], ddof=1))
    beta = float(np.cov(short / moments(short)[0], u[:n])[0, 1]) / spread if spread else 0.0
    beta = min(1.0, max(-1.0, beta))
    # a positive mean would be carried below zero
    return 0.0 if beta * (float(u.mean()) - 1) <= -1 else beta


def ratio_root(numerator: ArrayLike, denominator: ArrayLike, z: float) -> Estimate:
    """Estimate √max(0, A/B), A and B the means of paired rows: SNR, relative bias.

    The numerator (an unbiased estimate of a square) may be negative, so that there is no log scale;
    the interval of A/B is Fieller's, the θ for which the interval of mean(a - θb) holds
    zero. It needs no expansion in 1/b̄, stays valid for a noisy denominator, and is unbounded when
    b̄ cannot be told from zero. Both ends are mapped by √max(0, ·). A negative ratio is first
    moved to zero with its interval: that only adds to the interval, which would otherwise claim
    certainty by falling below zero altogether.

    Args:
        numerator: One value a unit, shape (n,).
        denominator: The same units in the same order, of positive mean, shape (n,).
        z: Normal quantile of the level.

    Returns:
        The estimate; NaN where the denominator's mean is not positive, (0, inf) for fewer than
        three rows.

    Raises:
        ValueError: As :func:`mean`, or the lengths differ.
    """
    a, b = checked(numerator), checked(denominator)
    if len(a) != len(b):
        raise ValueError(f"paired rows must have one length, got {len(a)} and {len(b)}")
    n = len(a)
    top, bottom = (moments(rows)[0] if n else 0.0 for rows in (a, b))
    if bottom <= 0:
        return Estimate(math.nan, math.nan, math.nan, n)
    value = top / bottom
    below, above, needed = _fieller(a / bottom, b / bottom, z) if n > 1 else (math.inf, math.inf, 0)
    value = max(0.0, value)
    low, high = math.sqrt(max(0.0, value - below)), math.sqrt(value + above)
    return Estimate(math.sqrt(value), low, high, n, needed)


def _fieller(a: Rows, b: Rows, z: float) -> tuple[float, float, int]:
    """How far the interval of A/B reaches below and above ā, for rows scaled to b̄ = 1, and rows needed."""
    centre = moments(a)[0]
    reach = arms(shape(a - centre * b), 0.0, 0.0, z, len(a))
    below, above = _roots(a, b, float(reach.below), float(reach.above))
    # the skewness of a - θb changes with θ: the ends are found again with their own
    for end, side in ((centre - below, "below"), (centre + above, "above")):
        if math.isfinite(end):
            own = arms(shape(a - end * b), 0.0, 0.0, z, len(a))
            if side == "below":
                below = max(below, _roots(a, b, float(own.below), 0.0)[0])
            else:
                above = max(above, _roots(a, b, 0.0, float(own.above))[1])
    return below, above, int(reach.needed)


def _roots(a: Rows, b: Rows, down: float, up: float) -> tuple[float, float]:
    """Solve |mean(a - θb)| = t·se below and above ā, with the t of each side."""
    # δ = θ - ā and d = a - āb turn |mean(a - θb)| ≤ t·se into (1 - g)δ² + 2qδ - p ≤ 0, with p, q
    # and g the t²-fold covariances of d̄ and b̄: the roots straddle 0, and no digits cancel
    d = a - moments(a)[0] * b
    scale = float(np.abs(d).max())
    if scale == 0:
        return 0.0, 0.0
    covariance = np.cov(d / scale, b) / len(a)
    found = []
    for t, sign in ((down, 1), (up, -1)):
        if not math.isfinite(t):
            found.append(math.inf)
            continue
        p, q, g = (t * t * float(c) for c in (covariance[0, 0], covariance[0, 1], covariance[1, 1]))
        if g >= 1:
            found.append(math.inf)
            continue
        root = math.sqrt(q * q + (1 - g) * p)
        found.append(scale * max(0.0, root + sign * q) / (1 - g))
    return found[0], found[1]
