"""Intervals: exact cases, equivariance, coverage of runs that stop when they have enough."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from vdbench.statistics import (
    Estimate,
    log_mean,
    mean,
    median,
    positive_mean,
    product,
    ratio,
    ratio_root,
    seed_mean,
)
from vdbench.statistics.few_samples import ARM, SEEDS
from vdbench.statistics.sequential import student, two_sided
from vdbench.statistics.tails import INFLATION, LIMIT, Shape, arms

UnitRows = NDArray[np.float64]
Z = two_sided(0.95)

positive = arrays(np.float64, st.integers(2, 40), elements=st.floats(0.01, 100))
powers = st.integers(-300, 300).map(lambda k: 2.0**k)  # scaling by them does not round


def ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.low, estimate.value, estimate.high


def scaled(estimate: Estimate, factor: float) -> Estimate:
    low, value, high = (factor * x for x in ends(estimate))
    return Estimate(value, low, high, estimate.n, estimate.needed)


# Exact cases


def tails(adds: UnitRows) -> tuple[float, float]:
    """G and h of `vdbench.statistics.tails`, from the library's moments."""
    n = len(adds)
    return float(stats.skew(adds)) / math.sqrt(n), max(0.0, float(stats.kurtosis(adds)) / n)


def arm(g: float, h: float, r: float, n: int) -> float:
    """By the formula of `vdbench.statistics.tails`: g ≥ 0 on the side of the long tail, r the relative error."""
    k = Z * (max(g, 0) / 2 + 6 * max(g, 0) ** 2 + 15 * r**2 + 2 * h)
    return student(Z, n) * INFLATION * (1 + k)


def test_a_mean_is_students_with_the_long_arm_on_the_side_of_the_tail() -> None:
    rows = np.array([1.0, 2.0, 4.0, 5.0, 9.0])
    error, (g, h) = stats.sem(rows), tails(rows)
    expected = (4.2 - arm(-g, h, 0, 5) * error, 4.2, 4.2 + arm(g, h, 0, 5) * error)
    assert g > 0
    assert ends(mean(rows, Z)) == pytest.approx(expected, rel=1e-12)
    low, value, high = ends(mean(-rows, Z))
    assert (-high, -value, -low) == pytest.approx(expected, rel=1e-12)


def test_a_mean_over_seeds_by_hand() -> None:
    rows = np.array([1.0, 2.0, 9.0])
    half = stats.t.isf(SEEDS * 0.05 / 2, 2) * stats.sem(rows)
    g = float(stats.skew(rows)) / math.sqrt(3)
    assert ends(seed_mean(rows, 0.95)) == pytest.approx((4 - half, 4, 4 + half * (1 + ARM * g)))


@pytest.mark.parametrize("n", [100, 500])
def test_where_a_few_rows_decide_there_is_no_interval(n: int) -> None:
    """All rows but one are almost nothing."""
    rows = np.append(np.linspace(0.9, 1.1, n), 1e6)
    for estimate, low in ((positive_mean(rows, Z), 0.0), (mean(rows, Z), -math.inf)):
        assert (estimate.low, estimate.high) == (low, math.inf), estimate
        assert estimate.needed > n + 1
    assert positive_mean(rows[:-1], Z).needed == 0
    reach = arms(Shape(0.0, 0.0), 0.0, [0.01, 0.4, 1.0, math.inf], Z, 100)
    assert (
        np.isfinite(reach.above) == (Z * 15 * np.array([0.01, 0.4, 1.0, 1e3]) ** 2 <= LIMIT)
    ).all()


@pytest.mark.parametrize("n", [2, 4, 64, 4096])
@pytest.mark.parametrize("level", [0.95, 1 - 1e-6])
def test_student_keeps_the_tail(n: int, level: float) -> None:
    expected = stats.t.isf((1 - level) / 2, n - 1)
    assert student(two_sided(level), n) == pytest.approx(expected, rel=1e-8)


