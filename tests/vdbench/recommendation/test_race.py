"""The race against the clock, with candidates that are made up and a clock that says what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import vdbench
from vdbench.measures.progress import Quiet
from vdbench.recommendation.contest import BYTES, SECONDS, Question, Taken
from vdbench.recommendation.race import BLOCKS, OPENING, Race

TIME, SIZE = Question(SECONDS, "mean"), Question(BYTES, "mean")


@dataclass
class MadeUp:
    """In the place of `vdbench.recommendation.measuring.Measuring`: every unit and sample moves the clock."""

    values: Sequence[float]
    unit: float = 0.001
    breaks: dict[int, int] = field(default_factory=dict)
    peak: int = 2**26
    now: float = 0.0

    def __post_init__(self) -> None:
        self.candidates = [f"c{i}" for i in range(len(self.values))]
        self.sizes = [32] * len(self.values)
        self.rng = np.random.default_rng(0)
        self.taken: dict[int, Taken] = {}
        self.failed: dict[int, str] = {}
        self.unit_seconds: dict[int, float] = {}

    def ask(self, number: int, question: Any, *more: Any) -> Any:
        return 1000

    def units(self, number: int, start: int, stop: int, block: int) -> bool:
        if self.breaks.get(number, 10**9) < stop:
            self.failed[number] = "it broke"
            self.taken.pop(number, None)
            return False
        self.now += (stop - start) * self.unit
        self.unit_seconds[number] = self.unit
        kept = self.taken.setdefault(number, Taken(32))
        rows = self.values[number] * self.rng.gamma(2, 0.5, stop - start)
        kept.rows["mean"] = np.concatenate([kept.rows.get("mean", np.zeros(0)), rows])
        return True

    def memory(self, number: int) -> None:
        self.taken[number].peaks, self.taken[number].step = [self.peak] * 3, 2**18

    @property
    def helper(self) -> MadeUp:
        return self

    def close(self) -> None:
        pass

    def rounds(self, numbers: Sequence[int], count: int) -> None:
        for number in numbers:
            times = np.exp(0.02 * self.rng.standard_normal(count))
            self.taken[number].seconds = np.concatenate([self.taken[number].seconds, times])
            self.now += 0.005 * count


def race(measuring: MadeUp, seconds: float) -> Race:
    made: Any = measuring
    return Race(made, seconds, 0.0, 0.05, 0.05, Quiet(), clock=lambda: measuring.now)


def test_it_ends_when_all_is_settled() -> None:
    measuring = MadeUp([1.0, 0.3, 4.0])
    found = race(measuring, 1e6).run((TIME, SIZE))
    assert found.left == {TIME: [1], SIZE: [1]}
    assert not found.open
    assert measuring.now < 1000


@pytest.mark.parametrize("seconds", [2.0, 6.0, 12.0])
def test_it_ends_when_the_time_is_up(seconds: float) -> None:
    measuring = MadeUp([1.0, 0.99, 0.98])
    made = race(measuring, seconds)
    found = made.run((TIME,))
    assert found.open == [TIME]
    assert measuring.now <= max(seconds, 1.0)
    assert made.steps[-1].minutes == pytest.approx(measuring.now / 60)


def test_candidates_without_time_are_named_and_two_are_always_tried() -> None:
    measuring = MadeUp([1.0] * 50)
    made = race(measuring, 0.4)
    made.run((TIME,))
    assert made.late
    assert len(made.late) + len(made.aside) + len(measuring.taken) == 50
    assert measuring.now <= 0.4 * (1 + OPENING)
    short = race(MadeUp([1.0] * 5), 1e-3)
    assert len(short.run((TIME,)).taken) == 2


def test_the_worst_at_first_sight_are_set_aside() -> None:
    measuring = MadeUp([1.0, *([9.0] * 8), 0.1, *([9.0] * 8)], unit=0.1)
    measuring.ask = lambda *_: 50  # type: ignore[method-assign]
    made = race(measuring, 100.0)
    found = made.run((TIME,))
    assert made.aside
    assert 9 in measuring.taken
    assert found.leader(TIME) == 9
    assert not set(made.aside) & set(measuring.taken)


def test_the_level_pays_for_candidates_that_were_planned() -> None:
    made = race(MadeUp([1.0] * 50), 2.0)
    assert made.run((TIME,)).alpha == pytest.approx(0.05 / (50 * 49 / 2))


def test_one_that_breaks_is_left_out_and_the_others_go_on() -> None:
    measuring = MadeUp([1.0, 0.5, 0.9], breaks={1: 100, 2: 10})
    found = race(measuring, 30.0).run((TIME,))
    assert measuring.failed == {1: "it broke", 2: "it broke"}
    assert found.left[TIME] == [0]


@pytest.mark.parametrize("units", [10, 100])
def test_a_baseline_that_breaks_is_refused(units: int) -> None:
    with pytest.raises(vdbench.InputError, match="the baseline cannot be measured: it broke"):
        race(MadeUp([1.0, 0.99], breaks={0: units}), 30.0).run((TIME,))


def test_small_peaks_are_not_compared() -> None:
    assert race(MadeUp([1.0, 0.3], peak=2**16), 30.0).run((TIME, SIZE)).questions == (TIME,)


def test_blocks_are_small_where_gradients_are_slow() -> None:
    quick, slow = MadeUp([1.0] * 4), MadeUp([1.0] * 4, unit=0.1)
    slow.ask = lambda *_: 50  # type: ignore[method-assign]
    slower = MadeUp([1.0] * 4, unit=0.1)
    slower.ask = lambda *_: 10  # type: ignore[method-assign]
    plans = [race(m, 20.0).run((TIME,)).plan for m in (quick, slow, slower)]
    assert [plan.block for plan in plans] == list(BLOCKS)


def test_one_that_is_left_again_gets_the_units_that_it_missed() -> None:
    """The two best break when all others are eliminated, and the race goes on without them."""
    measuring = MadeUp([1.0, 0.05, 0.049, 0.3, 0.9], breaks={1: 200, 2: 200})
    found = race(measuring, 1e6).run((TIME,))
    assert found.left[TIME] == [3]
    assert not set(found.taken) & {1, 2}
    assert {by for by, _ in found.beaten[TIME].values()} <= set(found.taken)
    assert all(t.n in found.plan.looks for t in found.taken.values())


def test_memory_of_the_baseline_alone_is_not_compared(monkeypatch) -> None:
    weigh = MadeUp.memory
    monkeypatch.setattr(MadeUp, "memory", lambda self, n: weigh(self, n) if n == 0 else None)
    assert race(MadeUp([1.0, 0.3]), 1e6).run((TIME, SIZE)).questions == (TIME,)
