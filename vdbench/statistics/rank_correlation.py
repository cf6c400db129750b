"""Spearman's rank correlation of two figures that are measured with error, with an interval.

The things that are ranked (estimators of a gradient) are fixed: what is uncertain is where each of them lies. Both
figures are drawn anew many times, as their errors have them, and the correlation is computed from each draw. Errors
lower a correlation, and a redrawn figure has them twice. The draws therefore lie below the estimate by about as much
as the estimate lies below the truth: the interval reaches over the quantiles of the draws and over their mirror images
at the estimate (the basic bootstrap). It is not shorter than either. Where no error is large enough to change a rank,
its length is 0.

Coverage at 95 % in simulations of 12 things, figures with errors of 10 % and medians of ten seeds (400 runs each,
standard error 1 point; ``spread`` is the standard deviation of the log figures, ``link`` their correlation, ``seeds``
that of log times over seeds):

===============================  ========
spread 1.5, link 0.9, seeds 0.2    98 %
the same, a quarter censored       98 %
spread 1.5, link 0, seeds 0.2      98 %
spread 0.5, link 0.9, seeds 0.2    96 %
spread 0.5, link 0.5, seeds 0.3    97 %
spread 0.2, link 0.9, seeds 0.3    88 %
===============================  ========

In the last case all things differ by less than their errors, and there is no order to be found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vdbench.statistics.estimate import Estimate, Rows
from vdbench.statistics.sequential import two_sided


def ranks(values: ArrayLike) -> Rows:
    """Ranks from 1 along the last axis; equal values share the mean of their ranks."""
    x = np.asarray(values, dtype=np.float64)
    below = (x[..., None, :] < x[..., :, None]).sum(-1)
    equal = (x[..., None, :] == x[..., :, None]).sum(-1)
    return np.asarray(below + (equal + 1) / 2, dtype=np.float64)


def spearman(x: ArrayLike, y: ArrayLike) -> Rows:
    """Pearson's correlation of the ranks along the last axis; NaN where all values of one are equal.

    Source: Spearman 1904; ties as in Kendall & Gibbons, *Rank Correlation Methods*, 1990, ch. 3.
    """
    a, b = (r - r.mean(-1, keepdims=True) for r in (ranks(x), ranks(y)))
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(-1) / scale, dtype=np.float64)


def correlation(x: ArrayLike, y: ArrayLike, drawn: tuple[Rows, Rows], level: float) -> Estimate:
    """Estimate the rank correlation of two figures.

    Args:
        x: The first figure of each thing, shape (k,).
        y: The second, shape (k,).
        drawn: Both drawn anew, shape (draws, k).
        level: Of the interval.

    Returns:
        The estimate, n the number of things.

    Raises:
        ValueError: There are fewer than three things, or ``level`` is not strictly between 0 and 1.
    """
    two_sided(level)
    k = len(np.asarray(x))
    if k < 3:
        raise ValueError(f"expected at least 3 things that are ranked, got {k}")
    value = float(spearman(x, y))
    if not math.isfinite(value):
        return Estimate(math.nan, -1.0, 1.0, k)
    # a draw in which all are equal says nothing of their order
    found = np.nan_to_num(spearman(*drawn), nan=0.0)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    ends = [min(low, 2 * value - high), max(high, 2 * value - low)]
    return Estimate(value, max(-1.0, float(ends[0])), min(1.0, float(ends[1])), k)


def lognormal(
    figures: Sequence[Estimate], level: float, draws: int, generator: np.random.Generator
) -> Rows:
    """Draw positive figures anew, independent of each other, their logs normal with the intervals' half-widths.

    Args:
        figures: With intervals at ``level``, above 0.
        level: Of the intervals.
        draws: How often.
        generator: Of the random numbers.

    Returns:
        Shape (draws, figures).

    Raises:
        ValueError: A figure or an end of its interval is not above 0 or not finite.
    """
    ends = np.array([[e.low, e.value, e.high] for e in figures], dtype=np.float64)
    if not (np.isfinite(ends).all() and (ends > 0).all()):
        raise ValueError(f"expected figures with finite intervals above 0, got {ends.tolist()}")
    deviation = np.log(ends[:, 2] / ends[:, 0]) / 2 / two_sided(level)
    normal = generator.standard_normal((draws, len(ends)))
    return np.asarray(ends[:, 1] * np.exp(deviation * normal), dtype=np.float64)


def medians(samples: ArrayLike, horizon: float, draws: int, generator: np.random.Generator) -> Rows:
    """Draw medians of times anew, the seeds with replacement and the same ones for all (Efron 1979).

    Args:
        samples: Times, shape (k, seeds); inf where the horizon was reached.
        horizon: What a median above it counts as.
        draws: How often.
        generator: Of the random numbers.

    Returns:
        Shape (draws, k).
    """
    found = np.asarray(samples, dtype=np.float64)
    chosen = generator.integers(found.shape[1], size=(draws, found.shape[1]))
    return median(found[:, chosen], horizon).T


def median(samples: ArrayLike, horizon: float) -> Rows:
    """Median along the last axis; of an even number half of which was censored it is not known, and is the horizon."""
    # in this order: cut first, half of the seeds at the horizon would give a number between
    return np.minimum(np.median(np.asarray(samples, dtype=np.float64), axis=-1), horizon)
