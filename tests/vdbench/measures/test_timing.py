"""Seconds per gradient: against torch's own timer, and what a pass over a group leaves.

No test here compares a time with a fixed number of seconds: machines differ, and pause.
"""

from __future__ import annotations

import functools
import gc
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import scipy.stats
import torch
import torch.utils.benchmark
from torch import nn

from vdbench.datasets import Dataset, Split
from vdbench.estimation.options import get
from vdbench.measures import timing
from vdbench.measures.context import Context
from vdbench.measures.throughput_metrics import (
    Levels,
    busy_share,
    mode_ratio,
    paired,
    samples_of,
)
from vdbench.measures.timing import Sample, Timer, gradient_call, looks, rows, sample, shared
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.problem import Problem

KEY = Key(("tests", "throughput"))
CPU = torch.device("cpu")
ROUNDS, LEVEL, ATTEMPTS = 40, 0.999, 3


@functools.cache
def problem() -> Problem:
    noise = stream(KEY)
    split = Split(noise("x", (64, 32)), (noise("y", (64,), "uniform") * 4).long())
    module = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
    return noisy(module, Dataset("synthetic", split, split, 4), keep_weights=False)


def context(name: str = "local", batch_size: int = 32) -> Context:
    start = problem().initial(KEY)
    return Context(problem(), start, get(name), name, batch_size, KEY, {"estimator": name})


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """Neither timer is charged with the garbage of the test session (torch's switches that off)."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def interval(ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float]:
    """Distribution-free interval at LEVEL for the median of ours/theirs, paired round by round.

    Order alternates from round to round, so that a drift or a pause falls on both; the bounds are order
    statistics (a binomial count of rounds lies below the median), which no outlier moves.
    """
    logs = []
    for round_ in range(ROUNDS):
        if round_ % 2:
            b, a = theirs(), ours()
        else:
            a, b = ours(), theirs()
        logs.append(math.log(a / b))
    low = int(scipy.stats.binom.ppf((1 - LEVEL) / 2, ROUNDS, 0.5))
    ordered = sorted(logs)
    return math.exp(ordered[low - 1]), math.exp(ordered[ROUNDS - low])


def agreement(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Our sample of ``one`` against torch's measurement of ``other``, about five milliseconds each.

    torch's timer makes two untimed calls first; so do we here, or only ours would meet cold caches.
    """
    repeats = max(2, math.ceil(0.005 / min(sample(one, 1, CPU) for _ in range(20))))
    timer = torch.utils.benchmark.Timer("f()", globals={"f": other}, num_threads=1)

    def ours() -> float:
        one()
        one()
        return sample(one, repeats, CPU)

    return interval(ours, lambda: timer.timeit(repeats).mean)


@pytest.mark.alone
@pytest.mark.usefixtures("no_garbage")
def test_agreement_with_torch_s_timer() -> None:
    """The interval of the ratio contains 1, in one of three attempts.

    If the two agree, an attempt fails in 1 of 1000 runs, and all three in 1 of 10⁹; a busy machine
    widens the interval and moves it to neither side.
    """
    one = gradient_call(context())
    found = []
    for _ in range(ATTEMPTS):
        low, high = agreement(one, one)
        found.append((low, high))
        if low <= 1 <= high:
            return
    pytest.fail(f"ours/torch's lies in none of {found}")


@pytest.mark.alone
@pytest.mark.usefixtures("no_garbage")
def test_disagreement_would_be_seen() -> None:
    """Control: where torch's timer is given twice the work, 1 lies outside, in one of three attempts."""
    one = gradient_call(context())

    def twice() -> None:
        one()
        one()

    found = []
    for _ in range(ATTEMPTS):
        found.append(agreement(one, twice))
        if found[-1][1] < 1:
            return
    pytest.fail(f"1 lies in all of {found}")


def test_a_sample_repeats_its_call() -> None:
    calls: list[int] = []
    for repeats in (1, 7):
        calls.clear()
        assert sample(lambda: calls.append(1), repeats, CPU) > 0
        assert len(calls) == repeats


def test_a_sample_is_the_seconds_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert sample(lambda: clock.pass_(0.25), 8, CPU) == 0.25


