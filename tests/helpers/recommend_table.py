"""The page of the campaign of recommendations.

``python tests/helpers/recommend_table.py LOG PAGE MINUTES REPETITIONS [NOTE]``

``LOG`` is what `recommend_campaign` printed with these (``make recommend``); ``NOTE`` says on what machine.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vdbench.statistics.proportions import share

HEAD = """\
# How good recommendations are

`make recommend` measured this and wrote this page. Three models that vdbench does not ship are asked about with
`vdbench.recommend(problem, minutes={minutes})`, under {repetitions} seeds each: a convolutional network whose batch
norms are in eval mode (digits), a regression with one output, and a classifier with three hidden layers (breast
cancer). One long interleaved run of all candidates of a model judges them. A recommendation is *good* if the variance ×
seconds of what it names, taken from the long run, is within 5 % of the best's there, or if the 95 % interval of their
ratio contains 1.
*Made* recommendations measure within their minutes. *Replayed* ones draw their units and rounds from the long run,
with replacement, and their clock goes on by what these took there. Intervals are Clopper and Pearson's at 95 %.

"""


def page(lines: Sequence[str], minutes: str, repetitions: str, note: str = "") -> str:
    """The page as Markdown."""
    kinds: dict[str, list[dict[str, Any]]] = {"made": [], "replayed": []}
    candidates = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind in kinds and rest.startswith("{"):
            kinds[kind].append(json.loads(rest))
        elif ": long run of " in line:
            model, _, count = line.partition(": long run of ")
            candidates[model] = count.split()[0]
    return (
        HEAD.format(minutes=minutes, repetitions=repetitions)
        + (f"{note}\n\n" if note else "")
        + _counts(kinds)
        + "\n## What was named\n\n"
        + _named(kinds, candidates)
    )


def _counts(kinds: dict[str, list[dict[str, Any]]]) -> str:
    said = [
        "| recommendations | good in every role | answers good | too close to call | largest, × the best |",
        "|---|---|---|---|---|",
    ]
    for kind, rows in kinds.items():
        if not rows:
            continue
        each: dict[tuple[str, int], bool] = {}
        for row in rows:
            key = (row["model"], row["seed"])
            each[key] = each.get(key, True) and row["good"]
        close = sum(row["verdict"] == "too close to call" for row in rows)
        said.append(
            f"| {kind} | {_share(sum(each.values()), len(each))} | {_share(sum(r['good'] for r in rows), len(rows))} "
            f"| {_share(close, len(rows))} | {max(row['ratio'] for row in rows):.2f} |"
        )
    return "\n".join(said) + "\n"


def _share(count: int, of: int) -> str:
    found = share(count, of, 0.95)
    ends = f"{100 * found.low:.0f}, {100 * found.high:.0f}"
    return f"{count} of {of}: {100 * found.value:.0f} [{ends}] %"


def _named(kinds: dict[str, list[dict[str, Any]]], candidates: dict[str, str]) -> str:
    said = [
        "| recommendations | model | candidates | role | named | how often | verdicts |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, rows in kinds.items():
        found = dict.fromkeys((r["model"], r["role"], r["pick"]) for r in rows)
        for model, role, pick in sorted(found):
            own = [r for r in rows if (r["model"], r["role"], r["pick"]) == (model, role, pick)]
            verdicts = ", ".join(f"{n} {v}" for v, n in Counter(r["verdict"] for r in own).items())
            count = candidates.get(model, "")
            said.append(
                f"| {kind} | {model} | {count} | {role} | {pick} | {len(own)} | {verdicts} |"
            )
    return "\n".join(said) + "\n"


if __name__ == "__main__":
    log, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.write_text(page(log.read_text().splitlines(), *sys.argv[3:6]))