def test_positive_mean_and_ratio_by_hand() -> None:
    a, b = np.array([1.0, 2.0, 3.0, 3.0, 6.0, 3.5]), np.array([2.0, 2.0, 5.0, 3.0, 4.0, 2.0])
    r = stats.sem(a) / a.mean()
    g = float(stats.skew(a)) / math.sqrt(6) - 1.5 * r
    expected = (math.exp(-arm(-g, 0, 0, 6) * r), 1, math.exp(arm(g, 0, r, 6) * r))
    assert ends(positive_mean(a, Z)) == pytest.approx([x * a.mean() for x in expected], rel=1e-12)
    adds = a / a.mean() - b / b.mean()
    error, s = stats.sem(adds), stats.sem(b) / b.mean()
    g, h = tails(adds)
    g -= 1.5 * (r**2 - s**2) / error
    up, down = (error * x / math.hypot(r, s) for x in (r, s))
    expected = (math.exp(-arm(-g, h, down, 6) * error), 1, math.exp(arm(g, h, up, 6) * error))
    value = a.mean() / b.mean()
    assert ends(ratio(a, b, Z)) == pytest.approx([x * value for x in expected], rel=1e-12)


def test_ratio_root_solves_fieller() -> None:
    """Each end with the arm of its own combination a − θb, or the one at the estimate where that is longer."""
    rng = np.random.default_rng(1954)
    a, b = rng.normal(4, 2, 50), rng.normal(1, 0.5, 50)
    estimate = ratio_root(a, b, Z)
    assert estimate.value == pytest.approx(math.sqrt(a.mean() / b.mean()))
    for end, sign in ((estimate.low, -1), (estimate.high, 1)):
        rest, middle = (a - theta * b for theta in (end**2, estimate.value**2))
        longest = max(arm(sign * g, h, 0, 50) for g, h in (tails(rest), tails(middle)))
        assert abs(rest.mean()) == pytest.approx(longest * stats.sem(rest), rel=1e-9), end


def test_ratio_root_below_zero_keeps_its_width() -> None:
    rng = np.random.default_rng(7)
    noise = rng.standard_normal(100)
    b = np.ones(100)
    centred, shifted = (ratio_root(noise - noise.mean() - x, b, Z) for x in (0.0, 1.0))
    assert shifted.low == shifted.value == 0.0
    assert shifted.high == pytest.approx(centred.high), (centred, shifted)


def test_ratio_root_of_an_uncertain_denominator_is_unbounded() -> None:
    assert ends(ratio_root([1.0, 1.0, 1.0], [5.0, -4.0, 1.0], Z)) == (0, math.sqrt(1.5), math.inf)


def test_identical_rows_have_ratio_exactly_one() -> None:
    rows = np.random.default_rng(0).lognormal(size=100)
    assert ratio(rows, rows, Z) == Estimate(1.0, 1.0, 1.0, 100)
    assert ratio_root(rows, rows, Z) == Estimate(1.0, 1.0, 1.0, 100)


@pytest.mark.parametrize("x", [0.0, 0.1, 1e-310, 1e300])
def test_rows_without_spread_have_no_width(x: float) -> None:
    rows = np.full(7, x)
    assert mean(rows, Z) == positive_mean(rows, Z) == Estimate(x, x, x, 7)
    assert mean(rows, Z).relative_half_width == 0
    assert ratio(rows, np.full(7, 0.3), Z).relative_half_width == 0


def test_zero_numerators_and_denominators() -> None:
    zero, some = np.zeros(3), np.array([1.0, 2.0, 4.0])
    assert ratio(zero, some, Z) == ratio_root(zero, some, Z) == Estimate(0.0, 0.0, 0.0, 3)
    for undefined in (ratio(some, zero, Z), ratio_root(some, zero, Z), ratio_root(some, -some, Z)):
        assert all(map(math.isnan, ends(undefined))), undefined
        assert undefined.relative_half_width == math.inf


def test_one_row_says_nothing_about_spread() -> None:
    assert mean([3.0], Z) == median([3.0], 0.95) == Estimate(3.0, -math.inf, math.inf, 1)
    for unsure in (
        positive_mean([3.0], Z),
        ratio([3.0], [1.0], Z),
        ratio_root([9.0], [1.0], Z),
        log_mean([3.0], 0.95),
    ):
        assert ends(unsure) == pytest.approx((0.0, 3.0, math.inf))
        assert unsure.relative_half_width == math.inf
    for estimate in (mean([], Z), positive_mean([], Z), ratio([], [], Z), ratio_root([], [], Z)):
        assert math.isnan(estimate.value)
        assert estimate.n == 0
    assert math.isnan(log_mean([], 0.95).value)
    assert math.isnan(median([], 0.95).value)


