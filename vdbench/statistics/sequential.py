"""When a run looks at its intervals; and critical values for a run that is stopped because of what it has found.

**A run that stops on width** looks often (:func:`fine_looks`). It stops where all of its intervals are narrow enough,
whatever they say, so that looking costs little: what it costs, `vdbench.statistics.tails` pays for.

**A run that is stopped by hand** needs a boundary. It looks at n₁ < … < n_K units. If the interval
at look k is estimate ± c_k standard errors, and P(|Z_k| > c_k at some look k) = 1 - level, then all
K intervals hold at once with probability ``level``, whatever rule decided when to stop: *repeated
confidence intervals* (Jennison & Turnbull 1989). The standardised estimates Z_k of a growing
sample are Brownian motion at the times n_k: standard normal, with Corr(Z_j, Z_k) = √(n_j/n_k).

The boundary (:func:`critical_values`) makes the interval at every look r times as wide
as that of a run which planned to look once, at that n: Pocock's rule, stated in the Student
quantiles that intervals are made of, so that small n do not pay twice. No other boundary has a
smaller largest ratio. Its looks (:func:`looks`) are as many as keep r ≤ 1.3, no closer than
doubling. At 95 %:

==============================  =====  =====================
looks                               r  r at doubling looks
==============================  =====  =====================
64, 128, 256, 512, 1024         1.272                  1.272
64, 192, 512, 1472, 4096        1.290                  1.330
64, 256, 1024, 4096, 16384      1.299                  1.374
8, 32, 128, 512                 1.290                  1.368
==============================  =====  =====================

What is saved by not doubling is spent on the units between looks: a run overshoots the n that it
needed by 1.7 times on average where looks are 2.8 times apart, by 1.4 times where they double; the
units are not lost, its intervals are narrower for them. The price falls as the level rises: at
1 - 10⁻⁶ it is 1.07 times for 64 to 4096.

Sources: Armitage, McPherson & Rowe 1969 (J. R. Stat. Soc. A 132, the recursion); Pocock 1977
(Biometrika 64); Jennison & Turnbull, *Group Sequential Methods with Applications to Clinical
Trials*, 2000, ch. 9 (repeated intervals), ch. 19 (computing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr

from vdbench.statistics.tails import quantile

LEAST = 100
"""Units before which no run stops on the width of its intervals: fewer do not show their tails."""

GROWTH = 1.1
"""From look to look of a run that stops on width."""

WIDEST = 1.3
"""Most that looking again and again may widen an interval, at 95 %."""


def fine_looks(first: int, bound: int) -> tuple[int, ...]:
    """Return the numbers of units at which a run that stops on width looks: from `LEAST` on, a tenth more each time.

    Args:
        first: Units in a block: every look is a multiple of it.
        bound: Most units that a cell may use, rounded up to a multiple of ``first``.

    Returns:
        Increasing multiples of ``first`` that end at the bound; the bound alone where it is below `LEAST`.

    Raises:
        ValueError: ``first`` or ``bound`` is not positive.
    """
    last = _blocks(first, bound)
    found = [min(last, -(-LEAST // first))]
    while found[-1] < last:
        found.append(min(last, max(found[-1] + 1, round(found[-1] * GROWTH))))
    return tuple(first * block for block in found)


def _blocks(first: int, bound: int) -> int:
    if first < 1 or bound < 1:
        raise ValueError(f"first and bound must be at least 1, got {first} and {bound}")
    return -(-bound // first)


def looks(first: int, bound: int) -> tuple[int, ...]:
    """Return the numbers of units at which intervals that hold at all looks together are made.

    They grow by a constant factor of at least 2, as many as keep :func:`widening` within `WIDEST`
    at 95 %.

    Args:
        first: Units at the first look, also the size of a block: every look is a multiple of it.
        bound: Most units that a cell may use, rounded up to a multiple of ``first``.

    Returns:
        Increasing multiples of ``first`` that end at the bound; the bound alone where two looks would widen
        the intervals of so few units too much.

    Raises:
        ValueError: ``first`` or ``bound`` is not positive.
    """
    last = _blocks(first, bound)
    if last == 1:
        return (first,)
    most = 1 + max(1, math.floor(math.log2(last)))
    schedules = (_geometric(first, last, count) for count in range(most, 1, -1))
    return next((s for s in schedules if widening(s, 0.95) <= WIDEST), (first * last,))


def _geometric(first: int, last: int, count: int) -> tuple[int, ...]:
    """``count`` looks at a constant ratio, rounded to whole blocks; fewer where two would coincide."""
    blocks = sorted({round(last ** (k / (count - 1))) for k in range(count)})
    return tuple(first * block for block in blocks)


def two_sided(level: float) -> float:
    """Return z with P(|Z| ≤ z) = ``level`` for a standard normal Z.

    Raises:
        ValueError: ``level`` is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    return float(-ndtri((1 - level) / 2))


def student(z: float, n: int) -> float:
    """Return Student's t, n - 1 degrees of freedom, at the tail of normal ``z``; inf for n < 2."""
    return float(quantile(z, n))


