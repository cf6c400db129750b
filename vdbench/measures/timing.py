"""Seconds per gradient: every estimator of a group timed in turn, alone on the device, in one pass.

Warm-up comes first and apart; then rounds, each of which times one sample of every estimator in every mode
(`vdbench.modes`) in an order of its own, so that a machine that slows down slows all of them. A sample repeats the call
until it lasts long enough for the clock. On a GPU a sample lies between two device events, copies of the minibatch are
taken in turn so that none is in its cache, and samples after which it was throttled are left out and counted; on a CPU
a sample lies between two readings of the performance counter. On a machine that does other things too it may lie
between two readings of the process's processor time: waiting for a core is not in that, a slower core is. One call is
one minibatch's gradient as a training step would ask for it: one at a time, noise drawn inside. Each estimator has a
process of its own, and one of them works at a time. As it has waited for its turn, it makes one call before each sample
that is not timed. One that fails drops out, and the others go on.

With ``precision``, a pass ends before its last round once every median is known well enough. It is looked at after 8
rounds, 16, and so on; each of these looks has its share of the error rate, so that intervals hold whichever ends it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from vdbench import statistics
from vdbench.estimation import returned
from vdbench.estimation.base import Gradient
from vdbench.measures import busy, clocks
from vdbench.measures.context import Context
from vdbench.measures.throughput_metrics import samples_of
from vdbench.modes.protocol import Work
from vdbench.modes.registry import EAGER, MODES
from vdbench.noise import Key
from vdbench.problems.problem import Batch
from vdbench.store import Table

LEAST = 8
"""Rounds that are taken at least: fewer have no interval at 99 %."""

WALL, PROCESSOR = "wall", "processor"
"""Clocks: of the wall, and of the process, which stands still while it waits for a core."""

CACHES = 2
"""Copies of a minibatch take so many times the memory of the GPU's cache."""


@dataclass(frozen=True)
class Timer:
    """How a sample is taken.

    Attributes:
        rounds: Samples of every estimator.
        least_rounds: Rounds that are taken even when the budget is spent.
        sample_seconds: A sample repeats its call until it lasts about this long.
        budget_seconds: No further round is begun after so many seconds.
        precision: Relative half-width of the interval of every median at which no further round is begun; None for all
            rounds.
        level: Of these intervals.
    """

    rounds: int = 30
    least_rounds: int = LEAST
    sample_seconds: float = 0.02
    budget_seconds: float = 60.0
    precision: float | None = None
    level: float = 0.95

    @property
    def looks(self) -> tuple[int, ...]:
        """Rounds after which the intervals are looked at, and the last one."""
        return looks(self.rounds, self.precision)


def looks(rounds: int, precision: float | None) -> tuple[int, ...]:
    """Rounds after which a pass of at most so many may end: all of them, and 8, 16, 32, … with a precision."""
    if precision is None:
        return (rounds,)
    found = [LEAST]
    while found[-1] * 2 < rounds:
        found.append(found[-1] * 2)
    return (*(n for n in found if n < rounds), rounds)


def shared(level: float, rounds: int, precision: float | None) -> float:
    """The level of an interval at each look, so that those of all looks hold together (Bonferroni)."""
    return 1 - (1 - level) / len(looks(rounds, precision))


class Timed(Protocol):
    """An estimator that is timed, wherever it is.

    Attributes:
        label: Its label.
        mode: How it is computed.
    """

    @property
    def label(self) -> str:
        """Its label."""
        ...

    @property
    def mode(self) -> str:
        """How it is computed."""
        ...

    def calibrate(self, timer: Timer) -> int:
        """Warm up; how often a call is to be repeated in a sample; 0 if it failed."""
        ...

    def sample(self, repeats: int) -> Sample:
        """Seconds per call; NaN if it failed."""
        ...


class Here:
    """An estimator that is timed in this process."""

    def __init__(self, context: Context, mode: str = EAGER, by: str = WALL) -> None:
        """Prepare it: recorded or compiled where the mode says so, and not called yet where it is eager.

        Args:
            context: Which, and where.
            mode: How it is computed.
            by: Which clock: ``wall``, or ``processor`` on a CPU.
        """
        self._by = by
        self.label, self.mode = context.label, mode
        self._call, self._device = gradient_call(context, mode), context.problem.device
        self._name = context.estimator.declaration.name
        self._free = context.problem.free(context.parameters)
        self._clock = clocks.reader(self._device)

    def calibrate(self, timer: Timer) -> int:
        """Warm up; how often a call is to be repeated in a sample."""
        return _calibrate(self._call, self._device, timer, self._by)

    def sample(self, repeats: int) -> Sample:
        """Seconds per call, after one that is not timed; what that returns is checked."""
        returned.check(self._name, self._call(), self._free)
        seconds = sample(self._call, repeats, self._device, self._by)
        return Sample(seconds, *self._clock())

    def busy(self) -> list[float]:
        """Shares of its time in which a GPU computes; nothing on a CPU, and where they cannot be known."""
        if self._device.type != "cuda":
            return []
        return busy.shares(self._call, lambda calls: sample(self._call, calls, self._device))


