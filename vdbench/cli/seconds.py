"""How long cells took on this machine: kept after a run, in the cache, and read by ``vdbench run --dry-run``.

What is kept of a cell is its seconds and the gradients that were planned for it at most. A run is kept if its folder
was new and its cells were measured one at a time: only then do the seconds of a cell belong to it alone.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vdbench.measures.cells import Cell
    from vdbench.suite.schema import Suite

MOST = 20_000
"""Cells that are kept; the oldest go first."""


def keep(folder: Path) -> None:
    """Keep the seconds of a run's cells; a cache that cannot be written to is left alone."""
    from vdbench.measures.registry import FullSuite
    from vdbench.runner import plan
    from vdbench.store import Damaged, atomic, records

    with contextlib.suppress(OSError, Damaged):
        record = records.read(folder / "run.json")
        suite = FullSuite.model_validate(record["suite"])
        took = {_where(cell): cell for cell in record["cells"] if cell["status"] != "failed"}
        kept = _read()
        for cell in plan.cells(suite, tuple(record["only"])):
            found = took.get(_where(cell.record))
            if found is not None:
                most = plan.work(suite, cell)[1]
                kept.pop(key := _key(suite, cell, record["device"]), None)
                kept[key] = (found["seconds"], most)
        newest = dict(list(kept.items())[-MOST:])
        with atomic(_file()) as temporary:
            temporary.write_text(json.dumps(newest, indent=0), encoding="utf-8")


def known(suite: Suite, cells: list[Cell], device: str) -> list[float | None]:
    """Seconds that each cell is expected to take, from when it was last measured on this machine; None for no record.

    They are scaled by the gradients that are planned at most, now and then.
    """
    from vdbench.runner import plan

    kept, found = _read(), list[float | None]()
    for cell in cells:
        one = kept.get(_key(suite, cell, device))
        if one is None:
            found.append(None)
            continue
        seconds, most = one
        found.append(seconds * max(1, plan.work(suite, cell)[1]) / max(1, most))
    return found


def _key(suite: Suite, cell: Cell, device: str) -> str:
    """What the seconds of a cell depend on most."""
    problem = next(p for p in suite.problems if p.name == cell.problem)
    about = [
        device, suite.threads, suite.precision, cell.measure, cell.label, cell.batch_size, cell.checkpoint,
        problem.factory, problem.options, *([cell.mode] if cell.record.get("mode") else []),
    ]  # fmt: skip
    return json.dumps(about, sort_keys=True, default=str)


def _where(row: dict[str, Any]) -> tuple[Any, ...]:
    from vdbench.measures.cells import named

    return named(row)


def _file() -> Path:
    from vdbench.datasets.files import cache_folder

    return cache_folder() / "seconds.json"


def _read() -> dict[str, tuple[float, int]]:
    """What is kept; nothing where the file is not there or damaged."""
    try:
        content = json.loads(_file().read_text(encoding="utf-8"))
        return {str(k): (float(s), int(most)) for k, (s, most) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