@lru_cache(maxsize=1024)
def critical_values(looks: tuple[int, ...], level: float) -> tuple[float, ...]:
    """Return the critical value at each look, so that all intervals hold at once at ``level``.

    For a statement about m comparisons at once, pass the adjusted level, 1 - (1 - level)/m.

    Args:
        looks: Increasing numbers of units, planned before a unit is seen (:func:`looks`).
        level: Probability that the intervals of all looks hold, strictly between 0 and 1.

    Returns:
        One value a look, in standard errors on the normal scale, which :func:`student` turns into
        ``widening`` times Student's quantile; the normal quantile itself for a single look.

    Raises:
        ValueError: ``looks`` is empty or not increasing, or ``level`` not strictly between 0 and 1.
    """
    return _values(looks, level, widening(looks, level))


@lru_cache(maxsize=1024)
def widening(looks: tuple[int, ...], level: float) -> float:
    """Return r: how much wider an interval is than that of a run which looks once, at the same n.

    Raises:
        ValueError: As :func:`critical_values`.
    """
    _check(looks)
    two_sided(level)
    if len(looks) == 1:
        return 1.0

    def excess(r: float) -> float:
        crossed = crossing_probability(looks, _values(looks, level, r))
        return math.log(max(crossed, 1e-300) / (1 - level))

    # Bonferroni's values cross too rarely at every look
    adjusted = two_sided(1 - (1 - level) / len(looks))
    once = two_sided(level)
    most = max(student(adjusted, n) / student(once, n) for n in looks if n > 1)
    return float(brentq(excess, 1.0, most + 1e-6, xtol=1e-10))


def _values(looks: Sequence[int], level: float, r: float) -> tuple[float, ...]:
    once = two_sided(level)
    return tuple(_normal(r * student(once, n), n) if n > 1 else r * once for n in looks)


def _normal(t: float, n: int) -> float:
    """The normal quantile at the tail of Student's ``t``: `student` undone."""
    return float(-ndtri(stdtr(n - 1, -t)))


def crossing_probability(looks: Sequence[int], boundary: Sequence[float]) -> float:
    """Return P(|Z_k| > ``boundary[k]`` at some look k), by recursive numerical integration.

    Args:
        looks: K increasing numbers of units.
        boundary: K positive critical values.

    Raises:
        ValueError: ``looks`` is empty or not increasing, or the two differ in length.
    """
    _check(looks)
    inside = _start(boundary[0], _nodes(looks, max(boundary)))
    probability = float(2 * ndtr(-boundary[0]))
    for (before, after), c in zip(pairwise(looks), boundary[1:], strict=True):
        probability += inside.exits(c, before / after)
        inside = inside.advance(c, before / after)
    return probability


@dataclass(frozen=True)
class _Inside:
    """The paths that have not left yet: their density at this look's Z, as a quadrature.

    Attributes:
        z: Gauss-Legendre nodes on [-c, c], shape (Q,).
        mass: Density times quadrature weight at each node, shape (Q,).
        unit: Nodes and weights on [-1, 1], two arrays of shape (Q,).
    """

    z: NDArray[np.float64]
    mass: NDArray[np.float64]
    unit: tuple[NDArray[np.float64], NDArray[np.float64]]

    def exits(self, c: float, fraction: float) -> float:
        """Return P(first |Z| > ``c`` at the next look), ``fraction`` = n now / n then."""
        # Z' given Z = z is N(√f z, 1 - f); tails are summed as such, exact to small probabilities
        mean, spread = math.sqrt(fraction) * self.z, math.sqrt(1 - fraction)
        return float(self.mass @ (ndtr((-c - mean) / spread) + ndtr((-c + mean) / spread)))

    def advance(self, c: float, fraction: float) -> _Inside:
        """Return the paths still inside at the next look, whose critical value is ``c``."""
        z, weight = c * self.unit[0], c * self.unit[1]
        mean, spread = math.sqrt(fraction) * self.z, math.sqrt(1 - fraction)
        kernel = _density((z[:, None] - mean) / spread) / spread
        return _Inside(z, weight * (kernel @ self.mass), self.unit)


def _density(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _start(c: float, nodes: int) -> _Inside:
    unit = _unit(nodes)
    return _Inside(c * unit[0], c * unit[1] * _density(c * unit[0]), unit)


@lru_cache(maxsize=64)
def _unit(nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Legendre nodes and weights on [-1, 1]: making them takes longer than all looks of a schedule."""
    return np.polynomial.legendre.leggauss(nodes)


def _nodes(looks: Sequence[int], c: float) -> int:
    # Q nodes on [-c, c] lie at most πc/Q apart: half the spread of the narrowest kernel
    narrowest = min((math.sqrt(1 - a / b) for a, b in pairwise(looks)), default=1.0)
    return 32 + math.ceil(2 * math.pi * c / narrowest)


def _check(looks: Sequence[int]) -> None:
    if not looks or looks[0] < 1 or any(b <= a for a, b in pairwise(looks)):
        raise ValueError(f"looks must be increasing positive numbers of units, got {tuple(looks)}")
