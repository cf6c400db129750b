"""A fault campaign: runs are disturbed, and every figure is compared with those of a run that was not.

``python tests/helpers/fault_campaign.py 1000 [KIND…]`` prints the table of a long one (``make faults``).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fault_kinds import KINDS, SYSTEM, At, Killed

import vdbench
from vdbench.measures.instrument.crash_recovery import TIMED
from vdbench.runner.results import FILE
from vdbench.runner.verify import verify
from vdbench.store import Damaged, records, tables

SUITE: dict[str, Any] = {
    "name": "faults",
    "threads": 1,
    "problems": [{"name": "p", "factory": "classification", "options": {"widths": [3]}}],
    "checkpoints": ["initial", {"epochs": 2, "batch_size": 512}],
    "batch_sizes": [4],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "measures": {
        "variance": {"first_units": 4, "max_units": 8, "precision": 0.001},
        "bias": {"units": 4, "draws": 1},
        "training": {
            "epochs": 1, "seeds": 2, "batch_size": 512, "evaluations": 1, "samples": 2, "examples": 64,
        },
    },
}  # fmt: skip
"""The suite that is disturbed."""

OUTCOMES = (
    "at once",
    "by a rerun",
    "silently wrong",
    "figures lost",
    "bytes lost",
    "not healed",
    "raised",
)
GOOD = OUTCOMES[:2]
KEY = ["problem", "checkpoint", "batch_size", "label", "metric", "layer", "role", "step", "against"]  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What became of one.

    Attributes:
        kind: Which.
        number: Of its random numbers.
        outcome: One of `OUTCOMES`.
        named: Files that were set aside.
        why: What is wrong, or what the disturbed run said.
    """

    kind: str
    number: int
    outcome: str
    named: int
    why: str


class Campaign:
    """Undisturbed runs, and those that are compared with them."""

    def __init__(self, folder: Path) -> None:
        """Run what is not disturbed."""
        self.folder = folder
        for name, seed in (("whole", 0), ("other", 1)):
            place = folder / name
            with cache(place / "cache"):
                vdbench.run({**SUITE, "seed": seed}, place / "run", isolate=False)
        self.table = figures(folder / "whole" / "run")

    def disturb(self, kind: str, number: int) -> Fault:
        """One fault, the run that meets it, and a rerun."""
        generator = np.random.Generator(np.random.PCG64([number, *kind.encode()]))
        place = self.folder / "disturbed"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder / "whole", place)
        at = At(place / "run", place / "cache", self.folder / "other")
        said = ""
        with cache(at.cache):
            try:
                with KINDS[kind](at, generator):
                    before = kind in SYSTEM or readable(at.run)
                    try:
                        vdbench.run(SUITE, at.run, isolate=False)
                    except (vdbench.InputError, Killed) as error:
                        said = str(error) or "killed"
                wrong, first = self.compared(at.run)
                if wrong:
                    return Fault(kind, number, "silently wrong", 0, wrong)
                if before and not first:
                    return Fault(kind, number, "figures lost", 0, said)
                finished = vdbench.run(SUITE, at.run, isolate=False)
            except Exception as error:
                return Fault(kind, number, "raised", 0, repr(error))
        wrong, complete = self.compared(at.run)
        named = len(records.read(at.run / "run.json")["damaged"])
        if wrong or not complete or finished.failed:
            return Fault(kind, number, "not healed", named, wrong or f"{finished.failed} failed")
        left = [f for f in verify(at.run).findings if f.state not in ("set aside", "superfluous")]
        if left:
            return Fault(kind, number, "not healed", named, str(left))
        kept = {p.read_bytes() for p in place.rglob("*") if p.is_file()}
        if any(content not in kept for content in at.changed):
            return Fault(kind, number, "bytes lost", named, "a damaged file was deleted or changed")
        return Fault(kind, number, "at once" if first and not said else "by a rerun", named, said)

    def compared(self, run: Path) -> tuple[str, bool]:
        """A figure that is wrong, in words, and whether all figures are there."""
        try:
            found = figures(run)
        except (FileNotFoundError, Damaged):
            return "", False
        good = found[found["status"] != "failed"]
        both = self.table.merge(good, on=KEY, how="outer", suffixes=("", " found"), indicator=True)
        extra = both[both["_merge"] == "right_only"]
        if len(extra):
            return f"a figure that there is not: {extra[KEY].iloc[0].to_dict()}", False
        shared = both[both["_merge"] == "both"]
        for name in ("value", "ci_low", "ci_high", "n", "status", "level"):
            mine, theirs = shared[name], shared[f"{name} found"]
            bad = shared[~((mine == theirs) | (mine.isna() & theirs.isna()))]
            if len(bad):
                return f"{name} of {bad[KEY].iloc[0].to_dict()}", False
        return "", len(shared) == len(self.table) and len(good) == len(found)


def figures(run: Path) -> pd.DataFrame:
    """The figures of a run that are promised to be equal, as a report would read them."""
    table = tables.read_frame(run / FILE)[0]
    timed = table["metric"].str.contains(TIMED) | (table["metric"] == "training.seconds")
    return table[~timed].drop(columns="seconds").reset_index(drop=True)


def readable(run: Path) -> bool:
    """Whether the table of a run is there and whole."""
    try:
        return tables.read(run / FILE).sealed
    except (OSError, Damaged):
        return False


class cache:
    """Within, vdbench's cache is a folder of the campaign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.before = os.environ.get("VDBENCH_CACHE")
        os.environ["VDBENCH_CACHE"] = str(self.folder)

    def __exit__(self, *rest: object) -> None:
        if self.before is None:
            del os.environ["VDBENCH_CACHE"]
        else:
            os.environ["VDBENCH_CACHE"] = self.before


def campaign(
    folder: Path, faults: int, seed: int = 0, kinds: Sequence[str] = ()
) -> Iterator[Fault]:
    """So many faults, all kinds in turn, or some of them."""
    made, kinds = Campaign(folder), list(kinds or KINDS)
    for number in range(faults):
        yield made.disturb(kinds[number % len(kinds)], seed + number)


def table(found: Sequence[Fault]) -> str:
    """The outcomes by kind, as text."""
    lines = [f"{'kind':38}{'faults':>7}{'named':>7}" + "".join(f"{o:>15}" for o in OUTCOMES)]
    kinds = [kind for kind in KINDS if any(fault.kind == kind for fault in found)]
    for kind in (*kinds, "all"):
        mine = [fault for fault in found if kind in (fault.kind, "all")]
        counts = Counter(fault.outcome for fault in mine)
        named = sum(fault.named > 0 for fault in mine)
        lines.append(
            f"{kind:38}{len(mine):>7}{named:>7}" + "".join(f"{counts[o]:>15}" for o in OUTCOMES)
        )
    return "\n".join(lines)


def main() -> None:
    """Run a campaign and print its table; exit code 1 where one fault was not healed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for fault in campaign(Path(folder), count, kinds=sys.argv[2:]):
            found.append(fault)
            if fault.outcome not in GOOD:
                print(fault, file=sys.stderr, flush=True)
    print(table(found))
    sys.exit(any(fault.outcome not in GOOD for fault in found))


if __name__ == "__main__":
    main()
