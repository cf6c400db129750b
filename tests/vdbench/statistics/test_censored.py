"""Medians of censored times: what any completion gives lies within, and the coverage is as stated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vdbench import statistics
from vdbench.statistics import censored
from vdbench.statistics.proportions import at_least

ALARM = 1e-4
"""Rate at which a test of coverage fails where the coverage is as stated."""


def test_without_censoring_it_is_the_median() -> None:
    rng = np.random.default_rng(1958)
    for n in (5, 10, 11):
        times = rng.lognormal(size=n)
        for level in (0.9, 0.95, 0.999):
            found = censored.median(censored.times(times, 1e9), level)
            want = statistics.median(times, level)
            low = want.low if math.isfinite(want.low) else 0.0
            assert (found.value, found.low, found.high, found.n) == (want.value, low, want.high, n)


def test_any_completion_of_censored_times_lies_within() -> None:
    """Whatever censored times would have been: the median and its interval end no farther out than the ranges say."""
    rng, horizon, level = np.random.default_rng(1975), 1.0, 0.95
    known = 0
    for _ in range(200):
        a, b = rng.lognormal(-0.8, 0.8, (2, 10))
        found = censored.median(
            censored.ratios(censored.times(a, horizon), censored.times(b, horizon)), level
        )
        known += math.isfinite(found.value)
        for _ in range(5):
            later = np.where([a > 1, b > 1], 1 + rng.lognormal(0, 2, (2, 10)), [a, b])
            whole = statistics.median(later[0] / later[1], level)
            assert found.low <= whole.low <= whole.high <= found.high, (found, whole)
            if math.isfinite(found.value):
                assert whole.value == pytest.approx(found.value), (found, whole)
    assert known > 20, f"the median was known in {known} of 200 cases: nothing was compared"


@pytest.mark.parametrize("horizon", [1e9, 1.5, 0.8])
def test_the_interval_of_a_ratio_has_its_level(horizon: float) -> None:
    """Paired times with a ratio of median 2, of which none, some or most are censored."""
    rng, level, runs = np.random.default_rng(1945), 0.95, 1500
    held = 0
    for _ in range(runs):
        b = rng.exponential(size=10) + 0.05
        a = 2 * b * rng.lognormal(0, 0.5, 10)
        pairs = censored.ratios(censored.times(a, horizon), censored.times(b, horizon))
        found = censored.median(pairs, level)
        held += found.low <= 2 <= found.high
    p = at_least(held, runs, level)
    assert p > ALARM, f"{held} of {runs} intervals at {level} hold the truth, p = {p:.2g}"


def test_most_censored_leaves_a_lower_end() -> None:
    found = censored.median(censored.times([math.inf] * 9 + [3.0], 5.0), 0.95)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (5.0, math.inf)
    both = censored.ratios(censored.times([9.0] * 4, 5.0), censored.times([9.0] * 4, 5.0))
    assert (both.low == 0).all()
    assert np.isinf(both.high).all()


@pytest.mark.parametrize(
    ("times", "horizon"), [([1.0, 0.0], 5.0), ([1.0, math.nan], 5.0), ([1.0], 0.0)]
)
def test_what_is_no_time_is_refused(times: list[float], horizon: float) -> None:
    with pytest.raises(ValueError, match="expected times and a horizon above 0"):
        censored.times(times, horizon)


def test_what_is_not_paired_is_refused() -> None:
    with pytest.raises(ValueError, match="expected pairs, got 1 and 2 samples"):
        censored.ratios(censored.times([1.0], 5.0), censored.times([1.0, 2.0], 5.0))
