"""The table of the zoo, from what `campaign` kept.

``python tests/zoo/table.py CHECKS.jsonl PAGE.md [BIASES.jsonl [NOTE]]``
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from scipy.stats import binom
from zoo import DEFECTS, ENTRIES, RIGHT

Rows = list[dict[str, Any]]


def read(path: str) -> Rows:
    """The rows of a file of JSON lines; none where there is no file."""
    file = Path(path)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def page(checks: Rows, biases: Rows, note: str = "") -> str:
    """The whole page."""
    by_name: dict[str, Rows] = {}
    for row in checks:
        by_name.setdefault(row["name"], []).append(row)
    real = {row["name"]: row for row in biases}
    lines = [
        "# The zoo: wrong and right estimators, checked", "",
        f"{len(DEFECTS)} estimators with a known defect and {len(RIGHT)} right but odd ones (`tests/zoo`), checked "
        "with `vdbench check` at level small. `make zoo` runs all of them with five seeds and writes this page.", "",
        *([note, ""] if note else []),
        *_counts(by_name), "",
        "## Defects", "",
        "**Real bias** is the largest relative bias over the roles, on three networks of ordinary size "
        "(`tests/zoo/zoo_networks.py`): dense, convolution, sequence. 0 means that no bias was measured; – that the "
        "gradient itself was not seen, or the page was written without it. "
        "It is an estimate of 256 draws in each half without an interval: where a defect cannot act, values "
        "up to 0.3 were measured, so that only larger ones show a bias. **Caught** counts the checks with verdict "
        "FAILED. **Power** is the relative bias that the check would have found in its least sensitive role.", "",
        "| defect | what is wrong | real bias: dense | convolution | sequence | caught | grade | power |",
        "|---|---|---|---|---|---|---|---|",
        *(_defect(name, by_name.get(name, []), real.get(name, {})) for name in DEFECTS),
        "", "## Right ones", "",
        "| estimator | what is odd | tails | verdicts |", "|---|---|---|---|",
        *(_right(name, by_name.get(name, [])) for name in RIGHT),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _counts(by_name: dict[str, Rows]) -> list[str]:
    tried = [n for n in DEFECTS if by_name.get(n)]
    first = sum(by_name[n][0]["verdict"] == "FAILED" for n in tried)
    ever = sum(any(r["verdict"] == "FAILED" for r in by_name[n]) for n in tried)
    passed = [n for n in tried if any(r["verdict"] == "PASSED" for r in by_name[n])]
    right = [row for n in RIGHT for row in by_name.get(n, [])]
    light = [row for row in right if ENTRIES[row["name"]].light]
    failed = sum(row["verdict"] == "FAILED" for row in right)
    limit = int(binom.ppf(0.999, max(1, len(right)), 0.001))
    undecided = sum(row["verdict"] == "INCONCLUSIVE" for row in light)
    return [
        "| question | answer |", "|---|---|",
        f"| defects checked | {len(tried)} of {len(DEFECTS)} |",
        f"| FAILED in the first check | {first} of {len(tried)} |",
        f"| FAILED in one of all their checks ({sum(len(by_name[n]) for n in tried)}) | {ever} of {len(tried)} |",
        f"| ever PASSED | {', '.join(passed) or 'none'} |",
        f"| checks of right ones | {len(right)}, of {len({r['name'] for r in right})} estimators |",
        f"| of these FAILED | {failed}; at a rate of 1/1,000 more than {limit} have a probability below 0.001 |",
        f"| light-tailed right ones INCONCLUSIVE | {undecided} of {len(light)} |",
    ]  # fmt: skip


def _number(value: Any) -> str:
    if value is None or value == {}:
        return "–"
    return value if isinstance(value, str) else f"{value:.2g}"


def _defect(name: str, rows: Rows, real: dict[str, Any]) -> str:
    caught = sum(row["verdict"] == "FAILED" for row in rows)
    grades = Counter(row["grade"] for row in rows if row["grade"])
    powers = [row["power"] for row in rows if row["power"] is not None]
    cells = [
        name, ENTRIES[name].about, *(_number(real.get(n)) for n in ("dense", "convolution", "sequence")),
        f"{caught} of {len(rows)}" if rows else "not run",
        ", ".join(str(grade) for grade in grades), _number(max(powers) if powers else None),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _right(name: str, rows: Rows) -> str:
    counts = Counter(row["verdict"] for row in rows)
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) or "not run"
    tails = "light" if ENTRIES[name].light else "heavy"
    return f"| {name} | {ENTRIES[name].about} | {tails} | {verdicts} |"


def main() -> None:
    """Write the page."""
    checks, out, *more = sys.argv[1:]
    Path(out).write_text(page(read(checks), read(more[0]) if more else [], *more[1:2]))


if __name__ == "__main__":
    main()
