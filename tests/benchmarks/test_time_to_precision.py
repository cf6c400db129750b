"""Processor time until five estimators are known to ±5 % in every layer: ``vdbench run`` against a fixed loop.

The run is `quick` with its five estimators and the variance measure alone, its stopping rule in force, from the start
of the process to the last figure; the report that follows is timed apart. The loop is `by_hand.py`: it takes as many
units of each estimator as the run's slowest cell took, since whoever writes a loop of fixed length does not know which
will be the slowest. Both are new processes, in turn; processor time counts all processes of a run.

    python -m pytest tests/benchmarks/test_time_to_precision.py --benchmark-only -s
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
ROUNDS = 3
VARIANCE = "measures={variance: {precision: 0.05, max_units: 4096}}"
RUN = "import sys, vdbench; vdbench.run('quick', sys.argv[1], settings=[sys.argv[2]])"
REPORT = ["-m", "vdbench", "report"]


def seconds(words: list[str], out: Path) -> float:
    """Processor time of a new process and all that it waited for."""
    with open(out, "wb") as file:
        redirect = [(os.POSIX_SPAWN_DUP2, file.fileno(), 1)]
        command = [sys.executable, *words]
        pid = os.posix_spawn(
            sys.executable, command, {**os.environ, "OMP_NUM_THREADS": "1"}, file_actions=redirect
        )
        _, status, used = os.wait4(pid, 0)
    assert status == 0, f"{words} ended with status {status}"
    return used.ru_utime + used.ru_stime


def units(folder: Path) -> int:
    """Units of the slowest cell, once all have converged."""
    cells = json.loads((folder / "run.json").read_text())["cells"]
    assert [cell["status"] for cell in cells] == ["converged"] * 5, cells
    return max(cell["n"] for cell in cells)


def widest(folder: Path) -> float:
    """Widest relative half-width of noise and total over layers, roles and estimators."""
    table = pd.read_parquet(folder / "results.parquet")
    asked = table[table.metric.isin(["variance.noise", "variance.total"]) & (table.value > 0)]
    return float(((asked.ci_high - asked.ci_low) / 2 / asked.value).max())


def widest_by_hand(file: Path) -> float:
    """The same of the loop, by the normal interval of its standard errors."""
    found = json.loads(file.read_text())
    parts = [np.array([one["value"], one["error"]]) for one in found.values()]
    value, error = np.concatenate([part.reshape(2, -1) for part in parts], 1)
    known = value > 0
    return float((1.96 * error[known] / value[known]).max())


def test_time_to_precision(benchmark, tmp_path: Path) -> None:
    rows = []
    for number in range(ROUNDS):
        run, loop = tmp_path / f"run{number}", tmp_path / f"loop{number}.json"
        ours = seconds(["-c", RUN, str(run), VARIANCE], tmp_path / "out")
        count = units(run)
        theirs = seconds([str(HERE / "by_hand.py"), str(count)], loop)
        report = seconds([*REPORT, str(run)], tmp_path / "out")
        rows.append((theirs / ours, ours, theirs, report))
        print(
            f"\nround {number + 1}: loop {theirs:.1f} s, run {ours:.1f} s, {theirs / ours:.2f} ×; report {report:.1f};"
            f" slowest cell {count} units; widest ±{100 * widest(run):.1f} % and ±{100 * widest_by_hand(loop):.1f} %"
        )
    ratio = np.array(rows)[:, 0]
    benchmark.extra_info["loop_to_run"] = ratio.tolist()
    print(
        f"time to ±5 %: a loop takes {np.median(ratio):.2f} × the run's processor time "
        f"({ratio.min():.2f} to {ratio.max():.2f})"
    )
    benchmark.pedantic(lambda: None, rounds=1)
