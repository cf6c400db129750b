"""The quantile of the largest error: against closed forms, a slow twin, and how often intervals hold together."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm, studentized_range

from vdbench import statistics
from vdbench.statistics.intervals import regression
from vdbench.statistics.sequential import two_sided
from vdbench.statistics.simultaneous import DRAWS, largest_error

LEVEL = 0.95
Rows = NDArray[np.float64]


def _pairs(count: int) -> list[tuple[int, int]]:
    return list(combinations(range(count), 2))


def _close(found: float, tail: float) -> None:
    """Whether the error rate beyond it is the level's, within five standard errors: one false alarm in a million."""
    rate = 1 - LEVEL
    error = np.sqrt(rate * LEVEL / DRAWS)
    print(f"critical value {found}: error rate {tail:.4f}, expected {rate:.2f} ± {error:.4f}")
    assert abs(tail - rate) < 5 * error


def _normal_tail(z: float) -> float:
    return float(2 * norm.sf(z))


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_independent_means_have_the_quantile_of_the_studentised_range(count: int) -> None:
    # rows whose empirical covariance is exactly that of independent columns of one spread
    random = np.random.default_rng(count)
    q, _ = np.linalg.qr(random.standard_normal((600, count + 1)) + np.eye(600, count + 1))
    q -= q.mean(axis=0)
    q, _ = np.linalg.qr(q)
    rows = [1 + 0.5 * q[:, j] for j in range(count)]
    found = largest_error(rows, _pairs(count), LEVEL)
    assert found is not None
    _close(found, float(studentized_range.sf(found * np.sqrt(2), count, np.inf)))


def test_one_pair_has_the_normal_quantile_whatever_its_units() -> None:
    random = np.random.default_rng(1)
    rows = [random.gamma(2, size=500), random.gamma(1, size=900)]
    found = largest_error(rows, [(0, 1)], LEVEL)
    assert found is not None
    _close(found, _normal_tail(found))


def test_pairs_that_fail_together_cost_nothing() -> None:
    # two ratios to one noisy mean, whose own numerators hardly vary: one error, seen twice
    random = np.random.default_rng(2)
    noisy = random.gamma(1, size=400)
    rows = [noisy, 1 + 1e-4 * random.random(400), 1 + 1e-4 * random.random(400)]
    found = largest_error(rows, [(0, 1), (0, 2)], LEVEL)
    assert found is not None
    _close(found, _normal_tail(found))


def _slow(rows: list[Rows], draws: int) -> Rows:
    """The largest error by multipliers on what each unit adds, written out pair by pair."""
    random = np.random.default_rng(5)
    adds = []
    longest = max(map(len, rows))
    for i, j in _pairs(len(rows)):
        short, long = (rows[i], rows[j]) if len(rows[i]) <= len(rows[j]) else (rows[j], rows[i])
        n = len(short)
        beta = regression(short, long) if n < len(long) else 1.0
        each = np.zeros(longest)
        each[: len(long)] -= (1 - beta) * (long / long.mean() - 1) / len(long)
        rest = short / short.mean() - beta * long[:n] / long[:n].mean()
        each[:n] += (rest - rest.mean()) / n
        adds.append(each / np.sqrt((each**2).sum()))
    return np.abs(random.standard_normal((draws, longest)) @ np.array(adds).T).max(axis=1)


def test_unequal_numbers_of_units_as_by_multipliers_one_by_one() -> None:
    random = np.random.default_rng(3)
    shared = random.gamma(1, size=700)
    rows = [
        shared[:n] + random.gamma(shape, size=n)
        for n, shape in ((150, 1), (300, 2), (300, 0.5), (700, 1))
    ]
    found, slow = largest_error(rows, _pairs(4), LEVEL), _slow(rows, 20_000)
    share = float((slow > found).mean())
    error = np.sqrt(2 * 0.05 * 0.95 / 20_000)
    print(f"quantile {found}: exceeded by {share:.4f} of the twin's, expected 0.05 ± {error:.4f}")
    assert (
        abs(share - 0.05) < 4 * error + 0.004
    )  # residuals are centred in the twin alone: 0.004 at 150 units


def test_rows_that_are_equal_have_no_error() -> None:
    rows = [np.full(10, 2.0), np.full(10, 3.0)]
    assert largest_error(rows, [(0, 1)], LEVEL) is None
    same = np.random.default_rng(0).gamma(1, size=50)
    assert largest_error([same, 2 * same], [(0, 1)], LEVEL) is None


def _family(random: np.random.Generator) -> tuple[list[Rows], list[float]]:
    """Rows of six means that share half of their variance, of three lengths, and the means."""
    shared = random.gamma(1, size=340) - 1
    means = [1.0, 1.1, 1.3, 1.0, 2.0, 1.5]
    rows = [
        mean * (1 + 0.3 * (shared[:n] + random.gamma(1, size=n) - 1) / np.sqrt(2))
        for n, mean in zip((200, 200, 260, 260, 340, 340), means, strict=True)
    ]
    return rows, means


@pytest.mark.long
def test_all_ratios_hold_together_as_often_as_the_level_says() -> None:
    misses, runs, reach = 0, 2000, 0.0
    bonferroni = two_sided(1 - (1 - LEVEL) / 15)
    for seed in range(runs):
        rows, means = _family(np.random.default_rng([11, seed]))
        z = largest_error(rows, _pairs(6), LEVEL)
        assert z is not None
        reach += min(z, bonferroni) / bonferroni / runs
        held = (
            (statistics.ratio(rows[a], rows[b], min(z, bonferroni)), means[a] / means[b])
            for a, b in _pairs(6)
        )
        misses += any(not e.low <= truth <= e.high for e, truth in held)
    most = binom.ppf(1 - 1e-4, runs, 1 - LEVEL)
    print(
        f"{misses} of {runs} families missed, at most {most:.0f}; reach {reach:.3f} × Bonferroni's"
    )
    assert misses <= most
