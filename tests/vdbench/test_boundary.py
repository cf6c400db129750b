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

from vdbench.statistics.boundary import (
    critical_value,
    critical_values,
    crossing_probability,
    looks,
    spending,
    two_sided,
)

DOUBLING = (64, 128, 256, 512, 1024, 2048, 4096)
FALSE_ALARM = 1e-4  # two-sided, each simulated probability


def test_looks_of_the_default_suite() -> None:
    assert looks(64, 4096) == DOUBLING
    assert looks(64, 4097) == (*DOUBLING, 4160)
    assert looks(64, 63) == looks(64, 64) == (64,)
    assert looks(10, 75, growth=1.5) == (10, 20, 30, 40, 60, 80)


@given(
    first=st.integers(1, 1000),
    blocks=st.integers(1, 500),
    growth=st.floats(1.01, 10),
    cut=st.data(),
)
def test_looks_are_increasing_multiples_that_end_at_the_bound(
    first: int, blocks: int, growth: float, cut: st.DataObject
) -> None:
    bound = first * blocks - cut.draw(st.integers(0, first - 1))
    schedule = looks(first, bound, growth)
    assert schedule[0] == first
    assert schedule[-1] == first * blocks
    assert all(n % first == 0 for n in schedule)
    assert all(a < b <= max(a + first, a * growth + first) for a, b in pairwise(schedule))


@pytest.mark.parametrize(
    ("first", "bound", "growth"),
    [(0, 9, 2), (1, 0, 2), (1, 9, 1), (1, 9, math.inf), (1, 9, math.nan)],
)
def test_looks_refuses_what_is_no_schedule(first: int, bound: int, growth: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        looks(first, bound, growth)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999, 1 - 1e-6])
def test_a_single_look_has_the_normal_quantile(level: float) -> None:
    quantile = norm.ppf((1 + level) / 2)
    assert critical_value((64,), level) == pytest.approx(quantile, rel=1e-9)
    assert critical_values((64,), level) == pytest.approx((quantile,), rel=1e-9)


@pytest.mark.parametrize(
    ("count", "published"), [(2, 2.178), (3, 2.289), (4, 2.361), (5, 2.413), (10, 2.555)]
)
def test_pocock_constants(count: int, published: float) -> None:
    assert critical_value(tuple(range(1, count + 1)), 0.95) == pytest.approx(published, abs=1e-3)


def test_figures_of_the_docstring() -> None:
    values = critical_values(DOUBLING, 0.95)
    assert values == pytest.approx((3.285, 2.934, 2.747, 2.616, 2.513, 2.428, 2.354), abs=5e-4)
    penalty = np.array(values) / two_sided(0.95)
    assert (penalty[4:] < 1.3).all(), penalty
    assert critical_value(DOUBLING, 0.95) / two_sided(0.95) == pytest.approx(1.326, abs=5e-4)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.9975, 1 - 1e-6])
@pytest.mark.parametrize("schedule", [DOUBLING, (1, 2, 3, 4, 5), (64, 4096, 4160), (1, 10**9)])
def test_the_error_is_spent_exactly(schedule: tuple[int, ...], level: float) -> None:
    values = critical_values(schedule, level)
    for k in range(1, len(schedule) + 1):
        spent = crossing_probability(schedule[:k], values[:k])
        planned = (1 - level) * (k / len(schedule)) ** 2
        assert spent == pytest.approx(planned, rel=1e-6), (k, spent, planned)
    constant = (critical_value(schedule, level),) * len(schedule)
    assert crossing_probability(schedule, constant) == pytest.approx(1 - level, rel=1e-6)


@pytest.mark.parametrize("boundary", ["spending", "constant"])
def test_brownian_motion_crosses_as_often_as_computed(boundary: str) -> None:
    runs, level = 100_000, 0.95
    steps = np.diff(DOUBLING, prepend=0)
    draws = np.random.default_rng(1977).standard_normal((runs, len(steps)))
    z = np.cumsum(draws * np.sqrt(steps), axis=1) / np.sqrt(DOUBLING)
    constant = (critical_value(DOUBLING, level),) * len(steps)
    values = critical_values(DOUBLING, level) if boundary == "spending" else constant
    crossed = np.logical_or.accumulate(np.abs(z) > values, axis=1).sum(axis=0)
    planned = np.cumsum(spending(len(steps), level)) if boundary == "spending" else [1 - level]
    for count, expected in zip(crossed[-len(planned) :], planned, strict=True):
        p = binomtest(int(count), runs, expected).pvalue
        assert p > FALSE_ALARM, f"crossed {count / runs:.5f}, expected {expected:.5f}, p {p:.2g}"


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
        critical_value(schedule, 0.95)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, math.nan])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level must lie"):
        critical_values(DOUBLING, level)