class Clock:
    """A performance counter that a test winds on, in place of the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def wound(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], first: float = 0.0
) -> list[Context]:
    """Contexts whose gradients take so many seconds by the clock, the very first call ``first`` more."""
    clock, fresh = Clock(monkeypatch), [True]

    def gradient_call(context: Context, mode: str) -> Callable[[], object]:
        def one() -> None:
            clock.pass_(seconds[context.label] + (first if fresh else 0))
            fresh.clear()

        return one

    monkeypatch.setattr(timing, "gradient_call", gradient_call)
    monkeypatch.setattr(timing.returned, "check", lambda *_: None)
    return [context(name) for name in seconds]


def test_every_estimator_is_in_every_round_in_changing_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = {"naive": 0.25, "local": 0.5, "per-example": 2.0}
    table = rows(
        wound(monkeypatch, seconds), Timer(rounds=12, sample_seconds=1.0, budget_seconds=1e9)
    )
    columns = {"estimator", "mode", "round", "seconds", "calls", "mhz", "throttled"}
    assert set(table) == columns
    assert set(table["mode"]) == {"eager"}
    orders = [tuple(table["estimator"][table["round"] == r]) for r in range(12)]
    assert all(sorted(order) == sorted(seconds) for order in orders)
    assert len(set(orders)) > 2
    for name, expected in seconds.items():
        mine = table["estimator"] == name
        assert table["seconds"][mine].tolist() == [expected] * 12
        assert set(table["calls"][mine]) == {max(1, round(1.0 / expected))}


def test_the_budget_stops_after_a_whole_round(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = wound(monkeypatch, {"naive": 1.0, "local": 1.0})
    for budget, rounds in [(0.0, 3), (21.0, 6), (1e9, 50)]:
        table = rows(contexts, Timer(50, least_rounds=3, sample_seconds=1.0, budget_seconds=budget))
        assert sorted(table["round"].tolist()) == sorted([*range(rounds)] * 2)


def test_a_slow_first_call_is_warm_up_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call loads libraries; that must not cost the estimator its repetitions."""
    contexts = wound(monkeypatch, {"naive": 0.125, "local": 0.125}, first=100.0)
    table = rows(contexts, Timer(rounds=4, sample_seconds=1.0, budget_seconds=1e9))
    assert set(table["calls"]) == {8}
    assert set(table["seconds"]) == {0.125}


def test_a_real_pass() -> None:
    contexts = [context(name) for name in ("naive", "local", "deterministic")]
    table = rows(contexts, Timer(rounds=3, least_rounds=2, sample_seconds=0.002))
    assert len(table["round"]) == 9
    assert (table["seconds"] > 0).all()
    assert (table["calls"] >= 1).all()
    assert np.isfinite(table["seconds"]).all()


def test_each_call_has_noise_of_its_own_and_the_same_minibatch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = gradient_call(context())
    values = [float(one().value) for _ in range(4)]  # type: ignore[attr-defined]
    assert len(set(values)) == 4
    again = gradient_call(context())
    assert [float(again().value) for _ in range(4)] == values  # type: ignore[attr-defined]
    fixed = gradient_call(context("deterministic"))
    assert len({float(fixed().value) for _ in range(4)}) == 1  # type: ignore[attr-defined]


# -- when a pass ends -----------------------------------------------------------------------------------------------


def test_looks_double_and_share_the_error_rate() -> None:
    assert looks(30, None) == (30,)
    assert looks(30, 0.05) == (8, 16, 30)
    assert looks(64, 0.05) == (8, 16, 32, 64)
    assert looks(8, 0.05) == (8,)
    assert shared(0.95, 30, None) == 0.95
    assert shared(0.95, 30, 0.05) == pytest.approx(1 - 0.05 / 3)
    assert Levels(0.95, 3).at(2) == pytest.approx(1 - 0.05 / 6)


class Scripted:
    """Takes a second a call, and others in some rounds; NaN for one that fails."""

    def __init__(self, mode: str = "eager", others: dict[int, float] | None = None) -> None:
        self.label, self.mode, self._others = "naive", mode, others or {}
        self._round = iter(range(10**9))

    def calibrate(self, timer: Timer) -> int:
        return 1

    def sample(self, repeats: int) -> Sample:
        return Sample(self._others.get(next(self._round), 1.0))


@pytest.mark.parametrize(
    ("others", "rounds"),
    [({}, 8), ({0: 9.0, 1: 0.1, 2: 0.1, 3: 9.0}, 16), (dict.fromkeys(range(0, 40, 2), 9.0), 40)],
)
def test_a_pass_ends_once_every_median_is_known(others: dict[int, float], rounds: int) -> None:
    """Two samples to each side are outside of the interval of 16 rounds at 1 − 0.05/4, and within that of 8."""
    timer = Timer(40, budget_seconds=1e9, precision=0.05)
    table = timing.rounds([Scripted(), Scripted("graph", others)], KEY, timer)
    assert int(table["round"].max()) + 1 == rounds


