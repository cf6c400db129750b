"""The boundary against published constants, simulation and an independent quadrature."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binomtest, norm

from vdbench.statistics.sequential import (
    WIDEST,
    critical_values,
    crossing_probability,
    looks,
    student,
    two_sided,
    widening,
)

DEFAULT = (64, 192, 512, 1472, 4096)
DOUBLING = (64, 128, 256, 512, 1024, 2048, 4096)
FALSE_ALARM = 1e-4  # two-sided, each simulated probability


def test_looks_of_the_default_suite() -> None:
    assert looks(64, 4096) == DEFAULT
    assert looks(64, 63) == looks(64, 64) == (64,)
    assert looks(64, 65) == (64, 128)
    assert looks(10, 75) == (10, 20, 40, 80)
    assert looks(2, 4) == (4,)


@given(first=st.integers(1, 1000), blocks=st.integers(1, 500), cut=st.data())
def test_looks_are_increasing_multiples_that_end_at_the_bound(
    first: int, blocks: int, cut: st.DataObject
) -> None:
    bound = first * blocks - cut.draw(st.integers(0, first - 1))
    schedule = looks(first, bound)
    assert schedule[0] in (first, schedule[-1])
    assert schedule[-1] == first * blocks
    assert all(n % first == 0 for n in schedule)
    assert all(a < b for a, b in pairwise(schedule))


@given(first=st.integers(2, 500), factor=st.integers(2, 2000))
def test_looking_widens_an_interval_by_at_most_three_tenths(first: int, factor: int) -> None:
    schedule = looks(first, first * factor)
    once = two_sided(0.95)
    for n, c in zip(schedule, critical_values(schedule, 0.95), strict=True):
        # the interval's half-width is Student's quantile times the standard error of the same n units
        assert student(c, n) / student(once, n) <= WIDEST, (schedule, n)


@pytest.mark.parametrize(("first", "bound"), [(0, 9), (1, 0)])
def test_looks_refuses_what_is_no_schedule(first: int, bound: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        looks(first, bound)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999, 1 - 1e-6])
def test_a_single_look_has_the_normal_quantile(level: float) -> None:
    quantile = norm.ppf((1 + level) / 2)
    assert critical_values((64,), level) == pytest.approx((quantile,), rel=1e-9)


@pytest.mark.parametrize(
    ("count", "published"), [(2, 2.178), (3, 2.289), (4, 2.361), (5, 2.413), (10, 2.555)]
)
def test_pocock_constants(count: int, published: float) -> None:
    """Published to three digits; where n is large the boundary is Pocock's."""
    schedule = tuple(range(1, count + 1))
    below, above = (crossing_probability(schedule, (published + d,) * count) for d in (-1e-3, 1e-3))
    assert above < 0.05 < below, (below, above)
    large = tuple(10**6 * k for k in schedule)
    assert critical_values(large, 0.95) == pytest.approx((published,) * count, abs=1e-3)


def test_figures_of_the_docstring() -> None:
    table = {DEFAULT: 1.290, DOUBLING: 1.330, (64, 256, 1024, 4096, 16384): 1.299}
    table |= {(64, 128, 256, 512, 1024): 1.272, (8, 32, 128, 512): 1.290}
    for schedule, r in table.items():
        assert widening(schedule, 0.95) == pytest.approx(r, abs=5e-4), schedule
    assert widening(DEFAULT, 1 - 1e-6) == pytest.approx(1.07, abs=5e-3)
    assert looks(64, 16384) in table
    assert looks(8, 512) in table


@pytest.mark.parametrize("level", [0.5, 0.95, 0.9975, 1 - 1e-6])
@pytest.mark.parametrize(
    "schedule", [DEFAULT, (2, 3, 4, 5), (64, 4096, 4160), (2, 10**9), (1, 8, 64)]
)
def test_the_error_is_spent_exactly(schedule: tuple[int, ...], level: float) -> None:
    values = critical_values(schedule, level)
    assert crossing_probability(schedule, values) == pytest.approx(1 - level, rel=1e-6)
    ratios = [
        student(c, n) / student(two_sided(level), n)
        for n, c in zip(schedule, values, strict=True)
        if n > 1
    ]
    assert ratios == pytest.approx([widening(schedule, level)] * len(ratios), rel=1e-6)


@pytest.mark.parametrize("schedule", [DEFAULT, (8, 32, 128, 512)])
def test_brownian_motion_crosses_as_often_as_computed(schedule: tuple[int, ...]) -> None:
    runs, level = 100_000, 0.95
    steps = np.diff(schedule, prepend=0)
    draws = np.random.default_rng(1977).standard_normal((runs, len(steps)))
    z = np.cumsum(draws * np.sqrt(steps), axis=1) / np.sqrt(schedule)
    crossed = int((np.abs(z) > critical_values(schedule, level)).any(axis=1).sum())
    p = binomtest(crossed, runs, 1 - level).pvalue
    assert p > FALSE_ALARM, f"crossed {crossed / runs:.5f}, expected {1 - level:.5f}, p {p:.2g}"


@pytest.mark.parametrize("c", [1.0, 2.4, 5.2])
@pytest.mark.parametrize("before", [1, 50, 99])
def test_two_looks_against_adaptive_quadrature(before: int, c: float) -> None:
    fraction = before / 100
    mean, spread = math.sqrt(fraction), math.sqrt(1 - fraction)

    def leaves(z: float) -> float:
        tails = norm.sf((c - mean * z) / spread) + norm.sf((c + mean * z) / spread)
        return float(norm.pdf(z) * tails)

    late, _ = quad(leaves, -c, c, points=[-0.9 * c, 0.9 * c], epsabs=0, epsrel=1e-10, limit=200)
    expected = 2 * norm.sf(c) + late
    assert crossing_probability((before, 100), (c, c)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("schedule", [(), (2, 1), (1, 1), (0, 1)])
def test_a_schedule_that_does_not_increase_is_refused(schedule: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="looks must be increasing"):
        critical_values(schedule, 0.95)
    with pytest.raises(ValueError, match="looks must be increasing"):
        widening(schedule, 0.95)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, math.nan])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level must lie"):
        critical_values(DOUBLING, level)
