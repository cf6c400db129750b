"""Jobs in processes of their own.

A run has a family of processes (`vdbench.workers`): its *base*, set up as this process is; below it one for each
problem, which holds its data; below that one for each place, which holds its parameters; and below that one for each
estimator, in which its cells are measured. Memory is shared until it is written to. An estimator that does harm does
it to its own process. That is ended when a job fails, and the next job of the estimator has a fresh one.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vdbench import workers
from vdbench.errors import CellError, InputError
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator
from vdbench.measures.cells import Cell, Outcome, Place
from vdbench.measures.session import Session, Site
from vdbench.problems.problem import Problem
from vdbench.runner import inside
from vdbench.runner.bench import Built, Job, measure_named
from vdbench.runner.hands import Done
from vdbench.runner.record import Record
from vdbench.runner.schedule import late
from vdbench.workers import Lost, Process

MODULES = ("vdbench.runner.warm",)
"""What the root of the family imports; the rest follows from it."""

TAIL = 2000
"""Characters of what a process has printed that are kept with its failure."""


def begin() -> None:
    """Start the root of the family, so that it imports while this process does other things."""
    if not workers.possible():
        with contextlib.suppress(OSError):  # the run tries again, and says what became of it
            workers.root(MODULES)


class Limit(NamedTuple):
    """When a job is ended, on the clock of `time.monotonic`, and what is said of it then."""

    deadline: float
    why: str

    @property
    def left(self) -> float:
        """Seconds from now."""
        return max(0.0, self.deadline - time.monotonic())


@dataclass
class Worker:
    """A process in which an estimator is measured.

    Attributes:
        process: Which.
        log: What it prints.
        job: At work; None for none.
        limit: When it is killed.
    """

    process: Process
    log: Path
    job: Job | None = None
    limit: Limit | None = None


@dataclass
class Family:
    """The processes of one run, and what is done in them.

    Attributes:
        session: The run's.
        threads: Torch's own number of threads.
        url: Of the run folder's blocks, checkpoints and trainings; '' for none.
    """

    session: Session
    threads: int
    url: str = ""
    _base: Process | None = None
    _problems: dict[str, Process] = field(default_factory=dict)
    _places: dict[Place, Process] = field(default_factory=dict)
    _workers: dict[tuple[Place, str, bool], list[Worker]] = field(default_factory=dict)
    _count: int = 0
    _done: list[Done] = field(default_factory=list)
    _opened: set[str] = field(default_factory=set)
    _ends: float = math.inf

    # -- problems ---------------------------------------------------------------------------------------------

    def base(self) -> Process:
        """A process that is set up as this one."""
        if self._base is None or self._base.over:
            self._base = workers.root(MODULES).fork()
            self._base.call(
                inside.settle, os.getcwd(), dict(os.environ), list(sys.path), registry.files()
            )
        return self._base

    def build(self, name: str, factory: str, options: Mapping[str, Any]) -> Problem | None:
        """A problem of the user's own, built in a process of its own first.

        Returns:
            The problem; None where that process could not build it or hand it over, and did not end: then it is to be
            built in this process, which may know more.

        Raises:
            InputError: The factory ended its process, or did not come to an end.
        """
        process = self.base().fork()
        try:
            content = process.call(inside.build, name, factory, dict(options),
                                   seconds=self.session.suite.timeout)  # fmt: skip
        except Lost as error:
            if process.over:
                raise InputError(
                    f"problem '{name}': {factory} did not come to an end: {error}."
                ) from error
            process.kill()
            return None
        if content is None:
            process.kill()
            return None
        try:
            found: Problem = inside.unpack(content)
        except Exception:
            process.kill()
            return None
        self._problems[name] = process
        return found

    def open(self, built: Mapping[str, Built], cells: Sequence[Cell], record: Record) -> None:
        """Hand out what all jobs need.

        Raises:
            Exception: It cannot travel.
        """
        self._cells, self._built, self._record = cells, built, record
        self._setup = inside.Setup(
            self.session.suite,
            self.session.folder.resolve(),
            self.session.device.type,
            tuple(self.session.plugins),
            {},
            registry.others(),
            self.session.store.measuring,
            self.session.store.ledger.strict,
            {},
            self.threads,
            self.url,
        )
        self._of_problem: dict[str, dict[int, Cell]] = {}
        self._numbers: dict[tuple[Place, Estimator], int] = {}
        for number, cell in enumerate(cells):
            self._of_problem.setdefault(cell.problem, {})[number] = cell
            self._numbers.setdefault((cell.place, cell.estimator), number)
        self._problem(cells[0].problem)

    def _problem(self, name: str) -> Process:
        built = self._built[name]
        process = self._problems.get(name)
        if process is None or process.over:
            process = self._problems[name] = self.base().fork()
            self._opened.discard(name)
            process.call(inside.hold, built.problem)
        if name not in self._opened:
            # its cells alone: a plan may have very many
            chunks = self._record.content["chunks"].items()
            setup = replace(
                self._setup,
                cells=self._of_problem[name],
                chunks={key: n for key, n in chunks if key.startswith(f"{name}/")},
            )
            process.call(inside.open_problem, setup, built.fingerprint)
            self._opened.add(name)
        return process

    # -- jobs -------------------------------------------------------------------------------------------------

    def start(self, job: Job, ends: float) -> None:
        """Begin a job; one whose measure asks estimators in turn is done at once."""
        self._ends = ends
        try:
            if job.measure and measure_named(self.session.suite, job.measure).apart:
                self._in_turn(job)
                return
            worker = self._worker(job)
            worker.job, worker.limit = job, self._limit()
            if job.measure:
                self.session.progress.cell(str(self._cells[job.cells[0]]))
                worker.process.start(inside.measure, job)
            else:
                self.session.progress.cell(str(job))
                worker.process.start(inside.train, job.place)
        except Lost as error:
            self._failed(job, str(error))

    def _limit(self) -> Limit:
        """Of a job that begins now: the cell's own, or the run's where that comes first."""
        suite = self.session.suite
        own = time.monotonic() + suite.timeout
        if self._ends < own:
            return Limit(self._ends, late(suite.timeout_run))
        return Limit(own, f"no end within the time limit of {suite.timeout:g} s")

    def wait(self) -> list[Done]:
        """Jobs that have ended, once one has."""
        while not self._done:
            busy = [w for group in self._workers.values() for w in group if w.job is not None]
            left = min(worker.limit.left for worker in busy if worker.limit)
            workers.wait([worker.process for worker in busy], left)
            for worker in busy:
                self._look(worker)
        done, self._done = self._done, []
        return done

    def _look(self, worker: Worker) -> None:
        """Take in what a worker has said, and what became of its job."""
        job = worker.job
        assert job is not None
        try:
            answer = worker.process.take(partial(self._told_by, job))
        except Lost as error:
            self._end(worker)
            self._failed(job, self._said(str(error), worker))
            return
        if answer is not None:
            worker.job = None
            cause, found, news = answer[0]
            self.session.store.ledger.learn(news)
            outcomes = [self._outcome(*one) for one in found]
            if not job.measure or cause or any(o.status == "failed" for o in outcomes):
                self._end(worker)
            if cause and job.measure:
                self._failed(job, cause)
            else:
                self._done.append(Done(job, outcomes, cause))
        elif worker.limit and not worker.limit.left:
            worker.process.kill(worker.limit.why)
            self._look(worker)

    def _outcome(self, number: int, values: Mapping[str, Any]) -> Outcome:
        return Outcome(self._cells[number], **values)

    def _failed(self, job: Job, cause: str) -> None:
        cells = [self._cells[n] for n in job.cells]
        outcomes = [Outcome(cell, "failed", cause) for cell in cells]
        self._done.append(Done(job, outcomes, "" if job.measure else cause))

    def _in_turn(self, job: Job) -> None:
        measure = measure_named(self.session.suite, job.measure)
        cells = [self._cells[n] for n in job.cells]
        self.session.progress.cell(str(cells[0]))
        site = _Elsewhere(
            job.place, self._built[job.place.problem].problem, "", {}, None, self.session,
            self._record, [], family=self,
        )  # fmt: skip
        found: list[Outcome] = []
        with self.session.attempt(cells, found):
            found += measure.measure(self.session, site, cells)
        self._done.append(Done(job, found))
        self._end_place(job.place, alone=True)

    def ask(
        self, place: Place, estimator: Estimator, question: Callable[..., Any], *more: Any
    ) -> Any:
        """What is asked of an estimator, in its process; raises `CellError` with the cause if it fails."""
        number = self._numbers[place, estimator]
        worker, limit = (
            self._worker(Job(place, "ask", (number,), True, self._cells[number].label)),
            self._limit(),
        )
        try:
            cause, answer, news = worker.process.call(
                inside.ask, place, number, question, more,
                told=self._told, seconds=limit.left, late=limit.why,
            )  # fmt: skip
        except Lost as error:
            self._end(worker)
            raise CellError(self._said(str(error), worker)) from error
        self.session.store.ledger.learn(news)
        if cause:
            self._end(worker)
            raise CellError(cause)
        return answer

    def _told_by(self, job: Job, message: Any) -> None:
        """Take in what a worker says of its job: others may have spoken of theirs before."""
        if job.measure and message[0] in ("detail", "share"):
            self.session.progress.cell(str(self._cells[job.cells[0]]))
        self._told(message)

    def _told(self, message: Any) -> None:
        kind, *rest = message
        if kind == "detail":
            self.session.progress.detail(rest[0])
        elif kind == "share":
            self.session.progress.share(rest[0])
        elif kind == "note":
            self.session.progress.note(rest[0])
        elif kind == "ledger":
            self.session.store.ledger.learn(rest[0])
            self.session.store.ledger.once(rest[1])
        elif kind == "chunk":
            self._record.fix_chunk(*rest)

    # -- processes --------------------------------------------------------------------------------------------

    def _worker(self, job: Job) -> Worker:
        """A process for a job: one that has done others of the same estimator, or a new one."""
        group = self._workers.setdefault((job.place, job.whose, job.alone), [])
        for worker in group:
            if worker.job is None and not worker.process.over and job.measure:
                return worker
        self._count += 1
        parent = self._place(job.place) if job.measure else self._problem(job.place.problem)
        log = self.session.folder / "logs" / f"{job.name}-{self._count}.log"
        worker = Worker(parent.fork(), log)
        group.append(worker)
        worker.process.call(inside.begin, log.resolve(), self.session.suite.memory)
        return worker

    def _place(self, place: Place) -> Process:
        found = self._places.get(place)
        if found is None or found.over:
            found = self._places[place] = self._problem(place.problem).fork()
            news = found.call(inside.open_place, place, told=self._told)
            self.session.store.ledger.learn(news)
        return found

    def _said(self, cause: str, worker: Worker) -> str:
        """A cause, with the end of what the process has printed; all of that is in ``errors.log``."""
        try:
            text = worker.log.read_text(encoding="utf-8", errors="replace")[-TAIL:].strip()
        except OSError:
            return cause
        if not text:
            return cause
        self.session.log(f"{worker.log.name}: {cause}; it had printed:\n{text}\n\n")
        return f"{cause}; it last printed: {text.splitlines()[-1][:200]}"

    def _end(self, worker: Worker) -> None:
        worker.job = None
        worker.process.kill()
        for key, group in list(self._workers.items()):
            if worker in group:
                group.remove(worker)
            if not group:  # a run may come to very many places
                del self._workers[key]
        _sweep(worker.log)

    def _end_place(self, place: Place, alone: bool | None = None) -> None:
        for (where, _, kind), group in list(self._workers.items()):
            if where == place and alone in (None, kind):
                for worker in list(group):
                    self._end(worker)

    def leave(self, job: Job) -> None:
        """End the processes of its place."""
        self._end_place(job.place)
        found = self._places.pop(job.place, None)
        if found is not None:
            found.kill()

    def close(self) -> None:
        """End all processes of the run."""
        for group in list(self._workers.values()):
            for worker in list(group):
                self._end(worker)
        for process in (*self._places.values(), *self._problems.values(), self._base):
            if process is not None:
                process.kill()
        with contextlib.suppress(OSError):
            (self.session.folder / "logs").rmdir()


def _sweep(log: Path) -> None:
    """Take away a log in which nothing is."""
    with contextlib.suppress(OSError):
        if not log.stat().st_size:
            log.unlink()


@dataclass
class _Elsewhere(Site):
    """A place whose estimators are in processes of their own."""

    family: Family | None = None

    def ask(self, estimator: Estimator, question: Callable[..., Any], *more: Any) -> Any:
        """What a function says of an estimator's context, in its process."""
        assert self.family is not None
        return self.family.ask(self.place, estimator, question, *more)
