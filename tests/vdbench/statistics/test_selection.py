"""Who is best, where that is sure; and what values a quantity can have."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vdbench.statistics.ranges import clip, possible
from vdbench.statistics.selection import select

FALSE_ALARM = 1e-4


def test_the_best_is_sure_only_beyond_all_others() -> None:
    apart = {"a": (1.0, 0.9, 1.1), "b": (2.0, 1.9, 2.1), "c": (3.0, 2.9, 3.1)}
    low, high = select(apart, 0.95, 0.95), select(apart, 0.95, 0.95, highest=True)
    assert (low.best, low.sure, high.best, high.sure) == ("a", True, "c", True)
    assert low.level == pytest.approx(1 - 0.05 / 3)
    assert low.widened
    near = apart | {"d": (1.21, 1.11, 1.31)}  # apart at 95 %, not once all hold together
    assert select(near, 0.95, 0.95).names == ["a", "d"]
    assert select(near, 0.9999, 0.95).sure
    assert select({"a": (1.0, 0.5, 1.5)}, 0.95, 0.95).sure


def test_an_interval_that_is_not_known_is_a_rival() -> None:
    unknown = {"a": (1.0, 0.9, 1.1), "b": (9.0, math.nan, math.nan), "c": (9.0, 0.0, math.inf)}
    assert select(unknown, 0.95, 0.95).rivals == ("b", "c")


def test_equal_things_are_seldom_told_to_differ() -> None:
    """Ten equal means: the smallest is named in at most 5 % of the cases."""
    rng, runs, named = np.random.default_rng(6), 2000, 0
    for _ in range(runs):
        x = rng.standard_normal(10)
        found = select({str(i): (v, v - 1.96, v + 1.96) for i, v in enumerate(x)}, 0.95, 0.95)
        named += found.sure
    assert stats.binom.sf(named - 1, runs, 0.05) > FALSE_ALARM, named
    # and something that is clearly lower is named
    assert select({"a": (-9.0, -11.0, -7.0), "b": (0.0, -2.0, 2.0)}, 0.95, 0.95).sure


@pytest.mark.parametrize(
    ("metric", "interval", "ends"),
    [
        ("test.error", (4, -1, 10), (0, 10)),
        ("test.error", (97, 91, 103), (91, 100)),
        ("test.nll", (4, -1, 10), (-1, 10)),
        ("variance.data", (0.2, -0.1, 0.5), (0, 0.5)),
        ("variance.data", (-0.2, -0.5, 0.1), (-0.2, 0.1)),  # an unbiased estimate may be negative
        ("variance.data", (-0.3, -0.5, -0.1), (-0.5, -0.1)),  # nothing possible is left
        ("difference.test.error", (0, -150, 120), (-100, 100)),
        ("adjusted.difference.test.ece", (0, -150, 120), (-100, 100)),
        ("ratio.variance.total", (1, -0.5, 2), (0, 2)),
        ("convergence.final_elbo", (-5, -9, -1), (-9, -1)),
        ("sparsity.compression", (1.2, 0.8, 1.6), (1, 1.6)),
    ],
)
def test_intervals_end_where_a_quantity_does(
    metric: str, interval: tuple[float, float, float], ends: tuple[float, float]
) -> None:
    assert clip(metric, *interval) == ends
    low, high = possible(metric)
    assert low < high


def test_what_is_no_interval_stays_so() -> None:
    assert all(map(math.isnan, clip("test.error", 4.0, math.nan, math.nan)))
    assert clip("variance.total", math.nan, 0.0, math.inf) == (0.0, math.inf)
