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

from vdbench.statistics.proportions import share

Rows = list[dict[str, Any]]
LEVEL = 0.95
"""Of the intervals of shares."""


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
        *_by_seeds(by_name), "",
        "## Defects", "",
        "**Real bias** is the largest relative bias over the roles, on three networks of ordinary size "
        "(`tests/zoo/zoo_networks.py`): dense, convolution, sequence. 0 means that no bias was measured; – that the "
        "gradient itself was not seen, or the page was written without it. "
        "It is an estimate of 256 draws in each half without an interval: where a defect cannot act, values "
        "up to 0.3 were measured, so that only larger ones show a bias. **Caught** counts the checks with verdict "
        "FAILED. **Grade** is the gravest of what failed: `bias` (the mean of the gradient is wrong), `robustness` (a "
        "fault in ordinary use) or `edge` (one at the edge of the range alone). **Detectable bias** is the smallest "
        "relative bias that the check would have found in every role with probability 0.95, the largest over the "
        "checks: the larger it is, the less was seen.", "",
        "| defect | what is wrong | real bias: dense | convolution | sequence | caught | grade | detectable bias |",
        "|---|---|---|---|---|---|---|---|",
        *(_defect(name, by_name.get(name, []), real.get(name, {})) for name in DEFECTS),
        "", "## Right ones", "",
        "| estimator | what is odd | tails | verdicts |", "|---|---|---|---|",
        *(_right(name, by_name.get(name, [])) for name in RIGHT),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _counts(by_name: dict[str, Rows]) -> list[str]:
    tried = [n for n in DEFECTS if by_name.get(n)]
    checks = sum(len(by_name[n]) for n in tried)
    passed = [n for n in tried if any(r["verdict"] == "PASSED" for r in by_name[n])]
    right = [row for n in RIGHT for row in by_name.get(n, [])]
    light = [row for row in right if ENTRIES[row["name"]].light]
    failed = sum(row["verdict"] == "FAILED" for row in right)
    limit = int(binom.ppf(0.999, max(1, len(right)), 0.001))
    undecided = sum(row["verdict"] == "INCONCLUSIVE" for row in light)
    return [
        "| question | answer |", "|---|---|",
        f"| defects checked | {len(tried)} of {len(DEFECTS)} |",
        f"| FAILED in the first check | {_of(_caught(by_name, tried, 1), len(tried))} |",
        f"| FAILED in one of all their checks ({checks}) | {_of(_caught(by_name, tried, checks), len(tried))} |",
        f"| ever PASSED | {', '.join(passed) or 'none'} |",
        f"| checks of right ones | {len(right)}, of {len({r['name'] for r in right})} estimators |",
        f"| of these FAILED | {_of(failed, len(right))}; at a rate of 1/1,000 more than {limit} have a probability "
        "below 0.001 |",
        f"| light-tailed right ones INCONCLUSIVE | {_of(undecided, len(light))} |",
    ]  # fmt: skip


def _by_seeds(by_name: dict[str, Rows]) -> list[str]:
    """How many defects are caught by one check, by one of two, and so on: of those that were checked so often."""
    most = max((len(by_name.get(n, [])) for n in DEFECTS), default=0)
    lines = [
        f"Intervals are Clopper and Pearson's at {100 * LEVEL:g} %, as if what is counted were drawn at random.",
        "",
        "| checks of a defect, each with its own seed | FAILED in one of them at least |",
        "|---|---|",
    ]
    for seeds in range(1, most + 1):
        kept = [n for n in DEFECTS if len(by_name.get(n, [])) >= seeds]
        lines.append(f"| {seeds} | {_of(_caught(by_name, kept, seeds), len(kept))} |")
    return lines


def _caught(by_name: dict[str, Rows], names: list[str], checks: int) -> int:
    """How many of some defects FAILED in one of their first checks."""
    return sum(any(r["verdict"] == "FAILED" for r in _sorted(by_name[n])[:checks]) for n in names)


def _sorted(rows: Rows) -> Rows:
    """By seed; lines without one keep their places before the others."""
    return sorted(rows, key=lambda row: row.get("seed", -1))


def _of(count: int, n: int) -> str:
    """A count with its exact interval; none without trials."""
    if not n:
        return "0 of 0"
    found = share(count, n, LEVEL)
    return f"{count} of {n}, [{100 * found.low:.1f}, {100 * found.high:.1f}] %"


def _number(value: Any) -> str:
    if value is None or value == {}:
        return "–"
    return value if isinstance(value, str) else f"{value:.2g}"


def _defect(name: str, rows: Rows, real: dict[str, Any]) -> str:
    caught = sum(row["verdict"] == "FAILED" for row in rows)
    grades = Counter(row["grade"] for row in rows if row["grade"])
    detectable = [row["power"] for row in rows if row["power"] is not None]
    cells = [
        name, ENTRIES[name].about, *(_number(real.get(n)) for n in ("dense", "convolution", "sequence")),
        f"{caught} of {len(rows)}" if rows else "not run",
        ", ".join(str(grade) for grade in grades), _number(max(detectable) if detectable else None),
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
