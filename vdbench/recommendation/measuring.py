"""Measuring candidates, with the measures: blocks of variance units, interleaved rounds of timing, peaks of memory.

Each estimator is asked where it is, in a process of its own. A candidate that fails is left out with its cause.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vdbench.comparison.times import BATCH
from vdbench.errors import CellError
from vdbench.measures import memory, throughput, timing, variance
from vdbench.measures.cells import Place
from vdbench.measures.context import Context
from vdbench.measures.metrics import UnitRows
from vdbench.measures.session import Session
from vdbench.measures.throughput_metrics import samples_of
from vdbench.measures.timing import Sample, Timer
from vdbench.modes.registry import EAGER
from vdbench.noise import Key
from vdbench.problems.problem import Group
from vdbench.recommendation.candidates import Candidate
from vdbench.recommendation.contest import Taken
from vdbench.runner.hands import Hands

SAMPLE = 0.004
"""Seconds that a sample of times lasts at least: rounds are many, so each may be short."""

PROCESSES = 3
"""Processes in which a peak of memory is measured."""


@dataclass
class Measuring:
    """Candidates at work.

    Attributes:
        hands: Where estimators are asked.
        places: Of each candidate, by its number.
        candidates: By their numbers.
        roles: Whose variance is kept.
        key: Address of the orders of rounds.
        job: Makes the job of the helper process that measures memory, by a candidate's number; None where it is not.
    """

    hands: Hands
    places: Sequence[Place]
    candidates: Sequence[Candidate]
    roles: Sequence[str]
    key: Key
    job: Callable[[int], dict[str, Any]] | None
    helper: memory.Helper = field(default_factory=memory.Helper)
    taken: dict[int, Taken] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    unit_seconds: dict[int, float] = field(default_factory=dict)
    _passes: int = 0

    @property
    def sizes(self) -> list[int]:
        """The minibatch size of each candidate."""
        return [candidate.batch_size for candidate in self.candidates]

    def ask(self, number: int, question: Callable[..., Any], *more: Any) -> Any:
        """What is asked of a candidate; None if it fails, whose cause is kept."""
        candidate = self.candidates[number]
        try:
            return self.hands.ask(self.places[number], candidate.estimator, question, *more)
        except CellError as error:
            self.failed[number] = str(error)
            self.taken.pop(number, None)
            return None

    def units(self, number: int, start: int, stop: int, block: int) -> bool:
        """Measure units of variance, block by block; False if the candidate fails."""
        for first in range(start, stop, block):
            began = time.perf_counter()
            found = self.ask(number, rows, tuple(self.roles), first, first + block)
            if found is None:
                return False
            # a first block is slower than all that follow
            self.unit_seconds[number] = (time.perf_counter() - began) / block
            kept = self.taken.setdefault(number, Taken(self.candidates[number].batch_size))
            for role, values in found.items():
                before = kept.rows.get(role)
                kept.rows[role] = values if before is None else np.concatenate([before, values])
        return True

    def rounds(self, numbers: Sequence[int], count: int) -> None:
        """Time candidates in turn, for so many rounds more; those that fail drop out."""
        if count <= 0 or not numbers:
            return
        group = [_InTurn(self, number) for number in numbers]
        self._passes += 1
        timer = Timer(count, count, SAMPLE, float("inf"))
        table = timing.rounds(group, self.key / "pass" / self._passes, timer)
        for number in numbers:
            if number in self.taken:
                more = samples_of(table, str(number))
                self.taken[number].seconds = np.concatenate([self.taken[number].seconds, more])

    def open(self) -> None:
        """Wait until the processes are there: that of the baseline's place, and the helper that measures memory."""
        if self.job is not None:
            try:
                self.helper.begin()
            except CellError:  # the problem cannot be sent to another process
                self.job = None
        self.ask(0, _nothing)
        if self.job is not None and 0 not in self.failed:
            with contextlib.suppress(CellError):
                self.helper.rows(self.job(0), 1)

    def memory(self, number: int) -> None:
        """Measure the peak of memory of a gradient; one that fails has none."""
        if self.job is None:
            return
        kept, job = self.taken[number], self.job(number)
        with contextlib.suppress(CellError):
            kept.peaks = [int(b) for b in self.helper.rows(job, PROCESSES)["bytes"]]
        kept.step = BATCH * job["threads"] if job["device"] == "cpu" else 0


class _InTurn:
    """A candidate as throughput times it."""

    def __init__(self, measuring: Measuring, number: int) -> None:
        self.label, self.mode = str(number), EAGER
        self._measuring, self._number = measuring, number

    def calibrate(self, timer: Timer) -> int:
        """Warm up; how often a call is to be repeated in a sample; 0 if it failed."""
        return self._measuring.ask(self._number, throughput.calibrated, timer) or 0

    def sample(self, repeats: int) -> Sample:
        """Seconds per call; NaN if it failed."""
        found = self._measuring.ask(self._number, throughput.sampled, repeats)
        return Sample(float("nan")) if found is None else Sample(*found)


def _nothing(session: Session, context: Context) -> bool:
    """Asked of an estimator, so that its place is opened, and its checkpoint trained."""
    return True


def rows(
    session: Session, context: Context, roles: Sequence[str], start: int, stop: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Asked of an estimator where it is: total variance in each role over all layers, one value a unit."""
    here = context.at("variance")
    table = variance.units(session, here, start, stop)
    units = UnitRows(table, here.sizes)
    return {role: units.of(Group("all", role), "total") for role in roles}
