"""Killed runs: a run is killed at random moments, taken up each time, and compared with one that nobody disturbed.

A campaign runs ``vdbench run`` on a small suite of its own (embedded data, two checkpoints, every measure but memory)
in a process of its own, and sends it SIGKILL so many times: each time once a random number of blocks is there and a
random while has passed. Then it is let go to its end. Every figure but times, and what is computed from them, must
equal the undisturbed run's bit by bit, and no block that a killed run had left may have been written again.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from vdbench.errors import CellError
from vdbench.measures.instrument.launcher import PATIENCE, Launched, Launcher

if TYPE_CHECKING:
    import pandas as pd

VERSION = "1"
"""Changes whenever a campaign is another; part of every block's address."""

SUITE: dict[str, Any] = {
    "name": "stopped",
    "threads": 1,
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "checkpoints": ["initial", {"epochs": 20, "batch_size": 32}],
    "batch_sizes": [16],
    "estimators": [
        "deterministic",
        "naive",
        "per-example",
        "local",
        {"name": "score", "options": {"samples": 2, "baseline": "leave-one-out"}},
    ],
    "baseline": "naive",
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 1},
        "variance": {"first_units": 8, "max_units": 32, "precision": 0.01},
        "bias": {"units": 8, "draws": 2},
        "convergence": {"steps": 60, "evaluations": 2, "seeds": 2, "samples": 2, "examples": 100},
    },
}
"""The suite that is killed."""

TIMED = r"(?:^|\.)(?:time|throughput|memory|efficiency)\.|^convergence\.seconds_to_target$"
"""Metrics outside the promise: times, throughput, memory, and what is computed from them."""


def blocks(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of writing of every block of a run."""
    found = [(p.name, p.stat()) for p in (out / "blocks").glob("*.parquet")]
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found}


def written(out: Path) -> int:
    """When run.json was last written, in nanoseconds; 0 where there is none."""
    file = out / "run.json"
    return file.stat().st_mtime_ns if file.exists() else 0


def untimed(out: Path) -> pd.DataFrame:
    """The figures of a run that are promised to be equal."""
    import pandas as pd

    table = pd.read_parquet(out / "results.parquet").drop(columns="seconds")
    return table[~table["metric"].str.contains(TIMED)].reset_index(drop=True)


def chunks(out: Path) -> Any:
    """Draws taken together, as run.json has them."""
    return json.loads((out / "run.json").read_text(encoding="utf-8"))["chunks"]


@dataclass(frozen=True)
class Campaign:
    """What became of one run that was killed.

    Attributes:
        kills: How often it was.
        equal: Whether it ended with the figures of the undisturbed run.
        rewritten: Blocks that were there and were written again.
        figures: How many were compared.
    """

    kills: int
    equal: bool
    rewritten: int
    figures: int


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed, and those that are compared with it.

    Attributes:
        folder: Of all of them: the suite's file, this run in ``whole``, and what campaigns leave while they run.
        launcher: Starts runs.
        report: Whether runs write their report.
    """

    folder: Path
    launcher: Launcher
    report: bool = False

    @property
    def whole(self) -> Path:
        """The run folder."""
        return self.folder / "whole"

    def start(self, name: str) -> Launched:
        """Start a run in a folder of that name, or take it up."""
        suite, cache = self.folder / "suite.yaml", self.folder / f"{name}-cache"
        return self.launcher.start(suite, self.folder / name, cache, self.report)

    def make(self) -> None:
        """Run it, or take it up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "suite.yaml").write_text(yaml.safe_dump(SUITE), encoding="utf-8")
        self.start("whole").finish()

    def equal(self, out: Path) -> tuple[bool, int]:
        """Whether another run has exactly these figures, blocks and chunks, and how many figures there are."""
        mine, other = untimed(self.whole), untimed(out)
        same = bool(mine.equals(other)) and set(blocks(self.whole)) == set(blocks(out))
        return same and chunks(self.whole) == chunks(out), len(mine)

    def disturb(self, name: str, kills: int, seed: int) -> Campaign:
        """Kill a run ``kills`` times, let it end, and compare; it is taken away if all was well."""
        generator = np.random.Generator(np.random.PCG64(seed))
        out, total = self.folder / name, len(blocks(self.whole))
        # without a report a run ends soon after its last block, and could not be killed for sure
        last = total + 1 if self.report else total - 5
        marks = [0, *sorted(generator.choice(last, min(kills, last) - 1, replace=False))]
        before: dict[str, tuple[int, int]] = {}
        done = rewritten = 0
        for mark in marks:
            if not kill_at(self.start(name), int(mark), generator):
                break
            done += 1
            rewritten += changed(before, blocks(out))
            before = blocks(out)
        self.start(name).finish()
        rewritten += changed(before, blocks(out))
        equal, figures = self.equal(out)
        if equal and not rewritten:
            for folder in (out, self.folder / f"{name}-cache"):
                shutil.rmtree(folder, ignore_errors=True)
            Path(f"{out}.log").unlink(missing_ok=True)
        return Campaign(done, equal, rewritten, figures)


def changed(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> int:
    """How many blocks are gone or were written again."""
    return sum(after.get(name) != status for name, status in before.items())


def kill_at(run: Launched, mark: int, generator: np.random.Generator) -> bool:
    """Kill a run a random while after it is taken up and so many blocks are there.

    Returns:
        Whether it was killed; False where it had ended before.
    """
    before, deadline = written(run.out), time.monotonic() + PATIENCE
    while run.alive and (written(run.out) == before or len(blocks(run.out)) < mark):
        if time.monotonic() > deadline:
            run.kill()
            raise CellError(f"the run in {run.out.name} hangs; see {run.out.name}.log.")
        time.sleep(0.001)
    time.sleep(generator.uniform(0, 0.1))
    return run.kill()
