"""One run by several processes: who does which jobs, and what each leaves for the run.

The jobs of a part follow from what they are, not from how many there are or who has begun. Each process writes sealed
blocks, and a receipt of what became of its cells. The run that follows finds the blocks, measures what is missing, and
writes the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdbench.errors import InputError
from vdbench.measures.session import Session
from vdbench.runner import environment
from vdbench.runner.bench import Job
from vdbench.store import Damaged, atomic, now, records

FOLDER = "receipts"

EVERY = 10.0
"""Seconds between two writings of a receipt: it lists all cells so far."""


@dataclass
class Part:
    """Some of the jobs of a run, done by one process.

    Attributes:
        name: Of its receipt.
        mine: Whether a job that measures is one of them.
        about: What else its receipt says of it.
        kept: Whether the receipt is written into the run folder.
        cells: What became of its cells so far, as ``run.json`` says it.
        untrained: Checkpoints that could not be trained, ``problem`` and ``checkpoint``, with the cause.
    """

    name: str
    mine: Callable[[Job], bool]
    about: dict[str, Any] = field(default_factory=dict)
    kept: bool = True
    cells: list[dict[str, Any]] = field(default_factory=list)
    untrained: list[tuple[str, str, str]] = field(default_factory=list)
    _written: float = 0.0

    def of_jobs(self, every: Sequence[Job]) -> list[Job]:
        """Its jobs, in order, with the trainings of the checkpoints that they need."""
        mine = [job for job in every if job.measure and self.mine(job)]
        needed, kept = {job.place[:2] for job in mine}, set(mine)
        return [j for j in every if j in kept or (not j.measure and j.place[:2] in needed)]

    def receive(self, session: Session, cells: Sequence[dict[str, Any]]) -> None:
        """Note what became of cells; now and then, write the receipt."""
        self.cells += cells
        if time.monotonic() - self._written > EVERY:
            self.close(session)

    def receipt(self, session: Session) -> dict[str, Any]:
        """What became of the cells so far, and where."""
        return {
            **self.about,
            "when": now(),
            "cells": self.cells,
            "damaged": session.store.ledger.found,
            "environment": environment.describe(session.device.type),
        }

    def close(self, session: Session) -> None:
        """Write the receipt, where it is kept.

        Raises:
            InputError: The folder cannot be written to.
        """
        if not self.kept:
            return
        try:
            with atomic(session.folder / FOLDER / f"{self.name}.json") as temporary:
                temporary.write_text(records.text(self.receipt(session)), encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"--out {session.folder}: it cannot be written to, {error.strerror}."
            ) from error
        self._written = time.monotonic()


def numbered(index: int, of: int) -> Part:
    """The part of a number: its jobs are those whose name, a hash, leaves that remainder.

    Args:
        index: Which, from 0.
        of: How many parts there are.

    Raises:
        InputError: There is no such part.
    """
    if not (0 <= index < of <= 10**6):
        raise InputError(
            f"--index {index} --of {of}: expected an index from 0 to one less than the number of parts."
        )
    name, about = f"{index}-of-{of}", {"index": index, "of": of}
    return Part(name, lambda job: int(job.name, 16) % of == index, about)


def read(folder: Path) -> list[dict[str, Any]]:
    """The receipts of a run folder; those that are damaged are left out, for no figure comes from them."""
    found = []
    for path in sorted((folder / FOLDER).glob("*-of-*.json")):
        try:
            content = records.read(path)
        except (Damaged, OSError):
            continue
        kept = {key: content.get(key) for key in ("index", "of", "when", "environment")}
        found.append({**kept, "cells": len(content.get("cells", []))})
    return found