def rows(contexts: Sequence[Context], timer: Timer) -> Table:
    """Time a group of estimators in this process; see `rounds`."""
    return rounds([Here(context) for context in contexts], contexts[0].key, timer)


def rounds(
    group: Sequence[Timed], key: Key, timer: Timer, told: Callable[[int], None] = lambda _: None
) -> Table:
    """Time a group of estimators; those that fail are left out.

    Args:
        group: Which.
        key: Address of the orders of the rounds.
        timer: How.
        told: Told the number of each round before it begins, while nothing is timed.

    Returns:
        Columns ``estimator`` (label), ``mode``, ``round``, ``seconds`` (per gradient), ``calls`` (per sample), ``mhz``
        (of a GPU, else NaN) and ``throttled`` (0 or 1); no row at all where all have failed. Rows of throttled samples
        are there, and `vdbench.measures.throughput_metrics.samples_of` leaves them out.
    """
    repeats = [one.calibrate(timer) for one in group]
    found: list[_Row] = []
    began = time.perf_counter()
    for round_ in range(timer.rounds):
        if round_ >= timer.least_rounds and time.perf_counter() - began > timer.budget_seconds:
            break
        if round_ in timer.looks and known(_table(found), timer):
            break
        told(round_)
        seed = (key / "order" / round_).seed()
        for place in np.random.Generator(np.random.PCG64(seed)).permutation(len(group)):
            if repeats[place]:
                taken = group[place].sample(repeats[place])
                repeats[place] = 0 if math.isnan(taken.seconds) else repeats[place]
                one = group[place]
                found.append(_Row(one.label, one.mode, round_, repeats[place], *taken))
    lost = {(one.label, one.mode) for one, count in zip(group, repeats, strict=True) if not count}
    return _table([row for row in found if row[:2] not in lost])


class Sample(NamedTuple):
    """What a sample gave.

    Attributes:
        seconds: Per call; NaN if it failed.
        mhz: Clock of the GPU after it; NaN where there is none, or it is not known.
        throttled: Whether the GPU was slowed by heat or power.
    """

    seconds: float
    mhz: float = math.nan
    throttled: bool = False


class _Row(NamedTuple):
    label: str
    mode: str
    round: int
    calls: int
    seconds: float
    mhz: float
    throttled: bool


def _table(found: Sequence[_Row]) -> Table:
    def column(name: str, kind: Any) -> Any:
        return np.array([getattr(row, name) for row in found], dtype=kind)

    return {
        "estimator": column("label", object),
        "mode": column("mode", object),
        "round": column("round", np.int64),
        "seconds": column("seconds", np.float64),
        "calls": column("calls", np.int64),
        "mhz": column("mhz", np.float64),
        "throttled": column("throttled", np.int64),
    }


def known(table: Table, timer: Timer) -> bool:
    """Whether the median of every estimator is known as well as is asked for."""
    if timer.precision is None:
        return False
    level = shared(timer.level, timer.rounds, timer.precision)
    whole = dict.fromkeys(zip(table["estimator"], table["mode"], strict=True))
    estimates = [statistics.median(samples_of(table, *one), level) for one in whole]
    return bool(estimates) and all(e.relative_half_width <= timer.precision for e in estimates)


def gradient_call(context: Context, mode: str = EAGER) -> Callable[[], Gradient]:
    """One gradient on a fixed minibatch, with fresh noise at each call.

    Raises:
        CellError: The mode cannot compute it.
    """
    key = context.key / "throughput"
    batch = context.batch(key)
    copies = _copies(batch, context.problem.device)
    work = Work(
        context.estimator,
        context.problem,
        context.parameters,
        Batch(*(t.expand(copies, *t.shape).clone() for t in batch)),
        key,
        context.traced.requests if mode != EAGER else (),
        context.state,
    )
    return MODES[mode](work)


def _copies(batch: Batch, device: torch.device) -> int:
    """Copies of a minibatch that no cache of a GPU holds; 1 on a CPU, where a loader has just written it."""
    if device.type != "cuda":
        return 1
    cache = int(torch.cuda.get_device_properties(device).L2_cache_size)
    held = sum(t.numel() * t.element_size() for t in batch)
    return 1 + CACHES * cache // max(1, held)


def sample(one: Callable[[], object], repeats: int, device: torch.device, by: str = WALL) -> float:
    """Seconds per call over ``repeats`` calls in a row, on a CPU by the wall's clock or the processor's."""
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(device)
        begin.record()
        for _ in range(repeats):
            one()
        end.record()
        torch.cuda.synchronize(device)
        return float(begin.elapsed_time(end)) / 1e3 / repeats
    read = time.process_time if by == PROCESSOR else time.perf_counter
    began = read()
    for _ in range(repeats):
        one()
    return (read() - began) / repeats


def _calibrate(
    one: Callable[[], object], device: torch.device, timer: Timer, by: str = WALL
) -> int:
    """Warm up, and find how often a call is to be repeated in a sample."""
    sample(one, 1, device, by)  # apart: the first call loads libraries
    warm = [sample(one, 1, device, by)]
    while len(warm) < 5 and warm[0] < timer.sample_seconds:
        warm.append(sample(one, 1, device, by))
    return max(1, math.ceil(timer.sample_seconds / float(np.median(warm))))
