"""Times of which some are only known to be longer than the time that was given: medians, and medians of paired ratios.

A training that has not reached its target when it ends would have taken longer; how long is not known. Each sample is
therefore a range: (t, t) where it was reached, (horizon, inf) where it was not. The ratio of two such ranges is a range
too. The median of samples lies between the medians of the lower and of the upper ends, whatever the samples are within
their ranges, and so do the order statistics that an interval for the median is made of. Nothing is assumed of the law
of the times, nor of what the censored ones would have been.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

from vdbench.statistics.estimate import Estimate, Rows
from vdbench.statistics.sequential import two_sided


class Ranges(NamedTuple):
    """Samples that are each known to lie in a range.

    Attributes:
        low: Lower ends, shape (n,).
        high: Upper ends, shape (n,); inf where nothing is known.
    """

    low: Rows
    high: Rows


def times(found: ArrayLike, horizon: float) -> Ranges:
    """Times as ranges.

    Args:
        found: Times, shape (n,); those above ``horizon``, and inf, are censored.
        horizon: How long each was given.

    Raises:
        ValueError: A time is not a number or not above 0, or ``horizon`` is not above 0.
    """
    rows = np.asarray(found, dtype=np.float64)
    if rows.ndim != 1 or not (rows > 0).all() or not horizon > 0:
        raise ValueError(f"expected times and a horizon above 0, got {rows} and {horizon}")
    return Ranges(np.minimum(rows, horizon), np.where(rows > horizon, math.inf, rows))


def ratios(over: Ranges, under: Ranges) -> Ranges:
    """Ratios of paired samples; a range from 0 to inf where both are censored."""
    if len(over.low) != len(under.low):
        raise ValueError(f"expected pairs, got {len(over.low)} and {len(under.low)} samples")
    with np.errstate(invalid="ignore"):
        return Ranges(over.low / under.high, over.high / under.low)


def median(samples: Ranges, level: float) -> Estimate:
    """Estimate the median of the samples; the interval holds for any distribution.

    Its ends are the r-th smallest lower end and the r-th largest upper end, r as in
    :func:`vdbench.statistics.median`.

    Returns:
        The estimate; its value is NaN where the ranges leave the median of the samples open.

    Raises:
        ValueError: ``level`` is not strictly between 0 and 1.
    """
    two_sided(level)
    low, high = np.sort(samples.low), np.sort(samples.high)
    n = len(low)
    if n == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    rank = int(np.sum(2 * bdtr(np.arange(n // 2), n, 0.5) <= 1 - level))
    ends = (low[rank - 1], high[n - rank]) if rank else (0.0, math.inf)
    below, above = float(np.median(low)), float(np.median(high))
    value = below if below == above else math.nan
    return Estimate(value, float(ends[0]), float(ends[1]), n)
