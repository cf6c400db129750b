"""Coverage at the stop, over many problems: records units, resamples runs of them, and writes docs/results/coverage.md.

``python tests/helpers/coverage_table.py`` (``make coverage``) takes hours; rows and runs that are done are kept in a
folder of the temporary directory and found again.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from coverage_problems import CASES
from coverage_runs import Found, Recorded, ratios, refused, repeat

from vdbench.measures import variance_units
from vdbench.statistics.proportions import at_least, at_most, holm
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


def by_setting(found: dict[str, dict[str, Found]], made: list[dict[str, Any]]) -> list[str]:
    """One line a setting: coverage, intervals without ends, units before and now, false alarms and power."""
    lines = [
        "| setting | intervals tested | smallest coverage | called short | without an end, rows of spread below 3 "
        "| units before / now, light tails | A/A called different, most | +10 % found | +20 % found |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    light = {case for case, settings in found.items() if _spread(settings) <= LIGHT}
    for setting in next(iter(found.values())):
        mine = [c for c in made if c["setting"] == setting]
        every = [settings[setting] for settings in found.values()]
        least = min(mine, key=lambda c: c["coverage"])
        short = sum(c["p"] <= FAMILY_WISE for c in mine)
        endless = max((share for one in every for _, share in refused(one, 3.0)), default=0.0)
        spent = ratios([settings[setting] for case, settings in found.items() if case in light])
        alarms = [counts for one in every for counts in one.alarms.values() if counts[0]]
        worst = max(alarms, key=lambda c: c[1] / c[0])
        power = [_power(every, difference) for difference in (0.1, 0.2)]
        lines.append(
            f"| {setting} | {len(mine):,} | {100 * least['coverage']:.1f} % | {short} | {100 * endless:.1f} % | "
            f"{spent:.2f} | {100 * worst[1] / worst[0]:.1f} % | {power[0]} | {power[1]} |"
        )
    return lines


def _power(found: list[Found], difference: float) -> str:
    shares = [
        n / k for one in found for (_, d), (k, n) in one.power.items() if d == difference and k
    ]
    return f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %"


def _spread(settings: dict[str, Found]) -> float:
    tallies = next(iter(settings.values())).tallies
    return max(
        (t.spread for a, t in tallies.items() if a[0] in ("variance.noise", "variance.total")),
        default=0.0,
    )


def by_case(found: dict[str, dict[str, Found]], made: list[dict[str, Any]]) -> list[str]:
    """One line a problem: spread of its rows, smallest coverage in each setting, and the largest share without ends."""
    settings = list(next(iter(found.values())))
    lines = [
        f"| problem | largest spread of rows | {' | '.join(settings)} | without an end, at most | runs |",
        f"|---|---|{'---|' * len(settings)}---|---|",
    ]
    for case, each in found.items():
        least = [
            min(
                (c for c in made if (c["case"], c["setting"]) == (case, s)),
                key=lambda c: c["coverage"],
            )
            for s in settings
        ]
        endless = max(share for one in each.values() for _, share in refused(one, np.inf))
        runs = len(next(iter(each.values())).units)
        cells_ = " | ".join(f"{100 * c['coverage']:.1f} %" for c in least)
        lines.append(
            f"| {escaped(case)} | {_spread(each):.1f} | {cells_} | {100 * endless:.1f} % | {runs:,} |"
        )
    return lines


def escaped(name: str) -> str:
    """A name in a table of Markdown."""
    return name.replace("|", "\\|")


def page(found: dict[str, dict[str, Found]], units: int) -> str:
    """The page of results."""
    made = cells(found)
    short = [c for c in made if c["p"] <= FAMILY_WISE]
    alarms = [c for e in found.values() for one in e.values() for c in one.alarms.values() if c[0]]
    p = holm([at_most(n, k, 0.05) for k, n in alarms])
    runs = [len(one.units) for each in found.values() for one in list(each.values())[:1]]
    told = "none of them" if not short else f"{len(short)} of them"
    return "\n".join(
        [
            "# Coverage where runs stop",
            "",
            f"Written by `make coverage`. {len(found)} problems; of each, {units:,} units or more were recorded. Runs "
            f"were made of units that were drawn from these with replacement, {min(runs):,} to {max(runs):,} runs a "
            "problem and setting, and stopped as a run stops. The truth is the figure of all recorded units.",
            "",
            f"Each printed interval at 95 % was tested for a coverage of at least {100 * LEAST:g} % (one-sided, exact, "
            f"Holm over all {len(made):,} intervals at a family-wise rate of {100 * FAMILY_WISE:g} %): {told} "
            f"{'was' if len(short) == 1 else 'were'} found short. Of {len(alarms)} rates of A/A alarms, "
            f"{int((np.array(p) <= FAMILY_WISE).sum())} were found above 5 %. Figures are noise, total, data part, "
            "signal-to-noise ratio and ratios to another estimator, by role; noise and total by layer too.",
            "",
            "## By stopping setting",
            "",
            *by_setting(found, made),
            "",
            "Smallest coverages are the least of many: with a coverage of 95 % and 400 runs, the least of 100 lies "
            f"near 92 %. Light tails: rows of noise and total with a coefficient of variation up to {LIGHT:g}. Before: "
            "the rule of version 0.1, with a boundary at all looks together. Power: two runs of one estimator, one of "
            "them scaled; they share no noise.",
            "",
            "## By problem: the smallest coverage",
            "",
            *by_case(found, made),
            "",
            *(["## Found short", "", *(f"- {c}" for c in short), ""] if short else []),
        ]
    )


def main() -> None:
    """Record, resample, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=32768)
    parser.add_argument("--runs", type=int, default=400, help="runs a case and setting")
    parser.add_argument("--again", type=int, default=2000, help="fresh runs of the worst cases")
    parser.add_argument("--worst", type=int, default=10, help="how many these are")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of recording a case")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "vdbench-coverage"
    )
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--record-only", action="store_true")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--out", type=Path, default=Path("docs/results/coverage.md"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    recorded: dict[str, int] = {}
    found: dict[str, dict[str, Found]] = {}
    for name in asked.only:
        rows = record(name, asked.units, asked.folder, asked.budget)
        recorded[name] = rows.count
        print(f"{name}: {rows.count} units", flush=True)
        if not asked.record_only:
            found[name] = repeated(name, rows, asked.runs, asked.seed, asked.folder)
    for name in worst(found)[: asked.worst]:
        print(f"{name}: {asked.again} fresh runs", flush=True)
        rows = record(name, asked.units, asked.folder, asked.budget)
        found[name] = repeated(name, rows, asked.again, asked.seed + 1, asked.folder)
    if found:
        asked.out.write_text(page(found, min(recorded.values())) + "\n", encoding="utf-8")


def repeated(name: str, rows: Recorded, runs: int, seed: int, folder: Path) -> dict[str, Found]:
    """So many runs of a case, from the folder or made now."""
    path = folder / f"{name.replace(' ', '_')}-runs-{runs}-{seed}.pickle"
    if not path.exists():
        path.write_bytes(pickle.dumps(repeat(rows, runs, seed + 1000 * list(CASES).index(name))))
    kept: dict[str, Found] = pickle.loads(path.read_bytes())
    return kept


def worst(found: dict[str, dict[str, Found]]) -> list[str]:
    """The cases, that with the least coverage of any interval first."""
    made = cells(found)
    least = {case: min(c["coverage"] for c in made if c["case"] == case) for case in found}
    return sorted(least, key=lambda case: least[case])


if __name__ == "__main__":
    main()
