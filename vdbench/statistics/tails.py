"""How far an interval reaches on either side, given how skewed its rows are; and when there are too few of them.

An interval is estimate − b·s to estimate + a·s, s the standard error. For normal rows a = b = Student's t. For skewed
rows the error of an estimate and that of its standard error go together: an estimate that is too low comes with a
standard error that is too small. To first order (Hall 1992, *The Bootstrap and Edgeworth Expansion*, ch. 3) the arm on
the side of the long tail is longer by g·(2z² + 1)/6, with g = skewness / √n, where the estimate is a mean.

Three more things are needed, because skewness is itself estimated from the rows, and too low where they are few; and
because a run stops where its intervals look narrow. Their sizes were chosen by simulation:

    arm = t · 1.06 · (1 + k),     k = z · (g/2 + 6g² + 15r²),     g ≥ 0 on the side of the long tail, else 0

- 1.06 pays for looking again and again (`vdbench.statistics.sequential`);
- g/2 is the first-order term, and 6g² what is unseen of the tail;
- r is the relative standard error of a positive quantity: rows that are mostly near zero have large rows to come,
  although the sample may not show any.

All three vanish as 1/√n or 1/n. Where k > 12 a few rows decide the interval, and none is given: `Arms.needed` says
about how many rows would do. ``make coverage`` measures what comes of it (docs/results/coverage.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

INFLATION = 1.06
"""How much longer arms are because a run looks often, and stops where they are short."""

FIRST_ORDER, UNSEEN, NEAR_ZERO = 0.5, 6.0, 15.0
"""Weights of g, g² and r² in k, each times z."""

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


def arms(g: ArrayLike, below: ArrayLike, above: ArrayLike, z: float, n: ArrayLike) -> Arms:
    """Return how far intervals reach.

    Args:
        g: Skewness of an estimate: Σv³ / (Σv²)^(3/2), v what each row adds to it, less what the scale of the interval
            corrects for already. Of a mean of n rows it is their skewness / √n.
        below: Relative standard error of what lowers the estimate where it is large (a denominator); 0 for none.
        above: Relative standard error of what raises it, if it is positive; 0 for none.
        z: Normal quantile of the level.
        n: Rows.
    """
    rows, side = np.asarray(n, dtype=np.float64), np.asarray(g, dtype=np.float64)
    down, up = _excess(z, -side, below), _excess(z, side, above)
    worst = np.maximum(down, up)
    short = (rows < 2) | (worst > LIMIT)
    reach = INFLATION * quantile(z, rows)
    needed = np.where(short, np.ceil(rows * np.maximum(worst, 2)), 0)
    return Arms(
        np.where(short, np.inf, reach * (1 + down)),
        np.where(short, np.inf, reach * (1 + up)),
        needed,
    )


def _excess(z: float, g: Numbers, r: ArrayLike) -> Numbers:
    long, near = np.maximum(g, 0), np.minimum(r, 1e3)  # a square could overflow
    return z * (FIRST_ORDER * long + UNSEEN * long * long + NEAR_ZERO * near * near)


def quantile(z: float, n: ArrayLike) -> Numbers:
    """Student's quantile with n − 1 degrees of freedom at the tail of the normal ``z``; inf for n < 2."""
    rows = np.asarray(n, dtype=np.float64)
    return np.where(rows > 1, -stdtrit(np.maximum(rows - 1, 1), ndtr(-z)), math.inf)


def lean(adds: ArrayLike) -> float:
    """Return g of an estimate from what each row adds to it, as `arms` takes it; 0 where rows do not vary."""
    x = np.asarray(adds, dtype=np.float64)
    centred = x - x.mean()
    scale = float(np.abs(centred).max())
    if scale == 0:
        return 0.0
    unit = centred / scale
    squares = unit * unit
    return float((squares @ unit) / squares.sum() ** 1.5)
