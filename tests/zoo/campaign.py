"""Check every entry of the zoo with several seeds, and keep what came out: one JSON line a check.

``python tests/zoo/campaign.py OUT [SEEDS] [FIRST] [DRAWS] [NAME…]`` goes on where OUT ends. With few DRAWS (0: those of
level small) a defect that fails would fail with more.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import torch
from zoo import ENTRIES, Entry

from vdbench.certificate import check

FIRST = (
    "rows-of-a-kernel-share-noise", "alpha-averaged-over-a-layer", "labels-are-clamped", "alpha-clamped-at-1",
    "layernorm-has-no-gradient", "no-noise-from-the-fifth-output", "no-scale-gradient-from-the-fourth-layer",
    "scale-doubled-under-vertical-stride", "no-noise-with-padding-same", "half-above-12-examples",
    "half-without-a-bias", "chunks-of-32", "whole-number-of-minibatches", "a-table-of-16-rows",
    "500-g-one-time-in-500", "local-as-it-is", "naive-as-it-is",
)  # fmt: skip
"""What once passed although it was wrong, or was accused although it was right."""


def one(entry: Entry, seed: int, draws: int | None) -> dict[str, object]:
    """One check, as plain data."""
    start = time.process_time()
    found = check(entry.estimator, seed=seed, draws=draws)
    return {
        "name": entry.name,
        "seed": seed,
        "kind": entry.kind,
        "verdict": found.verdict,
        "grade": found.grade,
        "power": found.power,
        "diagnosis": found.diagnosis,
        "failed": [f"{f.test}, {f.where}" for f in found.failed],
        "blind": [f"{f.test}, {f.where}: {f.power}, {f.carried}" for f in found.blind],
        "missing": list(found.missing),
        "seconds": round(time.process_time() - start, 2),
    }


def _mixed() -> list[str]:
    """Defects and right ones in turn, so that what is stopped early has some of each."""
    names = list(ENTRIES)
    random.Random(0).shuffle(names)
    return names


def main() -> None:
    """All entries, seed after seed."""
    torch.set_num_threads(1)
    given = [*map(int, sys.argv[2:5]), *(5, 0, 0)[len(sys.argv[2:5]) :]]
    out, (seeds, first, draws) = Path(sys.argv[1]), given
    names = sys.argv[5:] or [*FIRST, *(n for n in _mixed() if n not in FIRST)]
    known = out.read_text().splitlines() if out.exists() else []
    done = {(row["name"], row["seed"]) for row in map(json.loads, known)}
    for seed in range(first, first + seeds):
        for name in names:
            if (name, seed) not in done:
                with out.open("a") as file:
                    file.write(json.dumps(one(ENTRIES[name], seed, draws or None)) + "\n")


if __name__ == "__main__":
    main()
