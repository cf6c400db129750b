"""The measure ``throughput``: seconds per gradient of all estimators of a place, in every mode, and what follows.

How they are timed is in `vdbench.measures.timing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from vdbench.errors import CellError
from vdbench.estimation.base import Estimator
from vdbench.measures import expected, throughput_metrics
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.context import Context
from vdbench.measures.expected import Expected
from vdbench.measures.metrics import MetricValue, UnitRows
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.measures.stopping import look_schedule
from vdbench.measures.throughput_metrics import Levels
from vdbench.measures.timing import PROCESSOR, WALL, Here, Sample, Timer, known, looks, rounds
from vdbench.measures.variance_metrics import compared, variance, variance_ratios
from vdbench.modes.registry import EAGER
from vdbench.store import Table
from vdbench.suite.schema import Suite, ThroughputSpec

VERSION = "3"
"""Changes whenever the meaning of a row changes; part of every block's address."""


class Throughput(Measure):
    """Seconds per gradient, and variance × compute time where variance is measured too."""

    name = "throughput"
    spec = ThroughputSpec
    together = True
    alone = True
    apart = True

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator and mode at each place."""
        every = everywhere(suite, estimators, self.name)
        return [replace(cell, mode=mode) for cell in every for mode in suite.modes]

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """One a round; the calls within a sample are not counted."""
        return 8, self.asked(suite).rounds

    def memory(self, suite: Suite, cell: Cell, context: Context, limit: int) -> Expected:
        """One gradient at a time."""
        return expected.one(context)

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """All estimators of the place in one interleaved pass, alone on the device.

        Where one fails in it, the pass is stored as that of the others. Once it works, a new pass is made with it.
        """
        spec = self.asked(session.suite)
        if spec.clock == PROCESSOR and session.device.type != "cpu":
            raise CellError(
                f"throughput by clock: processor is of a CPU, and this run is on {session.device.type}; "
                "expected clock: wall."
            )
        timer = _timer(spec, session.suite)
        group = [_Asked(session, site, cell) for cell in cells]
        good = [one for one in group if one.ready()]
        table = session.store.find(_address(good, session.suite)) if good else None
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
            kept = _of(good, table)
            table = session.store.get(_address(good, session.suite), lambda: kept) if good else None
        steps = max(1, site.problem.examples // site.place.batch_size)
        return [one.outcome(spec, steps, table) for one in group]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Times and their ratios, and variance × compute time with its ratios; estimators compared mode by mode."""
        every = [o for o in outcomes if o.cell.measure == self.name]
        units = {o.cell.label: o.data for o in outcomes if o.cell.measure == "variance"}
        eager = {o.cell.label for o in every if o.cell.mode == EAGER}
        for mode in suite.modes:
            times = mine(self, [o for o in every if o.cell.mode == mode])
            for name, outcome in times.items():
                found = self._of_one(suite, outcome, times, units)
                if mode != EAGER and name in eager:
                    found.append(
                        throughput_metrics.mode_ratio(outcome.data, name, mode, self._levels(suite))
                    )
                yield outcome, found

    def _levels(self, suite: Suite) -> Levels:
        spec = self.asked(suite)
        return Levels(suite.level, len(looks(spec.rounds, spec.precision)))

    def _of_one(
        self,
        suite: Suite,
        outcome: Outcome,
        times: Mapping[str, Outcome],
        units: Mapping[str, UnitRows],
    ) -> list[MetricValue]:
        """Values of an estimator in a mode, among those that were timed in it."""
        name, mode, levels = outcome.cell.label, outcome.cell.mode, self._levels(suite)
        found = throughput_metrics.values(outcome.data, name, outcome.cell.batch_size, levels, mode)
        if self.asked(suite).clock == PROCESSOR:
            found = [replace(one, message="processor time") for one in found]
        seconds = found[0]
        found.append(throughput_metrics.epoch(seconds, outcome.steps))
        found += throughput_metrics.busy_share(outcome.data, name, levels, mode)
        for other, _, comparisons in compared(suite, name, times):
            found.append(
                throughput_metrics.time_ratio(outcome.data, name, other, levels, comparisons, mode)
            )
        if name in units:
            found += _efficiency(suite, outcome, seconds, units, times, levels)
        return found


def _tell(session: Session, timer: Timer, round_: int) -> None:
    session.progress.detail(f"round {round_ + 1} of {timer.rounds}")
    session.progress.share(round_ / timer.rounds)


