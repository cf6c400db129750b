"""What a run folder held before, and the rule by which results are replaced.

**The rule.** A cell that has figures does not lose them because it fails now. Where it fails, and what is measured is
the same as before (problem, estimator and their versions, precision, device, vdbench and torch: its *basis*), the
rows of its place stay as they were: rows of one place are computed together. New rows are added to them where there
were none. Rows of an estimator whose basis has changed, and rows against it, are not kept. All other rows are those
of this session. ``run.json`` says of a cell that keeps its figures why it failed (``kept``), and the exit code is 1.

Only results with a seal are trusted with this: their seal has the run, the cells with figures and the blocks read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdbench.measures.cells import Cell, named
from vdbench.runner.record import CHANGEABLE
from vdbench.runner.results import FILE, KIND, Row
from vdbench.store import Damaged, Ledger, digest, tables
from vdbench.suite.schema import Suite

Key = tuple[Any, ...]


def run_identity(suite: Suite, device: str, only: Sequence[str]) -> str:
    """A hash of what makes a run this run: suite, device and chosen estimators.

    Without the suite's description and limits, and without keys at their defaults: versions add some.
    """
    asked = suite.model_dump(mode="json", exclude=set(CHANGEABLE), exclude_defaults=True)
    return digest({"suite": asked, "device": device, "only": list(only)})


@dataclass
class Earlier:
    """The results of the sessions before this one; nothing by default.

    Attributes:
        run: Identity of the run; '' where it is not known.
        rows: Of ``results.parquet``.
        cells: Entries of ``run.json`` of the cells with figures, each with its ``basis``.
        files: Blocks and checkpoints that they came from.
        bases: Of this session, by problem and label.
        kept: Cells of this session that failed and keep their figures.
    """

    run: str = ""
    rows: list[Row] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    bases: dict[tuple[str, str], str] = field(default_factory=dict)
    kept: list[Cell] = field(default_factory=list)
    _by_key: dict[Key, dict[str, Any]] = field(default_factory=dict)
    _by_place: dict[Key, list[Row]] = field(default_factory=dict)
    _then: dict[tuple[str, str], str] = field(default_factory=dict)

    def of(self, cell: Cell) -> dict[str, Any] | None:
        """What the record said of a cell that had figures of the same basis; None if it had none."""
        if len(self._by_key) != len(self.cells):
            self._by_key = {named(one): one for one in self.cells}
        found = self._by_key.get(named(cell.record))
        if found is None or found["basis"] != self.bases[cell.problem, cell.label]:
            return None
        return {k: v for k, v in found.items() if k != "basis"}

    def joined(self, cells: Iterable[Cell], rows: list[Row]) -> list[Row]:
        """The rows of a place at which some cells failed that had figures before.

        Args:
            cells: Those cells.
            rows: Of this session, without rows of their failure.
        """
        self.kept += cells
        if not self._by_place:
            for row in self.rows:
                self._by_place.setdefault(_row_place(row), []).append(row)
            self._then = {(c["problem"], c["estimator"]): c["basis"] for c in self.cells}
        places = dict.fromkeys(_place(cell) for cell in cells)
        stay = [row for p in places for row in self._by_place.get(p, ()) if self._same(row)]
        known = {row_key(row) for row in stay}
        return stay + [row for row in rows if row_key(row) not in known]

    def _same(self, row: Row) -> bool:
        """Whether a row is of an estimator, and against one, that are what they were."""
        if row["samples"] == 0 or row["status"] == "failed":
            return False
        then = self._then
        who = [(row["problem"], row["label"])]
        # against another estimator, or the same one on another problem
        who += [
            other
            for other in ((row["problem"], row["against"]), (row["against"], row["label"]))
            if other in then
        ]
        return all(then.get(one) == self.bases.get(one, "") for one in who)


def _place(cell: Cell) -> Key:
    return (cell.problem, cell.checkpoint, cell.batch_size)


def _row_place(row: Row) -> Key:
    return (row["problem"], row["checkpoint"], row["batch_size"])


def row_key(row: Row) -> Key:
    """What tells a row from others."""
    step = None if math.isnan(row["step"]) else row["step"]
    names = ("label", "options", "metric", "layer", "role", "against", "precision")
    return (*_row_place(row), step, *(row[name] for name in names), row.get("mode") or "")


def read(folder: Path, run: str, ledger: Ledger) -> Earlier:
    """Read what a run folder holds; tables that are damaged or of another run are set aside.

    Args:
        folder: The run folder.
        run: Identity of the run that it must be of; '' for any.
        ledger: Told of what does not fit.
    """
    found = Earlier()
    for name in (FILE, "training.parquet"):
        path = folder / name
        try:
            frame, content = tables.read_frame(path)
            said = content.address or {}
            if content.sealed and (said.get("kind") != KIND[name] or run not in ("", said["run"])):
                raise Damaged("it is another run's", "misplaced")
            ledger.accept(path, content.sealed)
        except FileNotFoundError:
            continue
        except Damaged as error:
            ledger.set_aside(path, str(error))
            continue
        if name == FILE and content.sealed:
            rows = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
            found = Earlier(said["run"], rows, said["cells"], said["files"])
    return found
