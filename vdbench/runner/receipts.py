"""One run by several processes that share its folder: who does which jobs, and what each leaves for the run.

The part of a job follows from what it is, not from how many there are or who has begun. Each process writes sealed
blocks, and a receipt of what became of its cells. The run that follows finds the blocks, measures what is missing, and
writes the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdbench.errors import InputError
from vdbench.measures.session import Session
from vdbench.runner import environment
from vdbench.runner.bench import Job
from vdbench.store import Damaged, atomic, now, records

FOLDER = "receipts"


@dataclass
class Part:
    """One of several parts of a run.

    Attributes:
        index: Which, from 0.
        of: How many.
        cells: What became of its cells so far, as ``run.json`` says it.
    """

    index: int
    of: int
    cells: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse a part that there is not.

        Raises:
            InputError: There is no such part.
        """
        if not (0 <= self.index < self.of <= 10**6):
            raise InputError(
                f"--index {self.index} --of {self.of}: expected an index from 0 to one less than "
                "the number of parts."
            )

    def of_jobs(self, every: Sequence[Job]) -> list[Job]:
        """Its jobs, in order, with the trainings of the checkpoints that they need."""
        mine = [job for job in every if job.measure and int(job.name, 16) % self.of == self.index]
        needed, kept = {job.place[:2] for job in mine}, set(mine)
        return [j for j in every if j in kept or (not j.measure and j.place[:2] in needed)]

    def receive(self, session: Session, cells: Sequence[dict[str, Any]]) -> None:
        """Note what became of cells, and write the receipt.

        Raises:
            InputError: The folder cannot be written to.
        """
        self.cells += cells
        about = environment.describe(session.device.type)
        content = {
            "index": self.index,
            "of": self.of,
            "when": now(),
            "cells": self.cells,
            "damaged": session.store.ledger.found,
            "environment": about,
        }
        try:
            with atomic(session.folder / FOLDER / f"{self.index}-of-{self.of}.json") as temporary:
                temporary.write_text(records.text(content), encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"--out {session.folder}: it cannot be written to, {error.strerror}."
            ) from error


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
