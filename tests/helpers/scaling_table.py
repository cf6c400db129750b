"""How the time and memory of a run's bookkeeping grow with its blocks.

``python tests/helpers/scaling_table.py FOLDER [BLOCKS…]`` prints the table (``make scaling``). A run of so many blocks
is made with a measure whose units cost nothing: numbers are drawn where gradients would be. All else is as in any run:
addresses, seals, files, looks, table. Each phase is a process of its own; what is printed is its CPU time and its peak
memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

A_CELL = 100
"""Blocks of a cell."""
A_PLACE = 10
"""Cells of a place; a problem has one place."""
SIZES = (1_000, 10_000, 100_000)
PHASES = ("measure", "resume", "verify", "merge", "report")
PLACES_DRAWN = 10
"""Places up to which the report is written: its pictures take seconds a place."""


def suite(blocks: int) -> dict[str, Any]:
    """A suite with so many blocks."""
    options = {"widths": [3]}
    problems = max(1, blocks // (A_CELL * A_PLACE))
    return {
        "name": "scaling",
        "threads": 1,
        "problems": [
            {"name": f"p{n}", "factory": "classification", "options": options}
            for n in range(problems)
        ],
        "batch_sizes": [4],
        "estimators": [
            "naive",
            {"name": "score", "options": {"samples": list(range(1, A_PLACE))}},
        ],
        "baseline": "naive",
        "measures": {
            "variance": {"first_units": 4, "max_units": 4 * A_CELL, "precision": 1e-6}
        },
    }  # fmt: skip


def run(folder: Path, blocks: int, stored_only: bool = False) -> None:
    """Measure without gradients; or make the table of what there is."""
    import vdbench
    from vdbench.measures import variance_units
    from vdbench.store import Store, files

    real, like = variance_units.rows, {}

    def rows(context: Any, start: int, stop: int) -> Any:
        name = context.label
        if name not in like:
            like[name] = real(context, start, stop)
        generator = np.random.Generator(np.random.PCG64([start, len(name)]))
        factor = generator.lognormal(size=stop - start)
        return {key: values * factor for key, values in like[name].items()}

    # how long a disk takes is not the question here, and there is no estimator to guard against
    with (
        mock.patch.object(variance_units, "rows", rows),
        mock.patch.object(files, "sync"),
        mock.patch.object(Store, "guard"),
    ):
        done = vdbench.run(suite(blocks), folder, isolate=False, stored_only=stored_only)
    assert not done.failed


def halves(folder: Path) -> list[Path]:
    """Two runs with half of the blocks each."""
    made = []
    for part in (0, 1):
        place = folder.with_name(f"{folder.name}-half-{part}")
        for name in ("blocks", "checkpoints"):
            (place / name).mkdir(parents=True, exist_ok=True)
            for number, path in enumerate(sorted((folder / name).iterdir())):
                if name == "checkpoints" or number % 2 == part:
                    os.link(path, place / name / path.name)
        (place / "run.json").write_bytes((folder / "run.json").read_bytes())
        made.append(place)
    return made


def phase(name: str, folder: Path, blocks: int) -> dict[str, float]:
    """Do one phase in this process, and say what it took."""
    import warnings

    warnings.simplefilter("ignore")
    import reports
    import vdbench
    from vdbench.runner import merge, verify

    parts = halves(folder) if name == "merge" else []
    began, before = time.perf_counter(), time.process_time()
    if name == "measure":
        run(folder, blocks)
    elif name == "resume":
        run(folder, blocks, stored_only=True)
    elif name == "verify":
        assert not verify.verify(folder).bad
    elif name == "merge":
        defaults: Any = merge.run.__kwdefaults__
        defaults["isolate"] = False
        assert merge.merge(parts, folder.with_name(f"{folder.name}-merged")).finished
    elif name == "report":
        reports.write([folder])
    assert vdbench.__version__
    return {
        "cpu": time.process_time() - before,
        "wall": time.perf_counter() - began,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def main() -> None:
    """Print a row for each size and phase."""
    folder, *more = sys.argv[1:]
    if more and more[0] in PHASES:
        print(json.dumps(phase(more[0], Path(folder), int(more[1]))))
        return
    print(f"{'blocks':>8}{'cells':>7}  {'phase':10}{'CPU s':>9}{'ms a block':>12}{'peak MiB':>10}")
    for blocks in map(int, more or SIZES):
        place = Path(folder) / str(blocks)
        os.environ["VDBENCH_CACHE"] = str(Path(folder) / "cache")
        for name in PHASES:
            if name == "report" and blocks // (A_CELL * A_PLACE) > PLACES_DRAWN:
                continue
            call = [sys.executable, __file__, str(place), name, str(blocks)]
            took = json.loads(
                subprocess.run(call, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]
            )
            each = 1000 * took["cpu"] / blocks
            print(
                f"{blocks:>8}{blocks // A_CELL:>7}  {name:10}{took['cpu']:>9.1f}{each:>12.2f}{took['memory']:>10.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
