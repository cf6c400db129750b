"""In which order jobs are begun, and which of them side by side."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vdbench.measures.cells import Cell, Outcome
from vdbench.runner.bench import Job
from vdbench.runner.hands import Done, Hands


@dataclass
class Schedule:
    """Hands out jobs in order.

    Attributes:
        hands: Who does them.
        cells: The plan.
        side_by_side: Jobs at a time, of those that may be beside others.
        seconds: After which no further job is begun, and those at work are ended where they have processes.
        ended: Told what became of each.
    """

    hands: Hands
    cells: Sequence[Cell]
    side_by_side: int
    seconds: float
    ended: Callable[[Done], None]
    _untrained: dict[tuple[str, str], str] = field(default_factory=dict)

    def run(self, todo: Sequence[Job]) -> None:
        """Have all jobs done; what fails is told, and the rest goes on."""
        waiting, running = deque(todo), list[Job]()
        ends = time.monotonic() + self.seconds
        while waiting or running:
            while waiting and self._may_begin(waiting[0], running):
                job = waiting.popleft()
                why = self._hopeless(job, ends)
                if why:
                    failed = [Outcome(self.cells[n], "failed", why) for n in job.cells]
                    self.ended(Done(job, failed))
                else:
                    running.append(job)
                    self.hands.start(job, ends)
            for done in self.hands.wait() if running else ():
                running.remove(done.job)
                if done.cause:
                    self._untrained[_checkpoint(done.job)] = done.cause
                self.ended(done)
                soon = (*running, *itertools.islice(waiting, self.side_by_side))
                if all(other.place != done.job.place for other in soon):
                    self.hands.leave(done.job)

    def _may_begin(self, job: Job, running: Sequence[Job]) -> bool:
        """Whether a job may begin beside others: within their number, nothing beside what is timed, and trained."""
        if not running:
            return True
        if job.alone or any(other.alone for other in running):
            return False
        trains = any(not o.measure and _checkpoint(o) == _checkpoint(job) for o in running)
        return len(running) < self.side_by_side and not trains

    def _hopeless(self, job: Job, ends: float) -> str:
        """Why a job need not begin; '' if it is to."""
        if time.monotonic() > ends:
            return late(self.seconds, begun=False)
        why = self._untrained.get(_checkpoint(job), "")
        return f"checkpoint {job.place.checkpoint}: {why}" if why and not job.place.trains else ""


def late(seconds: float, begun: bool = True) -> str:
    """What is said of a job that the time limit of the run has ended, or kept from beginning."""
    return f"{'no end' if begun else 'not begun'} within the time limit of the run, {seconds:g} s"


def _checkpoint(job: Job) -> tuple[str, str]:
    return job.place.problem, job.place.checkpoint
