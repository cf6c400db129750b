"""Who does the jobs of a run: this process, one job after the other (`Here`); or processes (`vdbench.runner.apart`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from vdbench.errors import CellError
from vdbench.estimation.base import Estimator
from vdbench.measures.cells import Cell, Outcome, Place
from vdbench.measures.session import Chunks, Session
from vdbench.runner.bench import Bench, Built, Job


class Done(NamedTuple):
    """What became of a job.

    Attributes:
        job: Which.
        outcomes: Of its cells.
        cause: Why its checkpoint could not be trained; '' otherwise.
    """

    job: Job
    outcomes: list[Outcome]
    cause: str = ""


class Hands(Protocol):
    """Who does jobs."""

    def start(self, job: Job, ends: float) -> None:
        """Begin a job; at ``ends``, on the clock of `time.monotonic`, the run's own time is over."""
        ...

    def wait(self) -> list[Done]:
        """Jobs that have ended, once one has."""
        ...

    def ask(
        self, place: Place, estimator: Estimator, question: Callable[..., Any], *more: Any
    ) -> Any:
        """What is asked of an estimator at a place; raises `CellError` with the cause if it fails."""
        ...

    def leave(self, job: Job) -> None:
        """No job of its place will follow."""
        ...

    def close(self) -> None:
        """End whatever is at work."""
        ...


class Here:
    """All in this process; what one job damages is put right before the next."""

    def __init__(
        self,
        session: Session,
        built: Mapping[str, Built],
        cells: Sequence[Cell],
        chunks: Chunks,
        threads: int,
    ) -> None:
        """Nothing is opened yet; arguments as of `Bench`, problems by name."""
        from vdbench.runner import (
            warm as warm,  # some imports replace functions of torch: before guards look at them
        )

        self._session = session
        of_problem: dict[str, dict[int, Cell]] = {}
        for number, cell in enumerate(cells):
            of_problem.setdefault(cell.problem, {})[number] = cell
        self._benches = {
            name: Bench(
                session,
                Built(one.problem, one.fingerprint),
                of_problem.get(name, {}),
                chunks,
                threads,
            )
            for name, one in built.items()
        }
        self._spare = {name: _copy(one) for name, one in built.items()}
        self._done: list[Done] = []

    def start(self, job: Job, ends: float) -> None:
        """Do it, however long it takes: this process is not ended."""
        bench = self._benches[job.place.problem]
        if not job.measure:
            self._session.progress.cell(str(job))
            self._done.append(self._trained(bench, job))
            return
        self._session.progress.cell(str(bench.cells[job.cells[0]]))
        cells = [bench.cells[n] for n in job.cells]
        try:
            self._done.append(Done(job, bench.measure(job)))
        except self._session.caught as error:
            cause = self._session.cause(error)
            self._done.append(Done(job, [Outcome(cell, "failed", cause) for cell in cells]))
        if bench.put_right(job.place, torch.get_num_threads()):
            self._renew(job.place.problem)

    def _trained(self, bench: Bench, job: Job) -> Done:
        try:
            bench.train(job.place)
        except self._session.caught as error:
            return Done(job, [], self._session.cause(error))
        return Done(job, [])

    def _renew(self, name: str) -> None:
        """Take the copy of a problem instead of what was written into."""
        spare = self._spare[name]
        if spare is not None:
            self._benches[name].built = spare
            self._spare[name] = _copy(spare)

    def wait(self) -> list[Done]:
        """Jobs that have ended."""
        done, self._done = self._done, []
        return done

    def ask(
        self, place: Place, estimator: Estimator, question: Callable[..., Any], *more: Any
    ) -> Any:
        """What is asked of an estimator at a place.

        Raises:
            CellError: It fails; says why.
        """
        bench = self._benches[place.problem]
        with bench.using(True):
            try:
                return bench.ask(place, estimator, question, *more)
            except self._session.caught as error:
                raise CellError(self._session.cause(error)) from error

    def leave(self, job: Job) -> None:
        """Forget its place."""
        self._benches[job.place.problem].close(job.place)

    def close(self) -> None:
        """Nothing is at work."""


def _copy(built: Built) -> Built | None:
    """A problem that nobody else writes into; None where it cannot be copied."""
    try:
        return Built(copy.deepcopy(built.problem), built.fingerprint)
    except Exception:
        return None