class _Asked:
    """An estimator that is timed where it is: in a process of its own, if the run has such."""

    def __init__(self, session: Session, site: Site, cell: Cell) -> None:
        self.label, self.mode = cell.label, cell.mode
        self.shares: list[float] = []
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
        return self._ask(calibrated, timer, self.mode) or 0

    def sample(self, repeats: int) -> Sample:
        """Seconds per call; NaN if it failed."""
        found = self._ask(sampled, repeats, self.mode)
        return Sample(math.nan) if found is None else Sample(*found)

    def finish(self) -> bool:
        """Whether it has come to the end, and has left all as it was; how busy the device is, is asked last."""
        if not self._cause:
            self.shares = list(self._ask(_busy, self.mode) or ())
        if not self._cause:
            self._ask(_finished)
        return not self._cause

    def outcome(self, spec: ThroughputSpec, steps: int, table: Table | None) -> Outcome:
        """What became of its cell."""
        if self._cause or table is None:
            return Outcome(self._cell, "failed", self._cause)
        mine = (table["estimator"] == self.label) & (table["mode"] == self.mode)
        if not mine.any():
            return Outcome(self._cell, "failed", "no sample of it is stored")
        throttled = int(table["throttled"][mine].sum())
        if throttled == int(mine.sum()):
            return Outcome(self._cell, "failed", "the device was throttled in every sample")
        count = int(table["round"].max()) + 1
        status = "ok" if count == spec.rounds else "bounded"
        by = " of processor time" if spec.clock == PROCESSOR else ""
        reason = f"{count} of {spec.rounds} interleaved rounds{by}"
        detail: dict[str, Any] = {"rounds": count}
        if status == "bounded" and known(table, _timer(spec, self._session.suite)):
            status, reason = "converged", f"{reason}: medians known to ±{spec.precision:.2g}"
            detail["stop"] = "precision"
        if throttled:
            reason += f"; {throttled} samples left out: the device was throttled"
            detail["throttled"] = throttled
        return Outcome(self._cell, status, reason, count, table, steps=steps, detail=detail)


def _timer(spec: ThroughputSpec, suite: Suite) -> Timer:
    return Timer(
        spec.rounds,
        budget_seconds=spec.budget_seconds,
        precision=spec.precision,
        level=suite.level,
    )


def _of(group: Sequence[_Asked], table: Table) -> Table:
    """The rows of those that came to the end, with what is known of how busy the device was."""
    whole = {(one.label, one.mode) for one in group}
    pairs = zip(table["estimator"], table["mode"], strict=True)
    stays = np.array([pair in whole for pair in pairs], dtype=bool)
    kept = {name: values[stays] for name, values in table.items()}
    kept["busy"] = np.full(int(stays.sum()), math.nan)
    for one in group:
        mine = (kept["estimator"] == one.label) & (kept["mode"] == one.mode)
        for place, share in zip(np.flatnonzero(mine), one.shares, strict=False):
            kept["busy"][place] = share
    return kept


def _address(group: Sequence[_Asked], suite: Suite) -> dict[str, Any]:
    """What the block of a pass is named by: the first of its group, and who else is in it, in which mode."""
    spec = suite.measures.throughput
    assert spec is not None
    return {
        **group[0].address,
        "group": [one.address["estimator"] for one in group],
        "modes": [one.mode for one in group],
        "rounds": spec.rounds,
        "budget": spec.budget_seconds,
        **({} if spec.precision is None else {"width": spec.precision}),
        **({} if suite.modes[0] == EAGER else {"ranked": suite.modes[0]}),
        **({} if spec.clock == WALL else {"clock": spec.clock}),
    }


# what is asked of an estimator where it is


def _here(session: Session, context: Context, mode: str) -> Here:
    """Made once, so that its calls are numbered on."""
    made: dict[str, Here] = context.__dict__.setdefault("timed", {})
    if mode not in made:
        spec = session.suite.measures.throughput
        made[mode] = Here(context, mode, spec.clock if spec else WALL)
    return made[mode]


def _named(session: Session, context: Context) -> Mapping[str, Any]:
    return session.address(context, Throughput.name, VERSION)


def calibrated(session: Session, context: Context, timer: Timer, mode: str = EAGER) -> int:
    """Asked of an estimator where it is: warm up; how often a call is to be repeated in a sample."""
    return _here(session, context, mode).calibrate(timer)


def sampled(
    session: Session, context: Context, repeats: int, mode: str = EAGER
) -> tuple[float, float, bool]:
    """Asked of an estimator where it is: the values of a `Sample`, over so many calls."""
    seconds, mhz, throttled = _here(session, context, mode).sample(repeats)
    return seconds, mhz, throttled


def _busy(session: Session, context: Context, mode: str) -> list[float]:
    return _here(session, context, mode).busy()


def _finished(session: Session, context: Context) -> bool:
    session.store.guard()
    return True


def _efficiency(
    suite: Suite,
    outcome: Outcome,
    seconds: MetricValue,
    units: Mapping[str, UnitRows],
    times: Mapping[str, Outcome],
    levels: Levels,
) -> list[MetricValue]:
    name, schedule = outcome.cell.label, look_schedule(suite)
    found = throughput_metrics.efficiency(variance(units[name], schedule), seconds)
    both = {other: rows for other, rows in units.items() if other in times}
    for other, denominator, comparisons in compared(suite, name, both):
        ratios = variance_ratios(units[name], denominator, schedule, other, comparisons)
        time = throughput_metrics.time_ratio(
            outcome.data, name, other, levels, comparisons, outcome.cell.mode
        )
        found += throughput_metrics.efficiency(ratios, time)
    return found
