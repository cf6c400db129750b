"""Check every entry of the zoo with several seeds, and keep what came out: one JSON line a check.

``python tests/zoo/campaign.py OUT [SEEDS] [FIRST] [NAME…]`` goes on where OUT ends.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from zoo import ENTRIES, Entry

from vdbench.certificate import check


def one(entry: Entry, seed: int) -> dict[str, object]:
    """One check, as plain data."""
    start = time.process_time()
    found = check(entry.estimator, seed=seed)
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


def main() -> None:
    """All entries, seed after seed."""
    torch.set_num_threads(1)
    out, seeds, first = Path(sys.argv[1]), *(int(x) for x in [*sys.argv[2:4], "5", "0"][:2])
    names = sys.argv[4:] or list(ENTRIES)
    known = out.read_text().splitlines() if out.exists() else []
    done = {(row["name"], row["seed"]) for row in map(json.loads, known)}
    for seed in range(first, first + seeds):
        for name in names:
            if (name, seed) not in done:
                with out.open("a") as file:
                    file.write(json.dumps(one(ENTRIES[name], seed)) + "\n")


if __name__ == "__main__":
    main()
