"""Coverage at the stop, over many problems: records units, resamples runs of them, and writes docs/results/coverage.md.

``python tests/helpers/coverage_table.py`` (``make coverage``) takes hours; rows that were recorded are kept in a folder
of the temporary directory and found again. Options: ``--units``, ``--runs``, ``--folder``, ``--out``, ``--fresh``.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from coverage_problems import CASES
from coverage_runs import Found, Recorded, repeat

from vdbench.measures import variance_units
from vdbench.statistics.proportions import at_least, holm
from vdbench.store import concatenate

LEAST = 0.945
"""Coverage that is tested for."""

FAMILY_WISE = 0.01
"""Rate at which any cell is called short although none is."""

BLOCK = 512
LIGHT = 1.0
"""Rows with a coefficient of variation up to this are called light-tailed."""


def record(name: str, units: int, folder: Path, budget: float) -> Recorded:
    """Rows of a case, from the folder or measured: so many units, or as many as fit into the budget of seconds."""
    path = folder / f"{name.replace(' ', '_').replace('/', '_')}-{units}.pickle"
    if path.exists():
        with path.open("rb") as file:
            return Recorded(*pickle.load(file))
    contexts = CASES[name].contexts()
    parts: dict[str, list[Any]] = {label: [] for label in contexts}
    began = time.perf_counter()
    for start in range(0, units, BLOCK):
        for label, context in contexts.items():
            parts[label].append(variance_units.rows(context, start, start + BLOCK))
        if time.perf_counter() - began > budget:
            break
    tables = {label: concatenate(each) for label, each in parts.items()}
    sizes = next(iter(contexts.values())).sizes
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pickle.dump((tables, sizes), file)
    return Recorded(tables, sizes)


def cells(found: dict[str, dict[str, Found]]) -> list[dict[str, Any]]:
    """Every interval tested: its case, setting and figure, how often it was printed and held, and p of the family."""
    made: list[dict[str, Any]] = [
        {
            "case": case, "setting": setting, "metric": address[0], "layer": address[1],
            "role": address[2], "spread": tally.spread, "runs": tally.runs,
            "printed": tally.printed, "held": tally.held,
        }
        for case, settings in found.items()
        for setting, one in settings.items()
        for address, tally in one.tallies.items()
        if tally.printed
    ]  # fmt: skip
    p = holm([at_least(c["held"], c["printed"], LEAST) for c in made])
    for cell, value in zip(made, p, strict=True):
        cell["p"], cell["coverage"] = value, cell["held"] / cell["printed"]
    return made


def main() -> None:
    """Record, resample, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=32768)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of recording a case")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "vdbench-coverage"
    )
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--record-only", action="store_true")
    parser.add_argument("--seed", type=int, default=14)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    for number, name in enumerate(CASES):
        if name not in asked.only:
            continue
        rows = record(name, asked.units, asked.folder, asked.budget)
        print(f"{name}: {rows.count} units", flush=True)
        path = asked.folder / f"{name.replace(' ', '_')}-runs-{asked.runs}-{asked.seed}.pickle"
        if not asked.record_only and not path.exists():
            began = time.perf_counter()
            found = repeat(rows, asked.runs, asked.seed + 1000 * number)
            path.write_bytes(pickle.dumps(found))
            print(f"  {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
