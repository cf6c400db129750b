"""Write docs/results/estimators.md: every estimator, what it costs and where it was on the front of committed runs.

Which were on the front on the four problems goes to ``fronts.json`` too, which the estimators' own pages are made with.
"""

from __future__ import annotations

import json
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
from reports.words.numbers import percent, show
from vdbench.cli import catalogue

HERE = Path(__file__).parent
PAGE = HERE / "estimators.md"
FRONTS = HERE / "fronts.json"
FOUR = ("all-estimators", "all-mask-estimators")
"""Suites with all estimators on four problems."""
PROBLEMS = {
    "small": "small: 64-8-10, digits",
    "mnist": "MNIST: 784-64-64-10",
    "convolutions": "convolutions, MNIST",
    "regression": "regression: 10-16-1",
}
HEAD = """# Which estimators are worth their time?

Written by `make suites` from the committed runs that measured both variance and time. An estimator is *not shown to be
beaten* at a place, for a kind of parameter, if no other of its objective is significantly faster and significantly less
noisy. That is no praise: times may have been too noisy to show that another one is faster. "Never" says only that in
each of these runs another one was shown to be both. These verdicts rest on paired ratios of time and of variance,
whose intervals hold together for all pairs of a place at {levels}; where a run has no pairs of times, on times whose
intervals, each at that level, do not overlap.

Times are of the machines and models of these runs, which are small: on larger models the products cost more, and calls
less. Ratios are variance × seconds, divided by that of the run's baseline. Their intervals here are each at {levels},
not adjusted: they are narrower than those of the reports' headline tables and figures, which hold together.
"""
ON_FOUR = """## All estimators on four problems

The suites `all-estimators` (baseline `naive`) and `all-mask-estimators` (baseline `reinforce`) at minibatches of 32.
They were run while other programs worked on the machine: times are processor times, taken in turn. "dropout" is noise
that the outputs of an input feature share. The fastest estimator is always on the front, which `naive` and `reinforce`
mostly are: "on the front" says that an estimator is not shown to be beaten. Those that are biased, or serve another
objective than the baseline, are not ranked: their ratios are given, and they are never on the front. On convolutions
these include `local` and all that wrap it. A dash: not valid there, or not feasible.
"""
OTHERS = """## Other committed runs
"""
UNBEATEN = "not shown to be beaten"
"""What being on the front means, which comparisons without a verdict allow too."""


@dataclass
class Seen:
    """Where an estimator was measured, where it was on the front, and its ratios to the baseline."""

    places: int = 0
    front: list[str] = field(default_factory=list)
    ratios: list[str] = field(default_factory=list)


def page() -> str:
    """The page, from what is committed."""
    found: dict[str, Seen] = defaultdict(Seen)
    four: dict[str, OnFour] = defaultdict(OnFour)
    levels: set[float] = set()
    for folder in sorted(path.parent for path in HERE.rglob("results.parquet")):
        groups = Findings(load([folder])).groups
        timed = [g for g in groups if any(g.get(label, SECONDS) for label in g.labels)]
        levels |= {group.run.level for group in timed}
        for place, group in zip(short(timed), timed, strict=True):
            if folder.name in FOUR:
                add_four(four, group)
            else:
                add(found, group, f"{folder.name}, {place}" if len(timed) > 1 else folder.name)
    rows = [row(label, seen) for label, seen in sorted(found.items())]
    head = [
        "estimator", "objective", "cost of a gradient", "posteriors", UNBEATEN,
        "variance × seconds",
    ]  # fmt: skip
    every = {name["name"] for name in catalogue.estimators()}
    missing = sorted(every - {base(label) for label in [*found, *four]})
    tail = f"\nWithout a committed time: {', '.join(missing)}.\n" if missing else ""
    top = HEAD.format(levels=" or ".join(percent(level) for level in sorted(levels)))
    return f"{top}\n{ON_FOUR}\n{summary(four)}\n{four_table(four)}\n\n{OTHERS}\n{table(head, rows)}\n{tail}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