def test_intervals_hold_although_a_pass_ends_by_their_width() -> None:
    """2,000 passes of lognormal times at 95 %: the interval misses the median in at most 5 %, and 3 standard errors."""
    rng, missed, most = np.random.default_rng(7), 0, 64
    level = shared(0.95, most, 0.1)
    for _ in range(2000):
        times = np.exp(0.3 * rng.standard_normal(most))
        for n in looks(most, 0.1):
            found = timing.statistics.median(times[:n], level)
            if found.relative_half_width <= 0.1:
                break
        missed += not found.low <= 1.0 <= found.high
    assert missed <= 2000 * (0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)), missed


# -- what is left out -----------------------------------------------------------------------------------------------


def test_throttled_samples_are_left_out_and_pairs_keep_their_rounds() -> None:
    table = {
        "estimator": np.array(["a", "b", "a", "b", "a", "b"], dtype=object),
        "mode": np.array(["eager", "graph"] * 3, dtype=object),
        "round": np.array([0, 0, 2, 1, 1, 2]),
        "seconds": np.array([1.0, 10.0, 3.0, 20.0, 2.0, 30.0]),
        "throttled": np.array([0, 0, 0, 1, 0, 0]),
    }
    assert samples_of(table, "a").tolist() == [1.0, 2.0, 3.0]
    assert samples_of(table, "b").tolist() == []
    assert samples_of(table, "b", "graph").tolist() == [10.0, 30.0]
    ours, theirs = paired(table, ("b", "graph"), ("a", "eager"))
    assert (ours.tolist(), theirs.tolist()) == ([10.0, 30.0], [1.0, 3.0])
    table["estimator"][:] = "a"
    ratio = mode_ratio(table, "a", "graph", Levels(0.5))
    assert (ratio.estimate.value, ratio.estimate.n) == (10.0, 2)


def test_how_busy_a_device_is_does_not_depend_on_throttling() -> None:
    """The shares stand in some rows of the table, which are of no round of theirs."""
    table = {
        "estimator": np.array(["a"] * 12, dtype=object),
        "mode": np.array(["eager"] * 12, dtype=object),
        "round": np.arange(12),
        "seconds": np.ones(12),
        "throttled": np.array([1] * 8 + [0] * 4),
        "busy": np.array([0.25] * 8 + [math.nan] * 4),
    }
    (share,) = busy_share(table, "a", Levels(0.5), "eager")
    assert (share.estimate.value, share.estimate.n) == (0.25, 8)


def test_a_throttled_sample_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = wound(monkeypatch, {"naive": 1.0})
    states = itertools.cycle([timing.clocks.Clock(1500.0), timing.clocks.Clock(900.0, True)])
    monkeypatch.setattr(timing.clocks, "reader", lambda device: lambda: next(states))
    table = rows(contexts, Timer(rounds=4, sample_seconds=1.0, budget_seconds=1e9))
    assert table["throttled"].tolist() == [0, 1, 0, 1]
    assert table["mhz"].tolist() == [1500.0, 900.0] * 2
    assert len(samples_of(table, "naive")) == 2


def test_an_estimator_that_fails_in_one_mode_keeps_the_other() -> None:
    group = [Scripted(), Scripted("compile", {3: math.nan})]
    table = timing.rounds(group, KEY, Timer(rounds=8))
    assert set(table["mode"]) == {"eager"}
    assert len(table["round"]) == 8


@pytest.mark.parametrize(("share", "bound"), [(0.2, True), (0.49, False), (0.9, False)])
def test_a_cell_is_launch_bound_where_all_of_the_interval_is_below_one_half(
    share: float, bound: bool
) -> None:
    """Shares spread by ±0.03; rounds without a share, and throttled ones, do not count."""
    shares = [*(share + 0.01 * k for k in range(-3, 4)), share, math.nan, 5.0]
    count = len(shares)
    table = {
        "estimator": np.array(["a"] * count, dtype=object),
        "mode": np.array(["eager"] * count, dtype=object),
        "round": np.arange(count),
        "seconds": np.ones(count),
        "throttled": np.array([0] * (count - 1) + [1]),
        "busy": np.array(shares),
    }
    (found,) = busy_share(table, "a", Levels(0.95), "eager")
    assert found.estimate.value == pytest.approx(share)
    assert (found.detail["launch_bound"], bool(found.message)) == (bound, bound)
    assert busy_share({**table, "busy": np.full(count, math.nan)}, "a", Levels(0.95), "eager") == []
