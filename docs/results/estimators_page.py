"""Write docs/results/estimators.md: every estimator, what it costs and where it was on the front of committed runs."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from reports.results.groups import Group
from reports.results.load import load
from reports.results.pareto import SECONDS, front, points
from reports.results.ranking import EFFICIENCY
from reports.sections.glance_sentences import short
from reports.sections.section import Findings
from reports.words.glossary import role_name
from reports.words.numbers import show
from vdbench.cli import catalogue

HERE = Path(__file__).parent
PAGE = HERE / "estimators.md"
HEAD = """# Which estimators are worth their time?

Written by `make suites` from the committed runs that measured both variance and time. An estimator is on the front at a
place, for a kind of parameter, if no other of its objective is significantly faster and significantly less noisy. So it
may be there because a comparison is inconclusive. "Never" says only that it was not on the front in these runs.

Times are of the machines and models of these runs, which are small: on larger models the products cost more, and calls
less. Estimators without a committed time are listed below the table. Ratios are variance × seconds, divided by that of
the run's baseline; intervals as in the run.
"""


@dataclass
class Seen:
    """Where an estimator was measured, where it was on the front, and its ratios to the baseline."""

    places: int = 0
    front: list[str] = field(default_factory=list)
    ratios: list[str] = field(default_factory=list)


def page() -> str:
    """The page, from what is committed."""
    found: dict[str, Seen] = defaultdict(Seen)
    for folder in sorted(path.parent for path in HERE.rglob("results.parquet")):
        groups = Findings(load([folder])).groups
        timed = [g for g in groups if any(g.get(label, SECONDS) for label in g.labels)]
        for place, group in zip(short(timed), timed, strict=True):
            add(found, group, f"{folder.name}, {place}" if len(timed) > 1 else folder.name)
    rows = [row(label, seen) for label, seen in sorted(found.items())]
    head = [
        "estimator", "objective", "cost of a gradient", "posteriors", "on the front",
        "variance × seconds",
    ]  # fmt: skip
    every = {name["name"] for name in catalogue.estimators()}
    missing = sorted(every - {base(label) for label in found})
    table = "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
    tail = f"Without a committed time: {', '.join(missing)}.\n" if missing else ""
    return f"{HEAD}\n{table}\n\n{tail}"


def add(found: dict[str, Seen], group: Group, place: str) -> None:
    """Take in a place of a run, named by both."""
    for role in (r for r in group.roles() if r not in ("bias", "weight", "all")):
        ahead = front(group, role)
        where = f"{place} ({role_name(role)})"
        for label in points(group, role):
            if not group.ranked(label):
                continue
            seen = found[label]
            seen.places += 1
            if label in ahead and where not in seen.front:
                seen.front.append(where)
            ratio = group.get(label, f"ratio.{EFFICIENCY}", "all", role)
            if ratio and ratio.measured and label != group.baseline:
                seen.ratios.append(f"{show(ratio)} × {group.baseline} in {where}")


def row(label: str, seen: Seen) -> list[str]:
    """A line of the table."""
    shown = catalogue.show(base(label))
    declared = shown["declares"]
    cost = re.search(
        r"Cost: (.+?)(?:\n\s*(?:Source|Attributes|Example):|\n\s*\n|$)",
        str(shown["about"]),
        re.DOTALL,
    )
    said = " ".join(cost[1].split()) if cost else ""
    ahead = "; ".join(seen.front) if seen.front else f"never, of {seen.places}"
    ratios = "; ".join(dict.fromkeys(seen.ratios))
    return [
        label,
        str(declared.get("objective", "as wrapped")),
        said.replace("|", "\\|"),
        str(declared.get("posteriors", "")) or "any",
        ahead,
        ratios or "baseline",
    ]


def base(label: str) -> str:
    """The name of an estimator of this label."""
    return label.partition("(")[0]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
