"""Critical values for a run that looks at its intervals again and again.

A cell looks at n₁ < … < n_K units and stops when its intervals are narrow enough. If the interval
at look k is estimate ± c_k standard errors, and P(|Z_k| > c_k at some look k) = 1 - level, then all
K intervals hold at once with probability ``level``, whatever rule decided when to stop: *repeated
confidence intervals* (Jennison & Turnbull 1989). The standardised estimates Z_k of a growing
sample are Brownian motion at the times n_k: standard normal, with Corr(Z_j, Z_k) = √(n_j/n_k).

**The boundary in use** (:func:`critical_values`) spends the error 1 - level over the looks as
(k/K)², Kim & DeMets' power family in the index of the look. For 7 looks, 64 to 4096 doubling:

====================  =====  =====  =====  =====  =====  =====  =====
n                        64    128    256    512   1024   2048   4096
c_k at 95 %           3.285  2.934  2.747  2.616  2.513  2.428  2.354
c_k / 1.960           1.676  1.497  1.401  1.335  1.282  1.239  1.201
Pocock's c / 1.960    1.326  1.326  1.326  1.326  1.326  1.326  1.326
Bonferroni's / 1.960  1.373  1.373  1.373  1.373  1.373  1.373  1.373
====================  =====  =====  =====  =====  =====  =====  =====

Its intervals are less than 1.3 times as wide as those of one look from n = 1024 on, where width is
dear; they are wide at small n, where a look costs little and the normal approximation is at its
worst: all looks together cover the mean of lognormal rows of log-spread 1 in 0.933 of runs (0.922
under Pocock's boundary), of log-spread 1.5 in 0.868 (0.846). Spending the error in the
*information* n_k/n_K instead (power 1) would keep half of it for the last look (1.71 times the
width at 64, 1.10 at 4096), of no use to a cell that stops early. The price falls as the level
rises: at 1 - 10⁻⁶ it is 1.15 times at the first look and 1.05 times at the last.

Sources: Armitage, McPherson & Rowe 1969 (J. R. Stat. Soc. A 132, the recursion); Pocock 1977
(Biometrika 64); Kim & DeMets 1987 (Biometrika 74, spending); Jennison & Turnbull, *Group Sequential
Methods with Applications to Clinical Trials*, 2000, ch. 9 (repeated intervals), ch. 19 (computing).
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
from scipy.special import ndtr, ndtri

_POWER = 2.0  # of the look's index, in the share of the error that is spent


def looks(first: int, bound: int, growth: float = 2.0) -> tuple[int, ...]:
    """Return the numbers of units at which a cell looks at its intervals.

    Args:
        first: Units at the first look, also the size of a block: every look is a multiple of it.
        bound: Most units that a cell may use, rounded up to a multiple of ``first``.
        growth: Each look has about this many times the units of the one before.

    Returns:
        Increasing multiples of ``first`` that end at the bound; ``(first,)`` if it is below.

    Raises:
        ValueError: ``first`` or ``bound`` is not positive, or ``growth`` is not above 1 and finite.
    """
    if first < 1 or bound < 1:
        raise ValueError(f"first and bound must be at least 1, got {first} and {bound}")
    if not (growth > 1 and math.isfinite(growth)):
        raise ValueError(f"growth must be finite and above 1, got {growth}")
    last = -(-bound // first)
    blocks = [1]
    while blocks[-1] < last:
        blocks.append(min(last, max(blocks[-1] + 1, round(blocks[-1] * growth))))
    return tuple(first * block for block in blocks)


def two_sided(level: float) -> float:
    """Return z with P(|Z| ≤ z) = ``level`` for a standard normal Z.

    Raises:
        ValueError: ``level`` is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    return float(-ndtri((1 - level) / 2))


def spending(count: int, level: float) -> tuple[float, ...]:
    """Return the error spent at each of ``count`` looks: the steps of (1 - level)(k/K)²."""
    spent = [(1 - level) * (k / count) ** _POWER for k in range(count + 1)]
    return tuple(after - before for before, after in pairwise(spent))


@lru_cache(maxsize=1024)
def critical_values(looks: tuple[int, ...], level: float) -> tuple[float, ...]:
    """Return the critical value at each look, so that all intervals hold at once at ``level``.

    For a statement about m comparisons at once, pass the adjusted level, 1 - (1 - level)/m.

    Args:
        looks: Increasing numbers of units, planned before a unit is seen (:func:`looks`).
        level: Probability that the intervals of all looks hold, strictly between 0 and 1.

    Returns:
        One value a look, in standard errors; the normal quantile itself for a single look.

    Raises:
        ValueError: ``looks`` is empty or not increasing, or ``level`` not strictly between 0 and 1.
    """
    _check(looks)
    first = two_sided(level)
    errors = spending(len(looks), level)
    values = [first if len(looks) == 1 else two_sided(1 - errors[0])]
    inside = _start(values[0], _nodes(looks, values[0]))
    for (before, after), error in zip(pairwise(looks), errors[1:], strict=True):
        # an exit at this look and at none before is rarer than one at this look alone
        values.append(_root(inside, before / after, error))
        inside = inside.advance(values[-1], before / after)
    return tuple(values)


@lru_cache(maxsize=1024)
def critical_value(looks: tuple[int, ...], level: float) -> float:
    """Return the constant c with P(max over looks of |Z_k| > c) = 1 - ``level``: Pocock's boundary.

    It is what :func:`critical_values` is judged by, and agrees with Pocock's published constants.

    Args:
        looks: Increasing numbers of units.
        level: Probability that the intervals of all looks hold, strictly between 0 and 1.

    Raises:
        ValueError: As :func:`critical_values`.
    """
    _check(looks)
    low = two_sided(level)
    if len(looks) == 1:
        return low

    def excess(c: float) -> float:
        return math.log(crossing_probability(looks, (c,) * len(looks)) / (1 - level))

    bonferroni = two_sided(1 - (1 - level) / len(looks))
    return float(brentq(excess, low, bonferroni + 1e-6, xtol=1e-10))


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
    unit = np.polynomial.legendre.leggauss(nodes)
    return _Inside(c * unit[0], c * unit[1] * _density(c * unit[0]), unit)


def _nodes(looks: Sequence[int], c: float) -> int:
    # Q nodes on [-c, c] lie at most πc/Q apart: half the spread of the narrowest kernel
    narrowest = min((math.sqrt(1 - a / b) for a, b in pairwise(looks)), default=1.0)
    return 32 + math.ceil(2 * math.pi * c / narrowest)


def _root(inside: _Inside, fraction: float, error: float) -> float:
    def excess(c: float) -> float:
        # where the probability underflows only the sign matters
        return math.log(max(inside.exits(c, fraction), 1e-300) / error)

    return float(brentq(excess, 0.0, two_sided(1 - error) + 1e-6, xtol=1e-10))


def _check(looks: Sequence[int]) -> None:
    if not looks or looks[0] < 1 or any(b <= a for a, b in pairwise(looks)):
        raise ValueError(f"looks must be increasing positive numbers of units, got {tuple(looks)}")