def test_relative_half_width() -> None:
    assert Estimate(-2.0, -3.0, -1.0, 9).relative_half_width == 0.5
    assert Estimate(0.0, -1.0, 1.0, 9).relative_half_width == math.inf
    assert Estimate(0.0, 0.0, 0.0, 1).relative_half_width == math.inf


def test_median_ranks_are_the_published_ones() -> None:
    # ranks of the 95 % interval: Conover, Practical Nonparametric Statistics; 5 samples have none
    for n, rank in ((6, 1), (9, 2), (10, 2), (20, 6), (30, 10), (50, 18)):
        low, _, high = ends(median(np.arange(1.0, n + 1)[::-1], 0.95))
        assert (low, high) == (rank, n + 1 - rank), n
    assert ends(median(np.arange(5.0), 0.95)) == (-math.inf, 2.0, math.inf)
    assert median(np.arange(5.0), 0.9).low == 0.0


def test_log_mean_is_the_interval_of_the_logs() -> None:
    rows = np.array([1.0, 10.0, 1000.0])
    expected = np.exp(ends(seed_mean(np.log(rows), 0.95)))
    assert ends(log_mean(rows, 0.95)) == pytest.approx(tuple(expected))


def test_product_adds_log_half_widths_in_squares() -> None:
    a, b = Estimate(2.0, 2 / 1.5, 6.0, 9), Estimate(5.0, 4.0, 20.0, 7)
    both = product(a, b)
    assert (both.value, both.n) == (10.0, 7)
    assert math.log(both.high / 10) == pytest.approx(math.hypot(math.log(3), math.log(4)))
    assert math.log(10 / both.low) == pytest.approx(math.hypot(math.log(1.5), math.log(1.25)))
    one = Estimate(1.0, 1.0, 1.0, 99)
    assert ends(product(a, one)) == pytest.approx(ends(a))
    assert product(a, b) == product(b, a)


def test_product_of_what_is_zero_or_unknown() -> None:
    zero, unsure = Estimate(0.0, 0.0, 0.0, 9), Estimate(3.0, -math.inf, math.inf, 1)
    some = Estimate(2.0, 1.0, 3.0, 9)
    assert product(zero, unsure) == Estimate(0.0, 0.0, 0.0, 1)
    assert product(some, unsure) == Estimate(6.0, 0.0, math.inf, 1)
    assert product(Estimate(0.0, 0.0, math.inf, 1), some) == Estimate(0.0, 0.0, math.inf, 1)
    assert math.isnan(product(some, Estimate(math.nan, math.nan, math.nan, 0)).high)
    with pytest.raises(ValueError, match="negative"):
        product(some, Estimate(-1.0, -2.0, 0.0, 9))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("figure", [mean, positive_mean, median, seed_mean, log_mean])
def test_a_row_that_is_not_finite_is_named(
    figure: Callable[[UnitRows, float], Estimate], bad: float
) -> None:
    with pytest.raises(ValueError, match="row 2 is"):
        figure(np.array([1.0, 2.0, bad, 4.0]), 0.95)


def test_rows_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"row 1 is -1\.0"):
        positive_mean([1.0, -1.0], Z)
    with pytest.raises(ValueError, match=r"row 1 is -1\.0"):
        ratio([1.0, 1.0], [1.0, -1.0], Z)
    with pytest.raises(ValueError, match="row 1 is 0"):
        log_mean([1.0, 0.0], 0.95)
    with pytest.raises(ValueError, match="one length, got 2 and 3"):
        ratio_root([1.0, 1.0], [1.0, 1.0, 1.0], Z)
    with pytest.raises(ValueError, match=r"shape \(n,\), got \(1, 2\)"):
        mean([[1.0, 2.0]], Z)
    with pytest.raises(ValueError, match="level must lie"):
        median([1.0], 95)


# Equivariance


@given(positive, powers)
def test_units_do_not_matter(rows: UnitRows, unit: float) -> None:
    for figure in (mean, positive_mean):
        assert figure(rows * unit, Z) == scaled(figure(rows, Z), unit)
    assert median(rows * unit, 0.95) == scaled(median(rows, 0.95), unit)


