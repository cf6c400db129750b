"""Slurm: jobs in arrays, submitted by submitit; or, to try it, in processes of this machine.

First come the trainings of checkpoints, then what is timed, on nodes of its own, and what is not. Each element of an
array does a share of the jobs and leaves a receipt. All nodes see the run folder, where submitit keeps its own files
(``RUN/slurm``). An element that is preempted or comes to its time limit is submitted again, and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vdbench.errors import InputError, one_line
from vdbench.runner.bench import Job
from vdbench.runner.crew import attempt
from vdbench.runner.orders import Order, Receipt, Took
from vdbench.runner.schedule import late

PACKAGE = "submitit"
FOLDER = "slurm"
LOOK = 2.0
"""Seconds between two looks at the jobs; submitit asks Slurm less often."""


class Options(BaseModel):
    """What Slurm is told. Any other option is submitit's, as ``timeout_min`` and ``slurm_partition``.

    Attributes:
        parts: Elements of an array, at most.
        cluster: ``slurm``; or ``local`` for processes of this machine.
    """

    model_config = ConfigDict(extra="allow")

    parts: int = Field(16, ge=1, le=10_000)
    cluster: Literal["slurm", "local"] = "slurm"


def make(options: Options, url: str) -> OnSlurm:
    """The engine."""
    return OnSlurm(options, url)


@dataclass(frozen=True)
class Element:
    """What an element of an array does.

    Attributes:
        order: What it needs.
    """

    order: Order

    def __call__(self, names: Sequence[str]) -> Receipt | str:
        """Do its jobs."""
        return attempt(self.order, names)

    def checkpoint(self, names: Sequence[str]) -> Any:
        """Submit it again: it goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, names)


def stages(todo: Sequence[Job], nodes: bool = True) -> list[list[tuple[bool, list[Job]]]]:
    """What is submitted together, and after what; each with whether it is timed.

    Args:
        todo: The jobs.
        nodes: Whether what is timed has a node of its own; else nothing is submitted beside it.
    """
    trainings = [job for job in todo if not job.measure]
    timed = [job for job in todo if job.measure and job.alone]
    others = [job for job in todo if job.measure and not job.alone]
    first = [(False, trainings)] if trainings else []
    both = [(alone, part) for alone, part in ((True, timed), (False, others)) if part]
    return [
        stage for stage in ([first, both] if nodes else [first, *([one] for one in both)]) if stage
    ]


def shares(todo: Sequence[Job], parts: int) -> list[list[Job]]:
    """Jobs dealt out to at most so many elements."""
    count = min(parts, len(todo))
    return [list(todo[start::count]) for start in range(count)]


@dataclass
class OnSlurm:
    """Has jobs done by Slurm.

    Attributes:
        options: What Slurm is told.
        url: As of `vdbench.runner.orders.Engine`.
    """

    options: Options
    url: str
    name: str = "slurm"

    def do(self, order: Order, todo: Sequence[Job], took: Took, say: Callable[[str], None]) -> None:
        """Have jobs done; see `vdbench.runner.orders.Engine`."""
        ends = time.monotonic() + order.suite.timeout_run
        broken: dict[tuple[str, str], str] = {}
        for stage in stages(todo, self.options.cluster == "slurm"):
            submitted: list[tuple[Any, list[Job]]] = []
            try:
                for timed, jobs in stage:
                    able = [job for job in jobs if job.place[:2] not in broken or job.place.trains]
                    submitted += self._submit(order, timed, able, say)
                for job, mine in self._ended(submitted, ends, order, took):
                    found = _result(job)
                    took([one.name for one in mine], found)
                    if isinstance(found, Receipt):
                        broken.update({(p, c): why for p, c, why in found.untrained})
            finally:
                for job, _ in submitted:
                    if not job.done():
                        job.cancel(check=False)

    def _submit(
        self, order: Order, timed: bool, jobs: list[Job], say: Callable[[str], None]
    ) -> list[tuple[Any, list[Job]]]:
        if not jobs:
            return []
        here = timed and self.options.cluster == "local"
        dealt = shares(jobs, 1 if here else self.options.parts)
        executor = self._executor(order, timed)
        try:
            with executor.batch():
                made = [executor.submit(Element(order), [j.name for j in mine]) for mine in dealt]
            say(f"slurm: {len(made)} elements for {len(jobs)} jobs, number {made[0].job_id}.")
        except Exception as error:  # submitit raises many kinds
            raise InputError(f"--engine slurm: {one_line(error)[:200]}") from error
        return list(zip(made, dealt, strict=True))

    def _executor(self, order: Order, timed: bool) -> Any:
        """Submits elements; what is timed has a node, or a GPU, of its own."""
        import submitit

        given = dict(self.options.model_extra or {})
        asked: dict[str, Any] = {"cpus_per_task": order.suite.threads or 1}
        if timed:
            asked["cpus_per_task"] = order.threads
            asked["slurm_exclusive"] = True
        if order.device == "cuda":
            asked["gpus_per_node"] = 1
        try:
            executor = submitit.AutoExecutor(
                Path(order.folder) / FOLDER / "%j", cluster=self.options.cluster
            )
            executor.update_parameters(
                name="vdbench", slurm_array_parallelism=self.options.parts, **{**asked, **given}
            )
        except Exception as error:
            raise InputError(f"--engine slurm: {one_line(error)[:200]}") from error
        return executor

    def _ended(
        self, submitted: list[tuple[Any, list[Job]]], ends: float, order: Order, took: Took
    ) -> Iterator[tuple[Any, list[Job]]]:
        """Elements as they end; those that are at work when the run's time is over are lost."""
        waiting = list(submitted)
        while waiting and time.monotonic() < ends:
            looked = [(one, one[0].done()) for one in waiting]
            waiting = [one for one, done in looked if not done]
            yield from (one for one, done in looked if done)
            if len(waiting) == len(looked):
                time.sleep(min(LOOK, max(0.0, ends - time.monotonic())))
        for _, mine in waiting:
            took([job.name for job in mine], late(order.suite.timeout_run))


def _result(job: Any) -> Receipt | str:
    try:
        found: Receipt | str = job.result()
    except Exception as error:  # it raises what there is no result for
        return " ".join(f"{type(error).__name__}: {one_line(error)}".split())[:200]
    return found
