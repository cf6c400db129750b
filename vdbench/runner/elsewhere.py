"""Jobs done on other machines by an engine, before their figures are read here.

The run goes on as if it were resumed: it finds the blocks, and makes the table of them. What failed elsewhere has
failed; it is not tried again here. What the engine has lost has failed, too, and the same command goes on with it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import torch

from vdbench.measures.cells import Cell, named
from vdbench.measures.session import Session
from vdbench.problems.problem import Problem
from vdbench.runner.bench import Job
from vdbench.runner.orders import Engine, Order, Receipt, packed, versions
from vdbench.store import now, shares

PREFETCH = 256
"""Files that are fetched from a URL at once."""


@dataclass
class Taken:
    """What has come back of jobs that were done elsewhere.

    Attributes:
        cells: What became of cells, as ``run.json`` says it, by cell.
        lost: In words why there is no receipt of a job, by its name.
        untrained: Why a checkpoint could not be trained, by problem and checkpoint.
        files: What the machines have read or written.
        machines: By host, its environment and how many cells it has measured.
    """

    cells: dict[Cell, dict[str, Any]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    untrained: dict[tuple[str, str], str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)

    def seconds(self, cell: Cell) -> float:
        """That a cell took where it was measured; 0 where it was not."""
        found = self.cells.get(cell)
        return float(found["seconds"]) if found else 0.0


@dataclass
class Absence:
    """A run whose jobs are done elsewhere.

    Attributes:
        session: The run's.
        engine: Who has them done.
        cells: The plan.
        only: Estimators that were chosen, by name.
        allowed: Code that the user let the suite run.
        held: Problems that were handed over as objects, by name.
        taken: What has come back.
        seconds: That the engine took.
    """

    session: Session
    engine: Engine
    cells: Sequence[Cell]
    only: tuple[str, ...]
    allowed: Sequence[str]
    held: Mapping[str, Problem]
    taken: Taken = field(default_factory=Taken)
    seconds: float = 0.0
    _fetch: list[str] = field(default_factory=list)

    def done(self, todo: Sequence[Job]) -> dict[int, str]:
        """Have jobs done; why cells failed, by their numbers.

        Raises:
            InputError: The engine, or the URL, cannot be used.
        """
        self._known = {named(cell.record): cell for cell in self.cells}
        if self.engine.url:
            shares.use(self.session.folder, self.engine.url).probe()
        began = time.perf_counter()
        self.engine.do(self._order(), todo, self.took, self.session.progress.note)
        self._prefetch(0)
        self.seconds = time.perf_counter() - began
        self._say_machines(todo)
        return self._failed(todo)

    @property
    def about(self) -> dict[str, Any]:
        """What the record says of it."""
        return {"name": self.engine.name, "seconds": self.seconds, "url": bool(self.engine.url)}

    @property
    def machines(self) -> list[dict[str, Any]]:
        """What the record says of the machines."""
        return list(self.taken.machines.values())

    def _order(self) -> Order:
        session = self.session
        return Order(
            key=secrets.token_hex(8),
            identity=session.identity,
            suite=session.suite,
            folder=str(session.folder.resolve()),
            url=self.engine.url,
            device=session.device.type,
            only=self.only,
            allowed=tuple(self.allowed),
            plugins=tuple((Path(f).name, Path(f).read_bytes()) for f in session.plugins),
            others=packed(),
            held=cloudpickle.dumps(dict(self.held), protocol=5),
            threads=torch.get_num_threads(),
            versions=versions(),
        )

    def took(self, names: Sequence[str], receipt: Receipt | str) -> None:
        """Take in what became of jobs."""
        taken, session = self.taken, self.session
        if isinstance(receipt, str):
            taken.lost.update(dict.fromkeys(names, receipt))
            return
        for line in receipt.said:
            session.progress.note(f"{receipt.machine['host']}: {line}")
        for cell in receipt.cells:
            whose = self._known[named(cell)]
            if whose not in taken.cells:
                session.progress.done(str(whose), cell["status"], cell["reason"])
            taken.cells[whose] = cell
        for problem, checkpoint, cause in receipt.untrained:
            taken.untrained[problem, checkpoint] = cause
        taken.files.update(receipt.files)
        session.store.ledger.found += receipt.damaged
        machine = taken.machines.setdefault(
            receipt.machine["host"],
            {"environment": receipt.machine["environment"], "when": now(), "cells": 0},
        )
        machine["cells"] += len(receipt.cells)
        self._fetch += receipt.files
        self._prefetch(PREFETCH)

    def _prefetch(self, least: int) -> None:
        """Fetch what machines have left at the URL, many files at once."""
        share = shares.of(self.session.folder / "blocks" / "any")
        if share is not None and len(self._fetch) > least:
            share.fetch_all(dict.fromkeys(self._fetch))
            self._fetch.clear()

    def _say_machines(self, todo: Sequence[Job]) -> None:
        """Where times were taken on processors of several kinds, say so."""
        timed = any(job.alone for job in todo)
        kinds = {_processor(one["environment"]) for one in self.taken.machines.values()}
        if timed and len(kinds) > 1:
            said = ", ".join(sorted(kinds))
            self.session.progress.note(
                f"machines of several kinds took part ({said}): compare times within one place alone."
            )

    def _failed(self, todo: Sequence[Job]) -> dict[int, str]:
        taken, found = self.taken, {}
        for job in todo:
            for number in job.cells:
                cell = taken.cells.get(self.cells[number])
                if cell is not None and cell["status"] == "failed":
                    found[number] = cell["reason"]
                elif cell is None:
                    found[number] = self._why(job)
        return found

    def _why(self, job: Job) -> str:
        """Why a cell has no receipt."""
        cause = self.taken.untrained.get((job.place.problem, job.place.checkpoint))
        if cause is not None and not job.place.trains:
            return f"checkpoint {job.place.checkpoint}: {cause}"
        why = self.taken.lost.get(job.name, "no receipt came back")
        return f"{self.engine.name} has lost it, {why}; the same command goes on with it"


def _processor(environment: Mapping[str, Any]) -> str:
    device = environment.get("device") or {}
    return str(device.get("name") or (environment.get("cpu") or {}).get("model") or "unknown")
