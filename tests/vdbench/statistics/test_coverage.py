"""Coverage: of runs that stop on width, of a boundary at all looks together, of ratios, seeds and products."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import pytest
from coverage_runs import STEP, Sums
from numpy.typing import NDArray
from scipy import stats

from vdbench.measures.metrics import APART, UnitRows
from vdbench.measures.stopping import Stopping, schedule_of
from vdbench.problems.problem import Group
from vdbench.statistics import (
    Estimate,
    critical_values,
    log_mean,
    looks,
    median,
    positive_mean,
    product,
    ratio,
    ratio_root,
    seed_mean,
)
from vdbench.statistics.sequential import two_sided
from vdbench.suite.schema import VarianceSpec

Rows = NDArray[np.float64]


def some(names: Iterable[Any], now: Collection[Any]) -> list[Any]:
    """Parameters for pytest: these in ``make test``, the others between and beside them in ``make long``."""
    return [pytest.param(n, marks=() if n in now else pytest.mark.long) for n in names]


Z = two_sided(0.95)
LOOKS = looks(64, 4096)
FALSE_ALARM = 1e-4  # one-sided, each coverage


def report(what: str, hits: int, runs: int, level: float) -> tuple[bool, str]:
    """Judge a coverage: P(so few hits, or fewer) must exceed the false-alarm rate at ``level``."""
    p = stats.binom.cdf(hits, runs, level)
    error = math.sqrt(level * (1 - level) / runs)
    return p > FALSE_ALARM, f"{what}: {hits / runs:.4f} ± {error:.4f} of {runs}, {level=}, {p=:.2g}"


def stopping(
    draw: Callable[[np.random.Generator], tuple[Rows, ...]],
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


# Stopping on width

GROUP = Group("a", "mean")
SETTINGS = {
    "±10 %": VarianceSpec(precision=0.1, first_units=64, max_units=2048),
    "±50 %": VarianceSpec(precision=0.5, first_units=16, max_units=256),
    "64 units": VarianceSpec(precision=0.05, first_units=64, max_units=64),
    "first_units 1": VarianceSpec(precision=0.3, first_units=1, max_units=512),
}
LAWS = {
    "chi-square 1": lambda r, n: r.standard_normal(n) ** 2,
    "mean of 16 squares": lambda r, n: r.chisquare(16, n) / 16,
    "gamma 1/4": lambda r, n: r.gamma(0.25, size=n) * 4,
    "lognormal 1": lambda r, n: r.lognormal(-0.5, 1, n),
    "lognormal 1.5": lambda r, n: r.lognormal(-1.125, 1.5, n),
    "lognormal 2": lambda r, n: r.lognormal(-2, 2, n),
}
"""Rows of mean 1."""


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("law", LAWS)
def test_a_run_that_stops_on_width_is_covered(law: str, setting: str) -> None:
    """Intervals without ends are not counted; they are few, but where the spread of rows is above 3 (lognormal 2)."""
    rng, schedule = np.random.default_rng(14), schedule_of(SETTINGS[setting], 0.95)
    runs, printed, held = 400, 0, 0
    for _ in range(runs):
        x = LAWS[law](rng, schedule.looks[-1])
        rows = UnitRows({"a|mean|noise": x, "a|mean|total": x}, {GROUP: 1})
        n = Sums.of(rows, math.gcd(STEP, schedule.block)).stop(schedule)
        e = positive_mean(x[:n], Z)
        printed += math.isfinite(e.high)
        held += math.isfinite(e.high) and e.low <= 1 <= e.high
    good, message = report(f"{law}, {setting}", held, printed, 0.945)
    assert good, message
    if law != "lognormal 2":
        # at most 1 % are without ends, with the false-alarm rate of a coverage
        assert stats.binom.sf(runs - printed - 1, runs, 0.01) > FALSE_ALARM, runs - printed


@pytest.mark.parametrize("first_units", [1, 16, 64])
def test_runs_of_recorded_rows_stop_where_runs_stop(first_units: int) -> None:
    """The campaign's fast search against the measure's own loop."""
    rng = np.random.default_rng(3)
    spec = VarianceSpec(precision=0.2, first_units=first_units, max_units=1024)
    schedule = schedule_of(spec, 0.95)
    for spread in (0.3, 1.0, 1.5):
        noise = rng.lognormal(0, spread, schedule.looks[-1])
        table = {"a|mean|noise": noise, "a|mean|total": noise + rng.chisquare(2, len(noise))}
        stopping = Stopping(schedule, {GROUP: 1})
        for start, stop in stopping.blocks():
            stopping.add({name: values[start:stop] for name, values in table.items()})
        sums = Sums.of(UnitRows(table, {GROUP: 1}), math.gcd(STEP, first_units))
        assert sums.stop(schedule) == stopping.stopped.rows.n


# A boundary: intervals that hold at all looks together, for runs that are stopped by hand


# rows, their mean, and a level that all looks together keep
SKEWED = {
    "chi-square 1": (lambda r: (r.standard_normal(4096) ** 2,), 1.0, 0.945),
    "chi-square 4": (lambda r: (r.chisquare(4, 4096),), 4.0, 0.945),
    "chi-square 100": (lambda r: (r.chisquare(100, 4096),), 100.0, 0.945),
    "lognormal 0.5": (lambda r: (r.lognormal(0, 0.5, 4096),), math.exp(0.125), 0.945),
    "lognormal 1": (lambda r: (r.lognormal(0, 1, 4096),), math.exp(0.5), 0.945),
    "lognormal 1.5": (lambda r: (r.lognormal(0, 1.5, 4096),), math.exp(1.125), 0.945),
}


@pytest.mark.parametrize("name", some(SKEWED, ("chi-square 1", "chi-square 100", "lognormal 1.5")))
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


def common(rng: np.random.Generator) -> tuple[Rows, Rows]:
    shared, own, other = rng.standard_normal((3, 4096))
    return (shared + own / 2) ** 2, (shared + other) ** 2


def signal(strength: float) -> Callable[[np.random.Generator], tuple[Rows, Rows]]:
    def draw(rng: np.random.Generator) -> tuple[Rows, Rows]:
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


@pytest.mark.parametrize("name", some(PAIRED, ("ratio", "no signal", "signal")))
def test_ratios_are_covered_where_the_run_stops(name: str) -> None:
    draw, figure, truth = PAIRED[name]
    stopped, always, _ = stopping(draw, figure, truth, runs=500, unadjusted=False)
    good, message = report("at the stop", stopped, 500, 0.95)
    holds, more = report("at all looks", always, 500, 0.93)
    assert good, f"{name}: {message}; {more}"
    assert holds, f"{name}: {message}; {more}"


@pytest.mark.parametrize("correlation", some([-0.9, -0.5, 0.0, 0.5, 0.9], (-0.9, 0.0, 0.9)))
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


@pytest.mark.parametrize("shared", some([0.0, 0.7, 0.95], (0.0, 0.95)))
def test_ratios_of_cells_that_stop_at_different_looks_are_covered(shared: float) -> None:
    """At all pairs of different looks at once: the level adjusted for `APART` comparisons."""
    rng, runs = np.random.default_rng(2001), 400
    apart = critical_values(LOOKS, 1 - 0.05 / APART)
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


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("shape", [1, 4])
def test_means_over_a_few_skewed_seeds_are_covered(n: int, shape: int) -> None:
    """Skewed as what Student's interval covers with 88 and 93 %: exponential, and a gamma law of shape 4."""
    rng, runs = np.random.default_rng(11), 3000
    for sign in (1, -1):
        rows = sign * (rng.gamma(shape, size=(runs, n)) - shape)
        found = [seed_mean(x, 0.95) for x in rows]
        hits = sum(e.low <= 0 <= e.high for e in found)
        good, message = report(f"{sign}, {n} seeds", hits, runs, 0.95)
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