@dataclass
class OnFour:
    """What an estimator came to on the four problems.

    Attributes:
        ranked: Cases, a problem and a kind of parameter each, in which it was ranked.
        front: Those in which it was on the front.
        ratios: By problem, variance × seconds of each kind of parameter to the baseline's.
    """

    ranked: list[str] = field(default_factory=list)
    front: list[str] = field(default_factory=list)
    ratios: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def add_four(four: dict[str, OnFour], group: Group) -> None:
    """Take in one of the four problems."""
    problem, _, kind = group.problem.partition("-")
    more = f", {kind}" if kind else ""
    for role in group.headline_roles():
        ahead = front(group, role)
        for label in points(group, role):
            ranked, seen = group.ranked(label), four[label]
            where = f"{problem} ({role_name(role)}{more})"
            if ranked:
                seen.ranked.append(where)
            if label in ahead:
                seen.front.append(where)
            said = "" if ranked else ", not ranked"
            ratio = group.get(label, f"ratio.{EFFICIENCY}", "all", role)
            text = "1" if label == group.baseline else show(ratio)
            seen.ratios[problem].append(f"{text} ({role_name(role)}{more}{said})")


def four_table(four: dict[str, OnFour]) -> str:
    """An estimator a row, a problem a column."""
    head = [
        "estimator",
        "objective",
        "cost of a gradient",
        "valid for",
        *PROBLEMS.values(),
        UNBEATEN,
    ]
    rows = []
    for label, seen in sorted(four.items()):
        about = described(label)
        ratios = ["; ".join(seen.ratios[problem]) or "–" for problem in PROBLEMS]
        ahead = "; ".join(seen.front) or (
            f"never, of {len(seen.ranked)}" if seen.ranked else "not ranked"
        )
        rows.append([label, about["objective"], about["cost"], about["valid"], *ratios, ahead])
    return table(head, rows)


def summary(four: dict[str, OnFour]) -> str:
    """Which were on the front anywhere, which never, and which were not ranked."""
    parts = []
    for words, kept in (
        ("Not shown to be beaten somewhere", {x: s for x, s in four.items() if s.front}),
        (
            "Shown to be beaten everywhere",
            {x: s for x, s in four.items() if s.ranked and not s.front},
        ),
        ("Not ranked anywhere", {x: s for x, s in four.items() if not s.ranked}),
    ):
        told = [
            f"{x} ({len(s.front)} of {len(s.ranked)})" if s.front else x
            for x, s in sorted(kept.items())
        ]
        parts.append(f"**{words}:** {', '.join(told) or 'none'}.\n")
    return "\n".join(parts)


def fronts() -> dict[str, str]:
    """A sentence for the page of each estimator that was on the four problems."""
    four: dict[str, OnFour] = defaultdict(OnFour)
    for folder in sorted(path.parent for path in HERE.rglob("results.parquet")):
        if folder.name in FOUR:
            for group in Findings(load([folder])).groups:
                add_four(four, group)
    found: dict[str, list[str]] = defaultdict(list)
    for label, seen in sorted(four.items()):
        of = f"of {len(seen.ranked)} cases (a problem and a kind of parameter each)"
        if seen.front:
            said = (
                f"`{label}` was on the front of variance against time in {len(seen.front)} {of}: "
            )
            found[base(label)].append(said + "; ".join(seen.front))
        elif seen.ranked:
            found[base(label)].append(
                f"`{label}` was on the front of variance against time in none {of}"
            )
        else:
            found[base(label)].append(
                f"`{label}` was measured, and is not ranked: it is biased, or serves another objective"
            )
    return {name: ". ".join(said) + "." for name, said in sorted(found.items())}


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
    """A line of the table of other runs."""
    about = described(label)
    ahead = "; ".join(seen.front) if seen.front else f"never, of {seen.places}"
    ratios = "; ".join(dict.fromkeys(seen.ratios))
    return [
        label, about["objective"], about["cost"], about["posteriors"], ahead, ratios or "baseline",
    ]  # fmt: skip


def described(label: str) -> dict[str, str]:
    """What an estimator says of itself: objective, posteriors, cost, and what it is valid for."""
    shown = catalogue.show(base(label))
    declared = shown["declares"]

    def line(name: str) -> str:
        end = r"(?:\n\s*(?:Cost|Source|Attributes|Example):|\n\s*\n|$)"
        said = re.search(rf"{name}: (.+?){end}", str(shown["about"]), re.DOTALL)
        return " ".join(said[1].split()).replace("|", "\\|") if said else ""

    return {
        "objective": str(declared.get("objective", "as wrapped")),
        "posteriors": str(declared.get("posteriors", "")) or "any",
        "cost": line("Cost"),
        "valid": f"posteriors: {declared.get('posteriors', '') or 'any'}; {line('Claim')}",
    }


def base(label: str) -> str:
    """The name of an estimator of this label."""
    return label.partition("(")[0]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    FRONTS.write_text(
        json.dumps(fronts(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n"
    )
