"""Peak memory of one gradient, each repetition in a process of its own.

A helper process imports what is needed and measures nothing itself; it forks once a repetition, before any
tensor has been computed. The repetition builds the cell, takes one gradient to warm up libraries, and then
measures the peak of a second: on Linux the resident set's high-water mark above the resident set before the
gradient, on a GPU the peak of what torch's allocator handed out above what it held. Linux counts resident pages
in batches of some 256 KiB a thread: figures of a few MiB are coarse.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vdbench import statistics
from vdbench.errors import CellError, one_line
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import options
from vdbench.measures import expected
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.context import Context
from vdbench.measures.expected import Expected
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
    with Helper(along) as helper:
        return helper.rows(job, repetitions)


class Helper:
    """The helper process, started at the first job and again after one that failed; it takes any number of jobs."""

    def __init__(self, along: Any = NOTHING) -> None:
        """Nothing is started yet; ``along`` as of the function `rows`."""
        self._along = along
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> None:
        """Start the process, so that it imports while this one does other things."""
        if self._process is None:
            content = _packed(self._along)
            self._process = self._started()
            self._send(f"{len(content)}\n".encode() + content)

    def rows(self, job: Mapping[str, Any], repetitions: int) -> Table:
        """Measure; arguments, result and errors as of the function `rows`."""
        self.begin()
        self._send(json.dumps({**job, "repetitions": repetitions}).encode() + b"\n")
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            lines = self.close() or ["it said nothing"]
            raise CellError(f"measuring memory in a process of its own failed: {lines[-1]}")
        return {"bytes": np.array(json.loads(line), dtype=np.float64)}

    def _send(self, content: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(content)
            self._process.stdin.flush()

    def _started(self) -> subprocess.Popen[bytes]:
        # -P: modules are looked up where this process does, and not in the current folder first
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "vdbench.measures.memory_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, "PYTHONPATH": path},
        )

    def close(self) -> list[str]:
        """End the process; what it said on stderr, line by line."""
        process, self._process = self._process, None
        if process is None:
            return []
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        code = process.wait()
        with self._said as said:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
        return lines or ([f"exit code {code}"] if code else [])


def job_of(
    problem: Mapping[str, Any] | None,
    parameters: Path,
    context: Mapping[str, Any],
    estimator: Estimator,
) -> dict[str, Any]:
    """A job for the helper process.

    Args:
        problem: Name, factory and options; None for one that is sent along.
        parameters: File of the checkpoint.
        context: ``batch_size``, ``device``, ``precision``, ``key`` (the path of the noise), ``noise`` (how it
            is made), ``threads``, ``plugins``.
        estimator: Which.
    """
    return {
        "problem": None if problem is None else dict(problem),
        "parameters": str(parameters.resolve()),
        "estimator": estimator.declaration.name,
        "options": options(estimator),
        **context,
    }


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

    def memory(self, suite: Suite, cell: Cell, context: Context, limit: int) -> Expected:
        """One gradient."""
        return expected.one(context)

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """One process a repetition."""
        (cell,) = cells
        context = site.context(cell.estimator)
        problem = next(p for p in session.suite.problems if p.name == cell.problem)
        assert site.file is not None
        held = problem.factory == GIVEN
        along = (site.problem.to("cpu", site.problem.dtype) if held else None, registry.others())
        about = {
            "batch_size": cell.batch_size,
            "device": session.device.type,
            "precision": session.suite.precision,
            "key": list(context.key.path),
            "noise": context.key.noise,
            "threads": torch.get_num_threads(),
            "plugins": list(session.plugins),
        }
        named = None if held else problem.model_dump(include={"name", "factory", "options"})
        job = job_of(named, site.file, about, cell.estimator)
        count = self.asked(session.suite).repetitions
        address = session.address(context, self.name, VERSION, repetitions=count)
        table = session.store.get(address, partial(rows, job, count, along))
        return [Outcome(cell, "ok", f"{count} processes", count, table)]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Peak bytes."""
        for outcome in mine(self, outcomes).values():
            yield outcome, values(outcome.data, suite.level)
