"""What a cell costs beside its work: ``python tests/helpers/cell_overhead.py [MOST]`` (part of ``make scaling``).

Suites of few and of many cells, each of which takes as good as no work, are run in every way, in turn. The difference
of their wall times over that of their numbers of cells is the seconds a cell; what the same cells take in one process
with nothing around them is the work. Ray is left out where it is not installed.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vdbench

FEW = 4
"""Minibatch sizes of the smaller suite; there are two estimators at each."""

ROUNDS = 3
"""How often each way is timed."""

WORKERS = (1, 2, 4)


def suite(sizes: int) -> dict[str, Any]:
    """A suite of ``2 * sizes`` cells."""
    return {
        "name": "overhead",
        "threads": 1,
        "problems": [{"name": "p", "factory": "classification", "options": {"widths": [3]}}],
        "checkpoints": ["initial"],
        "batch_sizes": [*range(2, 2 + sizes)],
        "estimators": ["naive", "local"],
        "baseline": "naive",
        "measures": {"variance": {"first_units": 4, "max_units": 4}},
    }


def ways() -> Iterator[tuple[str, dict[str, Any]]]:
    """Names of ways to run, with what `vdbench.run` is given."""
    yield "one process", {"isolate": False}
    for workers in WORKERS:
        yield f"--jobs {workers}", {"isolate": True, "jobs": workers}
    if importlib.util.find_spec("ray"):
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        for workers in WORKERS:
            options = {"cpus": workers}
            yield (
                f"Ray, {workers} CPUs",
                {"isolate": True, "engine": "ray", "engine_options": options},
            )


def wall(sizes: int, how: dict[str, Any]) -> float:
    """Seconds of a whole run."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        finished = vdbench.run(suite(sizes), Path(folder) / "run", **how)
        took = time.perf_counter() - began
    if finished.failed:
        raise SystemExit(f"{finished.failed} cells failed with {how}.")
    return took


def main() -> None:
    """Print the table."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    more = 2 * (most - FEW)
    seconds: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, how in ways():
            each = (wall(most, how) - wall(FEW, how)) / more
            seconds.setdefault(name, []).append(each)
            print(f"{name}: {each:.4f} s", flush=True)
    work = statistics.median(seconds["one process"])
    print(f"\n| way | seconds a cell (range of {ROUNDS}) | beside its work |\n|---|---|---|")
    for name, found in seconds.items():
        middle = statistics.median(found)
        print(
            f"| {name} | {middle:.3f} ({min(found):.3f} to {max(found):.3f}) | {middle - work:.3f} |"
        )


if __name__ == "__main__":
    main()
