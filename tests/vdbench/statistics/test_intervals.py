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

from vdbench.measures.metrics import LookSchedule
from vdbench.statistics.intervals import (
    Estimate,
    log_mean,
    mean,
    median,
    positive_mean,
    product,
    ratio,
    ratio_root,
    seed_mean,
    student,
)
from vdbench.statistics.sequential import critical_values, looks, two_sided

UnitRows = NDArray[np.float64]
Z = two_sided(0.95)
LOOKS = looks(64, 4096)
FALSE_ALARM = 1e-4  # one-sided, each coverage

positive = arrays(np.float64, st.integers(2, 40), elements=st.floats(0.01, 100))
powers = st.integers(-300, 300).map(lambda k: 2.0**k)  # scaling by them does not round


def ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.low, estimate.value, estimate.high


def scaled(estimate: Estimate, factor: float) -> Estimate:
    low, value, high = (factor * x for x in ends(estimate))
    return Estimate(value, low, high, estimate.n)


# Exact cases


def test_mean_is_the_textbook_interval() -> None:
    rows = np.array([1.0, 2.0, 4.0, 9.0])
    low, high = stats.t.interval(0.95, 3, rows.mean(), stats.sem(rows))
    assert ends(mean(rows, Z)) == pytest.approx((low, 4.0, high), rel=1e-12)
    assert seed_mean(rows, 0.95) == mean(rows, Z)


@pytest.mark.parametrize("n", [2, 4, 64, 4096])
@pytest.mark.parametrize("level", [0.95, 1 - 1e-6])
def test_student_keeps_the_tail(n: int, level: float) -> None:
    expected = stats.t.isf((1 - level) / 2, n - 1)
    assert student(two_sided(level), n) == pytest.approx(expected, rel=1e-8)


def test_positive_mean_and_ratio_by_hand() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 5.0])
    half = student(Z, 3) * stats.sem(a) / 2
    expected = (2 * math.exp(-half), 2.0, 2 * math.exp(half))
    assert ends(positive_mean(a, Z)) == pytest.approx(expected, rel=1e-12)
    half = student(Z, 3) * stats.sem(a / 2 - b / 3)
    expected = (2 / 3 * math.exp(-half), 2 / 3, 2 / 3 * math.exp(half))
    assert ends(ratio(a, b, Z)) == pytest.approx(expected, rel=1e-12)


def test_ratio_root_solves_fieller() -> None:
    rng = np.random.default_rng(1954)
    a, b = rng.normal(4, 2, 50), rng.normal(1, 0.5, 50)
    estimate, t = ratio_root(a, b, Z), student(Z, 50)
    assert estimate.value == pytest.approx(math.sqrt(a.mean() / b.mean()))
    for end in (estimate.low, estimate.high):
        rest = a - end**2 * b
        assert abs(rest.mean()) == pytest.approx(t * stats.sem(rest), rel=1e-9), (estimate, end)


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
    product_of_ends = (there.low * back.high, there.value * back.value, there.high * back.low)
    assert product_of_ends == pytest.approx((1, 1, 1), rel=1e-9)
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


# Coverage


def report(what: str, hits: int, runs: int, level: float) -> tuple[bool, str]:
    """Judge a coverage: P(so few hits, or fewer) must exceed the false-alarm rate at ``level``."""
    p = stats.binom.cdf(hits, runs, level)
    error = math.sqrt(level * (1 - level) / runs)
    return p > FALSE_ALARM, f"{what}: {hits / runs:.4f} ± {error:.4f} of {runs}, {level=}, {p=:.2g}"


def stopping(
    draw: Callable[[np.random.Generator], tuple[UnitRows, ...]],
    figure: Callable[..., Estimate],
    truth: float,
    runs: int = 1500,
    unadjusted: bool = True,
) -> tuple[int, int, int]:
    """Count the runs that hold where they stop (±5 %, or 4096), at all looks, and at all of them with z = 1.96."""
    rng = np.random.default_rng(2000)
    values = critical_values(LOOKS, 0.95)
    stopped = always = naive = 0
    for _ in range(runs):
        rows = draw(rng)
        found = [figure(*(x[:n] for x in rows), c) for n, c in zip(LOOKS, values, strict=True)]
        hold = [e.low <= truth <= e.high for e in found]
        stopped += hold[next((k for k, e in enumerate(found) if e.relative_half_width <= 0.05), -1)]
        always += all(hold)
        if unadjusted and all(hold):  # the narrower interval lies in the wider one
            narrow = (figure(*(x[:n] for x in rows), Z) for n in LOOKS)
            naive += all(e.low <= truth <= e.high for e in narrow)
    return stopped, always, naive


# rows, their mean, and a level that all looks together keep: 95 % less what skewness takes there
SKEWED = {
    "chi-square 1": (lambda r: (r.standard_normal(4096) ** 2,), 1.0, 0.935),
    "chi-square 4": (lambda r: (r.chisquare(4, 4096),), 4.0, 0.945),
    "chi-square 100": (lambda r: (r.chisquare(100, 4096),), 100.0, 0.945),
    "lognormal 0.5": (lambda r: (r.lognormal(0, 0.5, 4096),), math.exp(0.125), 0.945),
    "lognormal 1": (lambda r: (r.lognormal(0, 1, 4096),), math.exp(0.5), 0.925),
    "lognormal 1.5": (lambda r: (r.lognormal(0, 1.5, 4096),), math.exp(1.125), 0.86),
}


