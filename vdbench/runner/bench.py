"""Where cells are measured: a problem, a place of it, and what is done there; in this process or in one of its own.

A *job* is what is handed out as a whole: the training of a checkpoint, a cell, or the cells of a place that a measure
takes together. All that a job needs is the suite and what the run folder holds, so that any process, on any machine,
can take it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdbench.estimation.base import Estimator
from vdbench.measures import foresight
from vdbench.measures.cells import SWEPT, Cell, Outcome, Place
from vdbench.measures.guard import Guard
from vdbench.measures.protocol import Measure
from vdbench.measures.registry import asked
from vdbench.measures.session import Chunks, Session, Site
from vdbench.problems.problem import Problem
from vdbench.runner.checkpoints import parameters
from vdbench.store import digest
from vdbench.suite.grid import checkpoint_name
from vdbench.suite.schema import Suite


@dataclass(frozen=True)
class Job:
    """Work that is handed out as a whole.

    Attributes:
        place: Where.
        measure: Name of the measure; '' for the training of the place's checkpoint.
        cells: Numbers of its cells in the plan.
        alone: Whether nothing may be measured beside it.
        whose: Label of the one estimator that it measures; '' for several.
    """

    place: Place
    measure: str
    cells: tuple[int, ...] = ()
    alone: bool = False
    whose: str = ""

    @property
    def name(self) -> str:
        """A hash of what it is, the same on every machine."""
        return digest({"place": list(self.place), "measure": self.measure, "whose": self.whose})

    def __str__(self) -> str:
        """What it does, for progress lines."""
        what = self.measure or "training"
        return f"{what} of checkpoint {self.place.checkpoint} on {self.place.problem}"


def jobs(suite: Suite, cells: Sequence[Cell], together: bool) -> list[Job]:
    """The jobs of a plan, in the order in which they are begun.

    Args:
        suite: What is asked for.
        cells: The plan.
        together: Whether jobs run side by side: then all that is measured alone goes first.
    """
    at: dict[Place, dict[str, list[int]]] = {}
    for number, cell in enumerate(cells):
        at.setdefault(cell.place, {}).setdefault(cell.measure, []).append(number)
    found: list[Job] = []
    trained: set[tuple[str, str]] = set()
    for place, by_measure in at.items():
        checkpoint = (place.problem, place.checkpoint)
        if not place.trains and checkpoint not in trained:
            trained.add(checkpoint)
            found.append(Job(place, ""))
        for measure in asked(suite):
            mine = by_measure.get(measure.name, [])
            for group in [mine] if measure.together and mine else [[n] for n in mine]:
                whose = "" if measure.together else cells[group[0]].label
                found.append(Job(place, measure.name, tuple(group), measure.alone, whose))
    if together:
        found.sort(key=lambda job: (bool(job.measure), not job.alone))
    return found


@dataclass
class Built:
    """A problem on the CPU, in its precision, with what its blocks are named by."""

    problem: Problem
    fingerprint: str


@dataclass
class Bench:
    """A problem, and what is measured on it.

    Attributes:
        session: Suite, store and progress.
        built: The problem.
        cells: The plan, or its cells on the problem, by their numbers.
        chunks: Keeps how many draws are taken together.
        threads: Torch's own number of threads, where the suite does not give one.
    """

    session: Session
    built: Built
    cells: Mapping[int, Cell]
    chunks: Chunks
    threads: int
    _opened: dict[Place, tuple[Mapping[str, Tensor], Path | None, Guard]] = field(
        default_factory=dict
    )
    _sites: dict[tuple[Place, bool], Site] = field(default_factory=dict)
    _places: dict[Place, list[Cell]] = field(default_factory=dict)

    def threads_of(self, alone: bool) -> int:
        """Threads of a cell: the suite's number; else one, or torch's own for what is measured alone."""
        return self.session.suite.threads or (self.threads if alone else 1)

    @contextmanager
    def using(self, alone: bool) -> Iterator[None]:
        """Within, torch has the threads of such a job."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads_of(alone))
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def train(self, place: Place) -> None:
        """See that the checkpoint of a place is in the run folder; train it, if it is not."""
        problem = self._here
        with self.using(False):
            guard = Guard(problem, {})
            self.session.store.guards[:] = [guard.check]
            self._parameters(problem, place)

    def _parameters(
        self, problem: Problem, place: Place
    ) -> tuple[Mapping[str, Tensor], Path | None]:
        """Parameters of a place's checkpoint, and their file; nothing where cells train from initialisation."""
        if place.trains:
            return {}, None
        suite = self.session.suite
        spec = next(p for p in suite.problems if p.name == place.problem)
        return parameters(
            problem.unrounded,
            next(c for c in suite.checkpoints if checkpoint_name(c) == place.checkpoint),
            suite.seed,
            self.built.fingerprint,
            self.session.folder / "checkpoints",
            self.session.progress.note,
            SWEPT if spec.x is not None else None,
            self.session.store,
            suite.noise,
        )

    @property
    def _here(self) -> Problem:
        """The problem on the device."""
        problem, device = self.built.problem, self.session.device
        if problem.device.type != device.type:
            self.built.problem = problem = problem.to(device, problem.dtype)
        return problem

    def open(self, place: Place) -> tuple[Mapping[str, Tensor], Path | None, Guard]:
        """Parameters of a place, their file, and a picture of all that must stay as it is there."""
        if place not in self._opened:
            problem = self._here
            with self.using(False):  # as it was trained
                values, file = self._parameters(problem, place)
            self._opened[place] = values, file, Guard(problem, values)
        return self._opened[place]

    def site(self, place: Place, alone: bool) -> Site:
        """A place, with estimators fitted once for what is measured alone and once for the rest; its guard watches."""
        values, file, guard = self.open(place)
        if (place, alone) not in self._sites:
            here = list(dict.fromkeys(c.estimator for c in self._at(place)))
            fits = partial(foresight.fits, self.session)
            self._sites[place, alone] = Site(place, self._here, self.built.fingerprint, values, file,
                                             self.session, self.chunks, here, [fits])  # fmt: skip
        guard.use(self.threads_of(alone))
        self.session.store.guards[:] = [guard.check]
        return self._sites[place, alone]

    def _at(self, place: Place) -> list[Cell]:
        """The cells of a place."""
        if not self._places:
            for cell in self.cells.values():
                self._places.setdefault(cell.place, []).append(cell)
        return self._places.get(place, [])

    def measure(self, job: Job) -> list[Outcome]:
        """What becomes of the cells of a job."""
        measure = measure_named(self.session.suite, job.measure)
        cells = [self.cells[n] for n in job.cells]
        failed: list[Outcome] = []
        found: list[Outcome] = []
        with self.using(job.alone):
            site = self.site(job.place, job.alone)
            if measure.together and not measure.apart:
                cells, failed = site.ready(cells)
            if cells:
                ahead = foresight.Foresight(self.session, site, measure, cells)
                self.session.store.before[:] = [ahead.look]
                with self.session.attempt(cells, found):
                    found += measure.measure(self.session, site, cells)
                self.session.store.before.clear()
                ahead.note(found)
        return failed + found

    def ask(self, place: Place, estimator: Estimator, question: Any, *more: Any) -> Any:
        """What is asked of an estimator at a place, as `Site.ask` says, with the threads of what is timed."""
        if (place, True) not in self._sites:  # after that they must stay
            torch.set_num_threads(self.threads_of(True))
        return self.site(place, True).ask(estimator, question, *more)

    def settle(self) -> None:
        """In a process that was just forked: its state is the one that must stay."""
        for _, _, guard in self._opened.values():
            guard.settle()

    def put_right(self, place: Place, threads: int) -> bool:
        """Whether a job has changed what it had to leave as it is; the process is made what it was."""
        if place not in self._opened:
            return False
        guard = self._opened[place][2]
        guard.use(threads)
        if not guard.changed():
            return False
        guard.restore()
        self.close(place)
        return True

    def close(self, place: Place) -> None:
        """Forget a place."""
        self._opened.pop(place, None)
        for alone in (False, True):
            self._sites.pop((place, alone), None)
        self.session.store.guards.clear()


def measure_named(suite: Suite, name: str) -> Measure:
    """A measure that the suite asks for."""
    return next(measure for measure in asked(suite) if measure.name == name)
