"""Shares of independent trials: an interval, a one-sided test, and many tests at once.

The interval is Clopper and Pearson's (1934, Biometrika 26): the p for which what was counted is not in a tail of
Binomial(n, p). It holds for every n and p, also where nothing or everything was counted. Many tests are taken
together by Holm's step-down rule (1979, Scand. J. Stat. 6), which holds whatever the dependence among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr, bdtrc, betaincinv

from vdbench.statistics.estimate import Estimate


def share(count: int, n: int, level: float) -> Estimate:
    """Estimate a probability from ``count`` of ``n`` trials, with Clopper and Pearson's interval.

    Raises:
        ValueError: ``count`` is not between 0 and ``n``, ``n`` is 0, or ``level`` not strictly between 0 and 1.
    """
    _check(count, n)
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    tail = (1 - level) / 2
    low = float(betaincinv(count, n - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return Estimate(count / n, low, high, n)


def at_least(count: int, n: int, probability: float) -> float:
    """One-sided p-value of "the probability is at least so much": P(Binomial(n, p) ≤ ``count``)."""
    _check(count, n)
    return float(bdtr(count, n, probability))


def at_most(count: int, n: int, probability: float) -> float:
    """One-sided p-value of "the probability is at most so much": P(Binomial(n, p) ≥ ``count``)."""
    _check(count, n)
    return float(bdtrc(count - 1, n, probability)) if count else 1.0


def holm(values: Sequence[float], families: int = 1) -> list[float]:
    """Adjusted p-values: those at most α are rejected, with a family-wise error rate of at most α.

    Args:
        values: One p-value a test.
        families: How many families of this kind share the error α (Bonferroni over them).

    Returns:
        In the order given: the largest, over the tests with a p-value no larger, of p times the tests left.
    """
    order = np.argsort(values, kind="stable")
    count, largest = len(order), 0.0
    adjusted = [0.0] * count
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, families * (count - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def _check(count: int, n: int) -> None:
    if not 0 <= count <= n or n < 1:
        raise ValueError(f"expected a count between 0 and n, and n at least 1, got {count} of {n}")