@given(positive, powers, st.integers(0, 2**32 - 1))
def test_ratios_scale_and_invert(a: UnitRows, unit: float, seed: int) -> None:
    b = np.random.default_rng(seed).lognormal(size=len(a))
    there, back = ratio(a, b, Z), ratio(b, a, Z)
    assert ends(ratio(a * unit, b, Z)) == pytest.approx(ends(scaled(there, unit)), rel=1e-12)
    assert there.value * back.value == pytest.approx(1, rel=1e-12)
    for low, high in ((there.low, back.high), (back.low, there.high)):
        assert (low == 0) == (high > 1e300) or low * high == pytest.approx(1, rel=1e-9)
    root, wide = ratio_root(a, b, Z), ratio_root(a * 4, b, Z)
    assert ends(wide) == pytest.approx(ends(scaled(root, 2)), rel=1e-9, abs=1e-6)


@given(arrays(np.float64, st.integers(2, 40), elements=st.floats(-100, 100)), positive)
def test_the_value_lies_in_its_interval(signed: UnitRows, b: UnitRows) -> None:
    n = min(len(signed), len(b))
    signed, b = signed[:n], b[:n]
    figures = (mean(signed, Z), ratio_root(signed, b, Z), positive_mean(b, Z), median(b, 0.95))
    for estimate in (
        *figures,
        ratio(np.abs(signed), b, Z),
        log_mean(b, 0.95),
        product(*figures[2:]),
    ):
        assert estimate.low <= estimate.value <= estimate.high, estimate


@given(positive, st.floats(0.5, 5), st.floats(0.01, 2))
def test_a_larger_critical_value_widens(rows: UnitRows, z: float, more: float) -> None:
    narrow, wide = positive_mean(rows, z), positive_mean(rows, z + more)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


# Ratios of unequal numbers


def test_a_ratio_of_unequal_numbers_by_hand() -> None:
    """Double sampling, from the formulas: the regression of the shorter on the longer, and two variances."""
    rng = np.random.default_rng(8)
    long = rng.chisquare(4, 300)
    short = (0.6 * long[:50] + 0.4 * rng.chisquare(4, 50)) * 3
    w, u = short / short.mean(), long[:50] / long[:50].mean()
    beta = float(np.polyfit(u, w, 1)[0])
    carried = short.mean() + beta * short.mean() * (long.mean() / long[:50].mean() - 1)
    value = carried / long.mean()
    adds = -(1 - beta) * (long / long.mean() - 1) / 300
    adds[:50] += (w - beta * u - np.mean(w - beta * u)) / 50
    error = math.sqrt((adds**2).sum() * 50 / 49)
    r, q = stats.sem(short) / short.mean(), stats.sem(long) / long.mean()
    g, h = tails(adds)
    g -= 1.5 * (r**2 - q**2) / error
    up, down = (error * x / math.hypot(r, q) for x in (r, q))
    expected = (
        value * math.exp(-arm(-g, h, down, 50) * error),
        value,
        value * math.exp(arm(g, h, up, 50) * error),
    )
    assert 0 < beta < 1
    assert ends(ratio(short, long, Z)) == pytest.approx(expected, rel=1e-12)
    inverse = tuple(1 / x for x in reversed(expected))
    assert ends(ratio(long, short, Z)) == pytest.approx(inverse, rel=1e-12)
    assert ratio(short, long, Z).n == ratio(long, short, Z).n == 50


def test_more_units_of_one_change_nothing_where_the_pair_is_rigid() -> None:
    long = np.random.default_rng(1).chisquare(3, 5000)
    assert ends(ratio(long[:1000] * 2, long, Z)) == pytest.approx((2, 2, 2), rel=1e-12)
    # without correlation the error is √(1 + 1/5) instead of √(1 + 1), per root of 1,000
    other = np.random.default_rng(2).chisquare(3, 1000)
    paired, all_units = ratio(other, long[:1000], Z), ratio(other, long, Z)
    assert all_units.relative_half_width < 0.85 * paired.relative_half_width


def test_unequal_numbers_at_their_edges() -> None:
    zero, some = np.zeros(3), np.array([1.0, 2.0, 3.0, 4.0])
    assert ratio(zero, some, Z) == Estimate(0.0, 0.0, 0.0, 3)
    assert math.isnan(ratio(some, zero, Z).value)
    assert ends(ratio(some[:1], some, Z)) == (0.0, 1.0, math.inf)
    assert ratio([2.0, 2.0], [1.0, 1.0, 1.0], Z) == Estimate(2.0, 2.0, 2.0, 2)
    # a mean below zero over the units in common
    assert math.isnan(ratio(-some[:3], some, Z, signed=True).value)
