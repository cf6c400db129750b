"""Seconds per gradient: every estimator of a group timed in turn, alone on the device, in one pass.

Warm-up comes first and apart; then rounds, each of which times one sample of every estimator in an order of its
own, so that a machine that slows down slows all of them. A sample repeats the call until it lasts long enough
for the clock. On a GPU a sample lies between two device events; on a CPU between two readings of the
performance counter. One call is one minibatch's gradient as a training step would ask for it: one at a time,
noise drawn inside. Each estimator has a process of its own, and one of them works at a time. As it has waited for its
turn, it makes one call before each sample that is not timed. One that fails drops out, and the others go on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from vdbench.estimation import returned
from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.draws import call
from vdbench.measures import throughput_metrics
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.context import Context
from vdbench.measures.metrics import MetricValue, UnitRows
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.measures.stopping import look_schedule
from vdbench.measures.variance_metrics import compared, variance, variance_ratios
from vdbench.noise import Key, stream
from vdbench.store import Table
from vdbench.suite.schema import Suite, ThroughputSpec

VERSION = "2"
"""Changes whenever the meaning of a row changes; part of every block's address."""


@dataclass(frozen=True)
class Timer:
    """How a sample is taken.

    Attributes:
        rounds: Samples of every estimator.
        least_rounds: Rounds that are taken even when the budget is spent.
        sample_seconds: A sample repeats its call until it lasts about this long.
        budget_seconds: No further round is begun after so many seconds.
    """

    rounds: int = 30
    least_rounds: int = 8
    sample_seconds: float = 0.02
    budget_seconds: float = 60.0


class Timed(Protocol):
    """An estimator that is timed, wherever it is.

    Attributes:
        label: Its label.
    """

    @property
    def label(self) -> str:
        """Its label."""
        ...

    def calibrate(self, timer: Timer) -> int:
        """Warm up; how often a call is to be repeated in a sample; 0 if it failed."""
        ...

    def sample(self, repeats: int) -> float:
        """Seconds per call; NaN if it failed."""
        ...


class Here:
    """An estimator that is timed in this process."""

    def __init__(self, context: Context) -> None:
        """Nothing is called yet."""
        self.label = context.label
        self._call, self._device = gradient_call(context), context.problem.device
        self._name = context.estimator.declaration.name
        self._free = context.problem.free(context.parameters)

    def calibrate(self, timer: Timer) -> int:
        """Warm up; how often a call is to be repeated in a sample."""
        return _calibrate(self._call, self._device, timer)

    def sample(self, repeats: int) -> float:
        """Seconds per call, after one that is not timed; what that returns is checked."""
        returned.check(self._name, self._call(), self._free)
        return sample(self._call, repeats, self._device)


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
        Columns ``estimator`` (label), ``round``, ``seconds`` (per gradient) and ``calls`` (per sample); no row at all
        where all have failed.
    """
    repeats = [one.calibrate(timer) for one in group]
    found: list[tuple[str, int, float, int]] = []
    began = time.perf_counter()
    for round_ in range(timer.rounds):
        if round_ >= timer.least_rounds and time.perf_counter() - began > timer.budget_seconds:
            break
        told(round_)
        seed = (key / "order" / round_).seed()
        for place in np.random.Generator(np.random.PCG64(seed)).permutation(len(group)):
            if repeats[place]:
                seconds = group[place].sample(repeats[place])
                repeats[place] = 0 if math.isnan(seconds) else repeats[place]
                found.append((group[place].label, round_, seconds, repeats[place]))
    lost = {one.label for one, count in zip(group, repeats, strict=True) if not count}
    return _table([row for row in found if row[0] not in lost])


def _table(found: Sequence[tuple[str, int, float, int]]) -> Table:
    columns = list(zip(*found, strict=True)) or [(), (), (), ()]
    return {
        "estimator": np.array(columns[0], dtype=object),
        "round": np.array(columns[1], dtype=np.int64),
        "seconds": np.array(columns[2], dtype=np.float64),
        "calls": np.array(columns[3], dtype=np.int64),
    }


def gradient_call(context: Context) -> Callable[[], Gradient]:
    """One gradient on a fixed minibatch, with fresh noise at each call."""
    batch = context.batch(context.key / "throughput")
    device, dtype = context.problem.device, context.problem.dtype
    count = iter(range(2**62))

    def one() -> Gradient:
        key = context.key / "throughput" / next(count)
        noise = stream(key, device, dtype)
        return call(
            context.estimator, context.problem, context.parameters, batch, noise, key, context.state
        )

    return one


def sample(one: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds per call over ``repeats`` calls in a row."""
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(device)
        begin.record()
        for _ in range(repeats):
            one()
        end.record()
        torch.cuda.synchronize(device)
        return float(begin.elapsed_time(end)) / 1e3 / repeats
    began = time.perf_counter()
    for _ in range(repeats):
        one()
    return (time.perf_counter() - began) / repeats


def _calibrate(one: Callable[[], object], device: torch.device, timer: Timer) -> int:
    """Warm up, and find how often a call is to be repeated in a sample."""
    sample(one, 1, device)  # apart: the first call loads libraries
    warm = [sample(one, 1, device)]
    while len(warm) < 5 and warm[0] < timer.sample_seconds:
        warm.append(sample(one, 1, device))
    return max(1, math.ceil(timer.sample_seconds / float(np.median(warm))))


