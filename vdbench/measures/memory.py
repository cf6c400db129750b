"""Peak memory of one gradient, each repetition in a process of its own.

A helper process imports what is needed and measures nothing itself; it forks once a repetition, before any
tensor has been computed. The repetition builds the cell, takes one gradient to warm up libraries, and then
measures the peak of a second: on Linux the resident set's high-water mark above the resident set before the
gradient, on a GPU the peak of what torch's allocator handed out above what it held. Linux counts resident pages
in batches of some 256 KiB a thread: figures of a few MiB are coarse.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from vdbench import statistics
from vdbench.errors import CellError, one_line
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import options
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.metrics import MetricValue
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.problems.given import GIVEN
from vdbench.store import Table
from vdbench.suite.schema import MemorySpec, Suite
from vdbench.workers.travel import Sent

VERSION = "2"
"""Changes whenever the meaning of a row changes; part of every block's address."""

NOTHING: Any = (None, {})
"""No problem and no estimators."""


def rows(job: dict[str, Any], repetitions: int, along: Any = NOTHING) -> Table:
    """Measure in processes of their own.

    Args:
        job: What `vdbench.measures.memory_process` needs to build the cell, as JSON.
        repetitions: How many processes.
        along: What is sent along because no process could build it by name: a problem that was handed over, or None,
            and estimators of a notebook or script.

    Returns:
        Column ``bytes``, one row a process.

    Raises:
        CellError: The process failed; its last line says why.
    """
    # -P: modules are looked up where this process does, and not in the current folder first
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "vdbench.measures.memory_process"],
        input=json.dumps({**job, "repetitions": repetitions}).encode() + b"\n" + _packed(along),
        capture_output=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [
            f"exit code {done.returncode}"
        ]
        raise CellError(f"measuring memory in a process of its own failed: {lines[-1]}")
    return {"bytes": np.array(json.loads(done.stdout.splitlines()[-1]), dtype=np.float64)}


def _packed(along: Any) -> bytes:
    """What is sent along, where there is something.

    Raises:
        CellError: It cannot be.
    """
    if along[0] is None and not along[1]:
        return b""
    try:
        return Sent(along).content
    except Exception as error:  # pickling raises many kinds
        raise CellError(
            "memory is measured in another process, and the problem or estimator cannot be sent there: "
            f"{one_line(error)}"
        ) from error


def values(table: Table, level: float) -> list[MetricValue]:
    """Peak bytes of one gradient, median over processes."""
    return [
        MetricValue("memory.peak_bytes", statistics.median(table["bytes"], level), level, "bytes")
    ]


class Memory(Measure):
    """Peak memory of one gradient."""

    name = "memory"
    spec = MemorySpec
    alone = True

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """One a process; that which warms it up is not counted."""
        count = self.asked(suite).repetitions
        return count, count

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """One process a repetition."""
        (cell,) = cells
        context = site.context(cell.estimator)
        problem = next(p for p in session.suite.problems if p.name == cell.problem)
        assert site.file is not None
        held = problem.factory == GIVEN
        along = (site.problem.to("cpu", site.problem.dtype) if held else None, registry.others())
        job = {
            "problem": None if held else problem.model_dump(include={"name", "factory", "options"}),
            "parameters": str(site.file.resolve()),
            "estimator": cell.estimator.declaration.name,
            "options": options(cell.estimator),
            "batch_size": cell.batch_size,
            "device": session.device.type,
            "precision": session.suite.precision,
            "key": list(context.key.path),
            "threads": torch.get_num_threads(),
            "plugins": list(session.plugins),
        }
        count = self.asked(session.suite).repetitions
        address = session.address(context, self.name, VERSION, repetitions=count)
        table = session.store.get(address, partial(rows, job, count, along))
        return [Outcome(cell, "ok", f"{count} processes", count, table)]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Peak bytes."""
        for outcome in mine(self, outcomes).values():
            yield outcome, values(outcome.data, suite.level)
