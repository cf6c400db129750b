"""Where a run is that goes on elsewhere, from its folder alone: what its record plans, and the blocks there so far."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdbench.cli.pace import in_words
from vdbench.estimation.options import canonical, identity
from vdbench.measures.cells import named
from vdbench.measures.registry import FullSuite
from vdbench.runner import plan
from vdbench.store import records, tables

PART_OF = {"few-examples": "variance", "independence": "variance"}
"""Blocks that belong to another measure's cells."""


@dataclass
class Watched:
    """A run folder that is looked at again and again.

    Attributes:
        folder: Which.
    """

    folder: Path
    _addresses: dict[str, dict[str, Any]] = field(default_factory=dict)

    def look(self) -> Look:
        """Where the run is now.

        Raises:
            InputError: The folder has no run.
        """
        record = records.of_run(self.folder)
        newest = self._read_new()
        suite = FullSuite.model_validate(record["suite"])
        cells = plan.cells(suite, tuple(record["only"]))
        where = {
            _cell(cell.measure, cell.estimator, cell.place.key(suite.seed).path, cell.mode)
            for cell in cells
        }
        begun = {w for a in self._addresses.values() for w in _cells_of(a) if w in where}
        known = {named(c) for c in record["cells"]}
        failed = sum(c["status"] == "failed" for c in record["cells"])
        return Look(
            cells=len(cells),
            begun=max(len(begun), len(known)),
            ended=len(known),
            failed=failed,
            blocks=len(self._addresses),
            finished="finished" in record,
            newest=_said(newest[1]) if newest else "",
            age=max(0.0, time.time() - newest[0]) if newest else None,
        )

    def _read_new(self) -> tuple[float, dict[str, Any]] | None:
        """Read the addresses of blocks that have come; when the newest was written, and what it is of."""
        newest: tuple[float, str] | None = None
        for path in (self.folder / "blocks").glob("*.parquet"):
            try:
                written = path.stat().st_mtime
                if path.name not in self._addresses:
                    self._addresses[path.name] = tables.address(path)
            except (
                OSError,
                ValueError,
            ):  # set aside at this moment, or damaged: the run sees to it
                continue
            newest = max(newest or (written, path.name), (written, path.name))
        return None if newest is None else (newest[0], self._addresses[newest[1]])


@dataclass(frozen=True)
class Look:
    """What a look at a run folder shows.

    Attributes:
        cells: In the plan.
        begun: Of which there are figures.
        ended: That the record says to have ended; it is written as the last cell of a place ends.
        failed: Of these.
        blocks: Blocks so far.
        finished: Whether the run has come to its end.
        newest: What the newest block is of.
        age: Seconds since it was written; None without one.
    """

    cells: int
    begun: int
    ended: int
    failed: int
    blocks: int
    finished: bool
    newest: str
    age: float | None

    def __str__(self) -> str:
        """One line."""
        failed = f", {self.failed} failed" if self.failed else ""
        if self.finished:
            return f"finished: {self.ended} of {self.cells} cells{failed}"
        last = ""
        if self.age is not None:
            last = f"; newest block {in_words(self.age)} ago: {self.newest}"
        return f"{self.begun} of {self.cells} cells begun, {self.ended} ended{failed}; {self.blocks} blocks{last}"


def _cells_of(address: Mapping[str, Any]) -> list[str]:
    """The cells that a block is of, as `_cell` names them; a pass of several estimators is of several."""
    measure = PART_OF.get(str(address.get("measure")), address.get("measure"))
    group = address.get("group") or [address.get("estimator")]
    modes = address.get("modes") or ["eager" if "group" in address else ""] * len(group)
    each = zip(group, modes, strict=True)
    return [canonical([measure, one, address.get("place"), mode]) for one, mode in each]


def _cell(measure: str, estimator: Any, place: Any, mode: str) -> str:
    return canonical([measure, identity(estimator), json.loads(json.dumps(list(place))), mode])


def _said(address: Mapping[str, Any]) -> str:
    """What a block is of, in words."""
    name = (address.get("estimator") or ["?"])[0]
    units = address.get("units") or address.get("span")
    upto = f", units to {units[1]}" if units else ""
    seed = f", seed {address['training'] + 1}" if isinstance(address.get("training"), int) else ""
    return f"{address.get('measure')} of {name}{upto}{seed}"
