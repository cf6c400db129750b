"""Ray: jobs as tasks of a cluster, or of one that is started on this machine.

A task is one job: the training of a checkpoint, a cell, or the cells of a place that are measured together. Ray
decides where and when; a task whose node is lost is done again on another, which finds the blocks that were written. A
task that needs a checkpoint takes the receipt of its training as an argument, so Ray begins it afterwards. Receipts
travel, and nothing else; blocks go to the folder that all nodes see, or to the URL.
"""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from vdbench.errors import InputError, one_line
from vdbench.runner.bench import Job
from vdbench.runner.crew import attempt
from vdbench.runner.orders import Order, Receipt, Took
from vdbench.runner.schedule import late

PACKAGE = "ray"
LOOK = 5.0
"""Seconds after which the cluster is looked at, where no task has ended meanwhile."""


class Options(BaseModel):
    """What Ray is told.

    Attributes:
        address: Of a cluster, as ``ray.init`` takes it: ``auto``, ``HOST:6379``, ``ray://HOST:10001``. None: that of
            ``RAY_ADDRESS``, or a cluster that is started here and ended with the run.
        cpus: Of a cluster that is started here; None for all.
        gpu_share: Part of a GPU for a cell that is not timed; one that is timed has a whole GPU.
        retries: How often a job is begun again whose node or process was lost.
    """

    model_config = ConfigDict(extra="forbid")

    address: str | None = None
    cpus: int | None = Field(None, ge=1)
    gpu_share: float = Field(0.25, gt=0, le=1)
    retries: int = Field(3, ge=0)


def make(options: Options, url: str) -> OnRay:
    """The engine."""
    return OnRay(options, url)


def resources(job: Job, device: str, threads: int, most: float, share: float) -> dict[str, float]:
    """What a task needs of a node.

    Args:
        job: Which.
        device: ``cpu`` or ``cuda``.
        threads: Of a cell that is not timed.
        most: CPUs of the largest node: what is timed on a CPU takes all of them, so that nothing is beside it.
        share: Part of a GPU for a cell that is not timed.
    """
    if device == "cuda":
        return {"num_cpus": 1, "num_gpus": 1 if job.alone else share}
    return {"num_cpus": most if job.alone else min(threads, most)}


def task(order: Order, names: Sequence[str], after: Receipt | str | None) -> Receipt | str:
    """What a node does: jobs, unless the training that they need has failed or was lost."""
    if isinstance(after, str):
        return after
    if after is not None and after.untrained:
        return after._replace(cells=[], files=[], damaged=[], said=[])
    return attempt(order, names)


@dataclass
class OnRay:
    """Has jobs done by Ray.

    Attributes:
        options: What Ray is told.
        url: As of `vdbench.runner.orders.Engine`.
    """

    options: Options
    url: str
    name: str = "ray"

    def do(self, order: Order, todo: Sequence[Job], took: Took, say: Callable[[str], None]) -> None:
        """Have jobs done; see `vdbench.runner.orders.Engine`."""
        ours = self._connect(say)
        try:
            _Tasks(self.options, order, took, say).do(todo)
        finally:
            if ours:
                import ray

                ray.shutdown()

    def _connect(self, say: Callable[[str], None]) -> bool:
        """Connect to a cluster, or start one; whether it is this run's to leave."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        if ray.is_initialized():
            return False
        address = self.options.address or os.environ.get("RAY_ADDRESS")
        more = {} if address else {"num_cpus": self.options.cpus, "include_dashboard": False}
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", **more)
        except Exception as error:  # Ray raises many kinds
            where = f"address {address}" if address else "a cluster on this machine"
            said = one_line(error)[:160] or type(error).__name__
            raise InputError(f"--engine ray: {where} cannot be reached, {said}.") from error
        say(f"ray: {_cpus():g} CPUs on {len(_nodes())} nodes, {_gpus():g} GPUs.")
        return True


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _cpus() -> float:
    return sum(float(node["Resources"].get("CPU", 0)) for node in _nodes())


def _gpus() -> float:
    return sum(float(node["Resources"].get("GPU", 0)) for node in _nodes())


def _most() -> float:
    """CPUs of the largest node that is alive."""
    return max((float(node["Resources"].get("CPU", 0)) for node in _nodes()), default=0.0)


@dataclass
class _Tasks:
    """The tasks of one run."""

    options: Options
    order: Order
    took: Took
    say: Callable[[str], None]
    _left: dict[Any, Job] = field(default_factory=dict)
    _asked: dict[Any, float] = field(default_factory=dict)
    _ended: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _most: float = 0.0

    def do(self, todo: Sequence[Job]) -> None:
        """Hand out all jobs, and take in what becomes of them."""
        import ray

        ends = time.monotonic() + self.order.suite.timeout_run
        self._order, self._task = ray.put(self.order), ray.remote(task)
        self._most = _most()
        trained: dict[tuple[str, str], Any] = {}
        try:
            for job in todo:
                where = job.place[:2]
                made = self._hand_out(job, trained.get(where) if job.measure else None)
                if not job.measure:
                    trained[where] = made
            while self._left and time.monotonic() < ends:
                try:
                    self._take(
                        self._ended.get(timeout=min(LOOK, max(0.0, ends - time.monotonic())))
                    )
                except queue.Empty:
                    self._look()
            for job in self._left.values():
                self.took([job.name], late(self.order.suite.timeout_run))
        finally:
            for one in list(self._left):
                with contextlib.suppress(Exception):
                    ray.cancel(one, force=True)

    def _hand_out(self, job: Job, after: Any) -> Any:
        suite = self.order.suite
        share = self.options.gpu_share
        needs = resources(job, self.order.device, suite.threads or 1, self._most, share)
        made = self._task.options(
            **needs, max_retries=self.options.retries, name=job.measure or "training"
        ).remote(self._order, [job.name], after)
        self._left[made] = job
        if job.alone:
            self._asked[made] = needs["num_cpus"]
        made.future().add_done_callback(lambda _: self._ended.put(made))
        return made

    def _take(self, made: Any) -> None:
        import ray

        job = self._left.pop(made, None)
        if job is None:
            return
        self._asked.pop(made, None)
        try:
            found = ray.get(made)
        except Exception as error:  # a lost node, a lost process, too little memory
            found = " ".join(f"{type(error).__name__}: {one_line(error)}".split())[:200]
        self.took([job.name], found)

    def _look(self) -> None:
        """What is timed has a whole node: where none is left that is large enough, say so and give it up."""
        import ray

        most = _most()
        for made, cpus in list(self._asked.items()):
            if cpus > most and made in self._left:
                job = self._left.pop(made)
                del self._asked[made]
                ray.cancel(made, force=True)
                why = f"it is timed alone on a node of {cpus:g} CPUs, and none is left"
                self.say(f"ray: {why}.")
                self.took([job.name], why)
