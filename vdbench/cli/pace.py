"""How long what is left of a run takes, as far as what has ended says."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vdbench.measures.progress import Planned

LAST = 8
"""Jobs of a measure that its pace is taken from: those that were found in the run folder are soon left behind."""

LEAST = 0.05
"""Share of a job from which on it says itself how long it takes."""


class Left(NamedTuple):
    """What is left of a run.

    Attributes:
        seconds: As an estimate.
        whole: Whether all that is left is in it; else more is.
    """

    seconds: float
    whole: bool

    def __str__(self) -> str:
        """In words; nothing where what is left is not known at all."""
        if not self.whole and self.seconds < 1:
            return ""
        return f"{'about' if self.whole else 'more than'} {in_words(self.seconds)} left"


@dataclass
class Pace:
    """Seconds per planned gradient, by measure.

    Attributes:
        work: What is to come, in order; a job is known by the name of its first cell.
    """

    work: Sequence[Planned] = ()
    _seconds: dict[str, deque[float]] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)
    _shares: dict[str, float] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _first: float | None = None
    _jobs: dict[str, Planned] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find jobs by name."""
        self._jobs = {job.names[0]: job for job in self.work}

    def begin(self, name: str, now: float) -> None:
        """A job begins; its name is that of its first cell."""
        self._begun.setdefault(name, now)
        self._first = now if self._first is None else self._first

    def share(self, name: str, share: float) -> None:
        """How far a job is."""
        self._shares[name] = min(1.0, max(0.0, share))

    def end(self, name: str, now: float) -> None:
        """A cell has ended; a job ends with its first."""
        job = self._jobs.get(name)
        if job is None or name in self._ended:
            return
        self._ended.add(name)
        took = max(0.0, now - self._begun.get(name, now))
        known = self._seconds.setdefault(job.measure, deque(maxlen=LAST))
        known.append(took / max(1, job.gradients))

    @property
    def at_work(self) -> float:
        """Cells that are done, of those at work: shares of them."""
        here = self._shares.keys() - self._ended
        return sum(self._shares[n] * len(self._jobs[n].names) for n in here if n in self._jobs)

    def left(self, now: float) -> Left | None:
        """Seconds that are left, as an estimate; None where nothing is known.

        A job is expected to take as long for each planned gradient as the last ones of its measure did. What was
        expected of the jobs so far is compared with the time that they took all together, so that jobs side by side are
        counted once. Measures of which nothing has ended are left out, and the estimate says so.
        """
        done = rest = 0.0
        whole = True
        for job in self.work:
            expected, name = self._expected(job, now), job.names[0]
            part = 1.0 if name in self._ended else self._shares.get(name, 0.0)
            if expected is None:
                whole = whole and part == 1.0
                continue
            done += part * expected
            rest += (1 - part) * expected
        if not done or self._first is None:
            return None
        return Left(rest * (now - self._first) / done, whole)

    def _expected(self, job: Planned, now: float) -> float | None:
        """Seconds of a job, by the last of its measure; else by how far it is itself."""
        known = self._seconds.get(job.measure)
        if known:
            return max(1, job.gradients) * sum(known) / len(known)
        share = self._shares.get(job.names[0], 0.0)
        return (now - self._begun[job.names[0]]) / share if share > LEAST else None


def in_words(seconds: float) -> str:
    """A length of time to two figures at most: ``40 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 9.95 else f"{round(hours):,} h"
