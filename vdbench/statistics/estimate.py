"""What an estimate is, and what all intervals need of rows: checked, their mean, its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: The estimate, NaN where there is none.
        low: Lower end of the interval, at most ``value``.
        high: Upper end of the interval, at least ``value``.
        n: Number of units (or samples) behind it.
        needed: About how many units an interval would need, where they are too few for tails like theirs; else 0.
    """

    value: float
    low: float
    high: float
    n: int
    needed: int = 0

    @property
    def relative_half_width(self) -> float:
        """Half the interval's width over |value|: 0 without width, inf if nothing can be said."""
        if self.n < 2 or not math.isfinite(self.high - self.low):
            return math.inf
        if self.low == self.high == self.value:
            return 0.0
        return (self.high - self.low) / 2 / abs(self.value) if self.value else math.inf


def checked(rows: ArrayLike, positive: bool = False) -> Rows:
    """Rows as float64.

    Raises:
        ValueError: They are not one-dimensional, or a row is not finite, or negative (named by its index).
    """
    found = np.asarray(rows, dtype=np.float64)
    if found.ndim != 1:
        raise ValueError(f"rows must have shape (n,), got {found.shape}")
    bad = ~np.isfinite(found) | (positive & (found < 0))
    if bad.any():
        i = int(np.argmax(bad))
        expected = "a finite number that is not negative" if positive else "a finite number"
        raise ValueError(f"row {i} is {found[i]}, expected {expected}")
    return found


def moments(rows: Rows) -> tuple[float, float]:
    """Return the mean and its standard error (NaN for one row), exact if all rows are equal."""
    if (rows == rows[0]).all():
        return float(rows[0]), 0.0 if len(rows) > 1 else math.nan
    # scaled, so that squares of tiny or huge variances neither vanish nor overflow
    scale, n = float(np.abs(rows).max()), len(rows)
    unit = rows / scale
    middle = float(unit.mean())
    unit -= middle
    return scale * middle, scale * math.sqrt(float(unit @ unit) / (n - 1) / n)


def exp(x: float) -> float:
    """e^x, inf where it overflows."""
    return math.inf if x > 709.7 else math.exp(x)
