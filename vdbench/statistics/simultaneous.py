"""How far intervals of many ratios must reach to hold together, by the largest of their errors.

Bonferroni's correction shares the error rate among all comparisons, as if they never failed together. Ratios of the
same few variances, measured in the same units, often do. The largest standardised error of all of them,
max |log R̂ − log R| / se, has a quantile of its own. It is found by the multiplier bootstrap: what each unit adds to an
estimate (delta method) is multiplied by an independent standard normal number, and the sums behave as the errors do
(Chernozhukov, Chetverikov & Kato 2013, Ann. Statist. 41(6), *Gaussian approximations and multiplier bootstrap for
maxima of sums of high-dimensional random vectors*). Sums of a column over a stretch of units are normal given the
units, so they are drawn from their covariances, at a cost that does not grow with units.

The quantile has the place of a normal quantile: what few or skewed units need beyond it, is added as to any interval
(`vdbench.statistics.tails`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vdbench.statistics.intervals import regression

DRAWS = 20_000
"""Bootstrap samples: at an error rate of 5 % they know it to ±0.15 %, one standard deviation."""

SEED = 20130501
"""Of the bootstrap: the same units give the same quantile."""

ROUNDING = 1e-6
"""Relative spread of a ratio below which its units are equal but for rounding."""

Rows = NDArray[np.float64]


def largest_error(
    rows: Sequence[Rows], pairs: Sequence[tuple[int, int]], level: float
) -> float | None:
    """Return the quantile of the largest standardised error of the logs of many ratios of means.

    Args:
        rows: For each mean one value a unit, in the same order of units; shapes (n_i,), n_i ≥ 3, of positive mean.
        pairs: Which ratios: the places of two means in ``rows``.
        level: With which all errors are to be smaller at once.

    Returns:
        The quantile in standard errors, or None where no ratio varies.
    """
    unit = [row / row.mean() - 1 for row in rows]
    sums = _sums(unit)
    most = np.zeros(DRAWS, dtype=np.float32)
    for a, b in pairs:
        short, long = (a, b) if len(rows[a]) <= len(rows[b]) else (b, a)
        n, count = len(rows[short]), len(rows[long])
        beta = regression(rows[short], rows[long]) if n < count else 1.0
        error = (sums[short][n] - beta * sums[long][n]) / n - (1 - beta) * sums[long][count] / count
        spread = float(error.std())
        if spread > ROUNDING * float(np.abs(sums[short][n]).max(initial=0.0)) / n:
            np.maximum(most, np.abs(error) / spread, out=most)
    return float(np.quantile(most, level)) if most.any() else None


def _sums(unit: Sequence[Rows]) -> list[dict[int, NDArray[np.float32]]]:
    """For each column its bootstrap sums over the first n units, at every n where some column ends."""
    random = np.random.default_rng(SEED)
    ends = sorted({len(column) for column in unit})
    found: list[dict[int, NDArray[np.float32]]] = [{} for _ in unit]
    for start, stop in pairwise([0, *ends]):
        alive = [j for j, column in enumerate(unit) if len(column) >= stop]
        block = np.stack([unit[j][start:stop] for j in alive])
        values, vectors = np.linalg.eigh(block @ block.T)
        root = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
        drawn = root @ random.standard_normal((len(alive), DRAWS), dtype=np.float32)
        for j, more in zip(alive, drawn, strict=True):
            before = found[j].get(start)
            found[j][stop] = more if before is None else before + more
    return found