class Throughput(Measure):
    """Seconds per gradient, and variance × compute time where variance is measured too."""

    name = "throughput"
    spec = ThroughputSpec
    together = True
    alone = True
    apart = True

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """One a round; the calls within a sample are not counted."""
        return 8, self.asked(suite).rounds

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """All estimators of the place in one interleaved pass, alone on the device.

        Where one fails in it, the pass is stored as that of the others. Once it works, a new pass is made with it.
        """
        spec = self.asked(session.suite)
        timer = Timer(spec.rounds, budget_seconds=spec.budget_seconds)
        group = [_Asked(session, site, cell) for cell in cells]
        good = [one for one in group if one.ready()]
        table = session.store.find(_address(good, spec)) if good else None
        if good and table is None:
            session.store.must_measure()
            session.progress.detail("warm-up")
            table = rounds(
                good,
                site.place.key(session.suite.seed, session.suite.noise),
                timer,
                partial(_tell, session, timer),
            )
            good = [one for one in good if one.finish()]
            kept = {name: values[np.isin(table["estimator"], [one.label for one in good])]
                    for name, values in table.items()}  # fmt: skip
            table = session.store.get(_address(good, spec), lambda: kept) if good else None
        steps = max(1, site.problem.examples // site.place.batch_size)
        return [one.outcome(spec, steps, table) for one in group]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Times and their ratios, and variance × compute time with its ratios."""
        times = mine(self, outcomes)
        units = {o.cell.label: o.data for o in outcomes if o.cell.measure == "variance"}
        for name, outcome in times.items():
            found = throughput_metrics.values(
                outcome.data, name, outcome.cell.batch_size, suite.level
            )
            seconds = found[0]
            found.append(throughput_metrics.epoch(seconds, outcome.steps))
            for other, _, comparisons in compared(suite, name, times):
                found.append(
                    throughput_metrics.time_ratio(
                        outcome.data, name, other, suite.level, comparisons
                    )
                )
            if name in units:
                found += _efficiency(suite, outcome, seconds, units, times)
            yield outcome, found


def _tell(session: Session, timer: Timer, round_: int) -> None:
    session.progress.detail(f"round {round_ + 1} of {timer.rounds}")
    session.progress.share(round_ / timer.rounds)


class _Asked:
    """An estimator that is timed where it is: in a process of its own, if the run has such."""

    def __init__(self, session: Session, site: Site, cell: Cell) -> None:
        self.label = cell.label
        self.address: Mapping[str, Any] = {}
        self._session, self._site, self._cell = session, site, cell
        self._cause = ""

    def _ask(self, question: Callable[..., Any], *more: Any) -> Any:
        """What a question gets for an answer; None if the estimator fails."""
        try:
            return self._site.ask(self._cell.estimator, question, *more)
        except self._session.caught as error:
            self._cause = self._session.cause(error)
            return None

    def ready(self) -> bool:
        """Whether it works, and what its blocks are named by."""
        self.address = self._ask(_named) or {}
        return not self._cause

    def calibrate(self, timer: Timer) -> int:
        """Warm up; how often a call is to be repeated in a sample; 0 if it failed."""
        return self._ask(calibrated, timer) or 0

    def sample(self, repeats: int) -> float:
        """Seconds per call; NaN if it failed."""
        seconds = self._ask(sampled, repeats)
        return math.nan if seconds is None else float(seconds)

    def finish(self) -> bool:
        """Whether it has come to the end, and has left all as it was."""
        if not self._cause:
            self._ask(_finished)
        return not self._cause

    def outcome(self, spec: ThroughputSpec, steps: int, table: Table | None) -> Outcome:
        """What became of its cell."""
        if self._cause or table is None:
            return Outcome(self._cell, "failed", self._cause)
        count = int(table["round"].max()) + 1
        status = "ok" if count == spec.rounds else "bounded"
        reason = f"{count} of {spec.rounds} interleaved rounds"
        detail = {"rounds": count}
        return Outcome(self._cell, status, reason, count, table, steps=steps, detail=detail)


def _address(group: Sequence[_Asked], spec: ThroughputSpec) -> dict[str, Any]:
    """What the block of a pass is named by: the first of its group, and who else is in it."""
    return {
        **group[0].address,
        "group": [one.address["estimator"] for one in group],
        "rounds": spec.rounds,
        "budget": spec.budget_seconds,
    }


# what is asked of an estimator where it is


def _here(context: Context) -> Here:
    """Made once, so that its calls are numbered on."""
    known: dict[str, Any] = context.__dict__
    if "timed" not in known:
        known["timed"] = Here(context)
    made: Here = known["timed"]
    return made


def _named(session: Session, context: Context) -> Mapping[str, Any]:
    return session.address(context, Throughput.name, VERSION)


def calibrated(session: Session, context: Context, timer: Timer) -> int:
    """Asked of an estimator where it is: warm up; how often a call is to be repeated in a sample."""
    return _here(context).calibrate(timer)


def sampled(session: Session, context: Context, repeats: int) -> float:
    """Asked of an estimator where it is: seconds per call, over so many calls."""
    return _here(context).sample(repeats)


def _finished(session: Session, context: Context) -> bool:
    session.store.guard()
    return True


def _efficiency(
    suite: Suite,
    outcome: Outcome,
    seconds: MetricValue,
    units: Mapping[str, UnitRows],
    times: Mapping[str, Outcome],
) -> list[MetricValue]:
    name, schedule = outcome.cell.label, look_schedule(suite)
    found = throughput_metrics.efficiency(variance(units[name], schedule), seconds)
    both = {other: rows for other, rows in units.items() if other in times}
    for other, denominator, comparisons in compared(suite, name, both):
        ratios = variance_ratios(units[name], denominator, schedule, other, comparisons)
        time = throughput_metrics.time_ratio(outcome.data, name, other, suite.level, comparisons)
        found += throughput_metrics.efficiency(ratios, time)
    return found
