"""Spearman's rank correlation against scipy's, and the coverage of its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from vdbench.statistics import Estimate
from vdbench.statistics.proportions import at_least
from vdbench.statistics.rank_correlation import correlation, lognormal, median, medians, spearman
from vdbench.statistics.sequential import two_sided

ALARM = 1e-4
"""Rate at which a test of coverage fails where the coverage is as stated."""

LEVEL = 0.95


@pytest.mark.parametrize("ties", [False, True])
def test_it_is_scipys(ties: bool) -> None:
    rng = np.random.default_rng(1904)
    x, y = rng.normal(size=(2, 50, 9))
    if ties:
        x, y = np.round(x), np.round(y)
    found = spearman(x, y)
    want = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(found, want, atol=1e-12)


def test_figures_that_are_sure_of_their_ranks_have_no_width() -> None:
    x = np.array([1.0, 10, 100, 1000])
    drawn = x * np.exp(0.01 * np.random.default_rng(1).normal(size=(100, 4)))
    assert correlation(x, x**2, (drawn, drawn**2), LEVEL) == Estimate(1.0, 1.0, 1.0, 4)
    one = correlation(x, np.ones(4), (drawn, np.ones((100, 4))), LEVEL)
    assert math.isnan(one.value)
    assert (one.low, one.high) == (-1, 1)


def simulated(
    rng: np.random.Generator, spread: float, link: float, horizon: float
) -> tuple[float, Estimate]:
    """The true rank correlation of twelve variances and times, and what ten seeds and 10 % of error make of it."""
    k, seeds, error = 12, 10, 0.1
    variances = rng.normal(0, spread, k)
    times = link * variances + rng.normal(0, spread * math.sqrt(1 - link**2), k)
    truth = spearman(variances, np.minimum(times, math.log(horizon)))
    seen = times[:, None] + rng.normal(0, 0.1, seeds) + rng.normal(0, 0.2, (k, seeds))
    measured = variances + rng.normal(0, error, k)
    half = two_sided(LEVEL) * error
    figures = [Estimate(math.exp(v), math.exp(v - half), math.exp(v + half), 99) for v in measured]
    drawn = lognormal(figures, LEVEL, 400, rng), medians(np.exp(seen), horizon, 400, rng)
    middle = np.minimum(np.median(np.exp(seen), axis=1), horizon)
    return float(truth), correlation([f.value for f in figures], middle, drawn, LEVEL)


@pytest.mark.parametrize(
    ("spread", "link", "horizon"), [(1.5, 0.9, math.inf), (1.5, 0.0, math.inf), (1.5, 0.9, 3.0)]
)
def test_the_interval_has_its_level(spread: float, link: float, horizon: float) -> None:
    """Estimators that differ by more than the errors, with and without a link, and with censored times."""
    rng, runs = np.random.default_rng(1979), 400
    found = [simulated(rng, spread, link, horizon) for _ in range(runs)]
    held = sum(e.low - 1e-9 <= truth <= e.high + 1e-9 for truth, e in found)
    p = at_least(held, runs, LEVEL)
    assert p > ALARM, f"{held} of {runs} intervals at {LEVEL} hold the truth, p = {p:.2g}"
    width = float(np.mean([e.high - e.low for _, e in found]))
    assert width < 0.6, f"intervals of mean width {width:.2g} would hold anything"


def test_drawn_anew_as_the_intervals_say() -> None:
    """Standard deviations of 20,000 draws have a relative error of 0.5 %: six of these are allowed."""
    rng = np.random.default_rng(2026)
    half = two_sided(0.99) * 0.3
    drawn = lognormal([Estimate(2.0, 2 * math.exp(-half), 2 * math.exp(half), 9)], 0.99, 20000, rng)
    assert np.log(drawn / 2).std() == pytest.approx(0.3, rel=0.03)
    samples = np.array([[1.0, 2.0, math.inf], [5.0, 5.0, 5.0]])
    again = medians(samples, 4.0, 20000, rng)
    assert set(again[:, 0]) == {1.0, 2.0, 4.0}
    assert (again[:, 1] == 4.0).all()
    # by enumeration: two or three of three draws are 1 in 7 of 27 cases
    share = float((again[:, 0] == 1).mean())
    error = math.sqrt(7 / 27 * 20 / 27 / 20000)
    assert abs(share - 7 / 27) < 5 * error, (share, 7 / 27, error)


def test_what_cannot_be_ranked_is_refused() -> None:
    nothing = np.ones((5, 2))
    with pytest.raises(ValueError, match="at least 3 things that are ranked, got 2"):
        correlation([1, 2], [1, 2], (nothing, nothing), LEVEL)
    with pytest.raises(ValueError, match="expected figures with finite intervals above 0"):
        lognormal([Estimate(1.0, 0.0, 2.0, 3)], LEVEL, 5, np.random.default_rng(0))


def test_a_median_that_is_not_known_is_the_horizon() -> None:
    half = [[400.0] * 5 + [np.inf] * 5, [700.0] * 10, [np.inf] * 10]
    assert median(half, 800.0).tolist() == [800.0, 700.0, 800.0]
    drawn = medians(half, 800.0, 200, np.random.default_rng(0))
    assert set(drawn[:, 0]) <= {400.0, 800.0}