@pytest.mark.parametrize("name", SKEWED)
def test_a_variance_is_covered_where_the_run_stops(name: str) -> None:
    draw, truth, together = SKEWED[name]
    stopped, always, naive = stopping(draw, positive_mean, truth)
    good, message = report("at the stop", stopped, 1500, 0.95)
    holds, more = report("at all looks", always, 1500, together)
    assert good, f"{name}: {message}; {more}"
    assert holds, f"{name}: {message}; {more}"
    # without the boundary the claim is false, and these runs are enough to show it
    seen, alone = report("at all looks, without the boundary", naive, 1500, together)
    assert not seen, f"{name}: {alone}"


def common(rng: np.random.Generator) -> tuple[UnitRows, UnitRows]:
    shared, own, other = rng.standard_normal((3, 4096))
    return (shared + own / 2) ** 2, (shared + other) ** 2


def signal(strength: float) -> Callable[[np.random.Generator], tuple[UnitRows, UnitRows]]:
    def draw(rng: np.random.Generator) -> tuple[UnitRows, UnitRows]:
        a, b = rng.standard_normal((2, 4096)) + strength
        return a * b, (a - b) ** 2 / 2

    return draw


PAIRED = {
    "ratio": (common, ratio, 0.625),
    "no signal": (signal(0), ratio_root, 0.0),
    "weak signal": (signal(0.05), ratio_root, 0.05),
    "signal": (signal(0.5), ratio_root, 0.5),
    "strong signal": (signal(2), ratio_root, 2.0),
}


@pytest.mark.parametrize("name", PAIRED)
def test_ratios_are_covered_where_the_run_stops(name: str) -> None:
    draw, figure, truth = PAIRED[name]
    stopped, always, _ = stopping(draw, figure, truth, runs=1000, unadjusted=False)
    good, message = report("at the stop", stopped, 1000, 0.95)
    holds, more = report("at all looks", always, 1000, 0.93)
    assert good, f"{name}: {message}; {more}"
    assert holds, f"{name}: {message}; {more}"


def test_a_ratio_of_unequal_numbers_by_hand() -> None:
    """Double sampling, from the formulas: the regression of the shorter on the longer, and two variances."""
    rng = np.random.default_rng(8)
    long = rng.chisquare(4, 300)
    short = (0.6 * long[:50] + 0.4 * rng.chisquare(4, 50)) * 3
    w, u = short / short.mean(), long[:50] / long[:50].mean()
    beta = float(np.polyfit(u, w, 1)[0])
    carried = short.mean() + beta * short.mean() * (long.mean() / long[:50].mean() - 1)
    rest = np.var(w - beta * u, ddof=1) / 50
    error = math.sqrt(rest + (1 - beta) ** 2 * np.var(long / long.mean(), ddof=1) / 300)
    half, value = student(Z, 50) * error, carried / long.mean()
    expected = (value * math.exp(-half), value, value * math.exp(half))
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


@pytest.mark.parametrize("correlation", [-0.9, -0.5, 0.0, 0.5, 0.9])
def test_unequal_numbers_are_covered_whatever_the_correlation(correlation: float) -> None:
    """One look, 64 units of one and 128 or 192 of the other: as good as 64 pairs of either."""
    rng, runs = np.random.default_rng(2002), 2000
    cross = math.sqrt(1 - correlation**2)
    for more in (128, 192):
        hits = 0
        for x, y in rng.standard_normal((runs, 2, more)):
            a, b = np.exp(0.5 * x), np.exp(0.5 * (correlation * x + cross * y))
            e = ratio(a[:64], b, Z)
            hits += e.low <= 1 <= e.high
        # delta method at n = 64: 94 % are asked for
        good, message = report(f"{more} units", hits, runs, 0.94)
        assert good, message


@pytest.mark.parametrize("shared", [0.0, 0.7, 0.95])
def test_ratios_of_cells_that_stop_at_different_looks_are_covered(shared: float) -> None:
    """At all pairs of different looks at once: the level adjusted for LookSchedule.apart comparisons."""
    rng, runs = np.random.default_rng(2001), 1000
    apart = critical_values(LOOKS, 1 - 0.05 / LookSchedule.apart)
    together = 0
    for k in range(runs):
        # the mean of eight squares a unit: close to normal, so that the boundary is what is tested
        common, own, other = rng.standard_normal((3, 8, LOOKS[-1]))
        a = ((math.sqrt(shared) * common + math.sqrt(1 - shared) * own) ** 2).mean(0)
        b = ((math.sqrt(shared) * common + math.sqrt(1 - shared) * other) ** 2).mean(0)
        found = (
            ratio(a[:n], b[:m], apart[i]) if k % 2 else ratio(a[:m], b[:n], apart[i])
            for i, n in enumerate(LOOKS)
            for m in LOOKS[i + 1 :]
        )
        together += all(e.low <= 1 <= e.high for e in found)
    good, message = report("at all pairs of different looks", together, runs, 0.95)
    assert good, message


@pytest.mark.parametrize("n", [3, 6, 25])
def test_single_looks_are_covered(n: int) -> None:
    rng, runs = np.random.default_rng(3), 3000
    rows = rng.standard_normal((runs, n))
    found = [(seed_mean(x, 0.95), log_mean(np.exp(x), 0.95), median(x, 0.95)) for x in rows]
    for k, truth in enumerate((0.0, 1.0, 0.0)):
        hits = sum(e[k].low <= truth <= e[k].high for e in found)
        good, message = report(("seed_mean", "log_mean", "median")[k], hits, runs, 0.95)
        assert good, message


def test_variance_times_seconds_is_covered() -> None:
    rng, runs = np.random.default_rng(4), 2000
    hits = 0
    for _ in range(runs):
        variance = positive_mean(rng.standard_normal(512) ** 2, Z)
        seconds = median(rng.lognormal(0, 0.05, 31), 0.95)
        both = product(variance, seconds)
        hits += both.low <= 1.0 <= both.high
    good, message = report("variance times seconds", hits, runs, 0.94)
    assert good, message
