"""How far an interval reaches on either side, given how skewed its rows are; and when there are too few of them.

An interval is estimate − b·s to estimate + a·s, s the standard error. For normal rows a = b = Student's t. For skewed
rows the error of an estimate and that of its standard error go together: an estimate that is too low comes with a
standard error that is too small. To first order (Hall 1992, *The Bootstrap and Edgeworth Expansion*, ch. 3) the arm on
the side of the long tail is longer by g·(2z² + 1)/6, with g = skewness / √n, where the estimate is a mean.

Three more things are needed, because skewness is itself estimated from the rows, and too low where they are few; and
because a run stops where its intervals look narrow. Their sizes were chosen by simulation:

    arm = t · 1.06 · (1 + k),     k = z · (g/2 + 6g² + 15r² + 2h),     g ≥ 0 on the side of the long tail, else 0

- 1.06 pays for looking again and again (`vdbench.statistics.sequential`);
- g/2 is the first-order term, and 6g² what is unseen of the tail;
- r is the relative standard error of a positive quantity: rows that are mostly near zero have large rows to come,
  although the sample may not show any;
- h is the kurtosis above 3, over n, of differences and ratios: two long tails may hide each other in g.

All vanish as 1/√n or 1/n. Where k > 12 a few rows decide the interval, and none is given: `Arms.needed` says about how
many rows would do. Below that, wide intervals are given: they hold more often than narrow ones, so that to drop them
would make the rest worse. ``make coverage`` measures what comes of it (docs/results/coverage.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

INFLATION = 1.06
"""How much longer arms are because a run looks often, and stops where they are short."""

FIRST_ORDER, UNSEEN, NEAR_ZERO, BOTH_SIDES = 0.5, 6.0, 15.0, 2.0
"""Weights of g, g², r² and h in k, each times z."""

FEWEST = 3
"""Rows without which there is no skewness, and no interval."""

LIMIT = 12.0
"""The largest k of an interval that is given."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Arms:
    """How far intervals reach, in standard errors; arrays of one shape.

    Attributes:
        below: Downwards; inf where there are too few rows.
        above: Upwards, likewise.
        needed: About how many rows would do; 0 where there are enough.
    """

    below: Numbers
    above: Numbers
    needed: Numbers


class Shape(NamedTuple):
    """What tails an estimate has, from what each row v adds to it.

    Attributes:
        g: Skewness Σv³ / (Σv²)^(3/2); of a mean of n rows their skewness / √n. Positive where the long tail is above.
        h: Σv⁴ / (Σv²)² above the normal 3/n, or 0.
    """

    g: Numbers | float
    h: Numbers | float


def shape(adds: ArrayLike) -> Shape:
    """The tails of an estimate; none where rows do not vary.

    Args:
        adds: What each row adds to the estimate, but for a constant factor, shape (n,).
    """
    x = np.asarray(adds, dtype=np.float64)
    centred = x - x.mean()
    scale = float(np.abs(centred).max())
    if scale == 0:
        return Shape(0.0, 0.0)
    unit = centred / scale
    squares = unit * unit
    total = float(squares.sum())
    fourth = float(squares @ squares) / total**2
    return Shape(float(squares @ unit) / total**1.5, max(0.0, fourth - 3 / len(x)))


def arms(tails: Shape, below: ArrayLike, above: ArrayLike, z: float, n: ArrayLike) -> Arms:
    """Return how far intervals reach.

    Args:
        tails: Of the estimate; g less what the scale of the interval corrects for already.
        below: Relative standard error of what lowers the estimate where it is large (a denominator); 0 for none.
        above: Relative standard error of what raises it, if it is positive; 0 for none.
        z: Normal quantile of the level.
        n: Rows.
    """
    rows, g = np.asarray(n, dtype=np.float64), np.asarray(tails.g, dtype=np.float64)
    h = BOTH_SIDES * np.asarray(tails.h, dtype=np.float64)
    down, up = z * (h + _one_side(-g, below)), z * (h + _one_side(g, above))
    worst = np.maximum(down, up)
    short = (rows < FEWEST) | (worst > LIMIT)
    reach = INFLATION * quantile(z, rows)
    needed = np.where(short, np.ceil(rows * np.maximum(worst, 2)), 0)
    return Arms(
        np.where(short, np.inf, reach * (1 + down)),
        np.where(short, np.inf, reach * (1 + up)),
        needed,
    )


def _one_side(g: Numbers, r: ArrayLike) -> Numbers:
    long, near = np.maximum(g, 0), np.minimum(r, 1e3)  # a square could overflow
    return FIRST_ORDER * long + UNSEEN * long * long + NEAR_ZERO * near * near


def quantile(z: float, n: ArrayLike) -> Numbers:
    """Student's quantile with n − 1 degrees of freedom at the tail of the normal ``z``; inf for n < 2."""
    rows = np.asarray(n, dtype=np.float64)
    return np.where(rows > 1, -stdtrit(np.maximum(rows - 1, 1), ndtr(-z)), math.inf)
