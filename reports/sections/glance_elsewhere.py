"""The answer of a run that compares no variances: of vdbench itself, whole trainings, times, or one estimator alone."""

from __future__ import annotations

import re
from collections import Counter

from reports.results.groups import Group
from reports.results.instrument import places
from reports.results.pareto import SECONDS, faster
from reports.sections import rounding
from reports.sections.instrument import summary
from reports.sections.section import Findings
from reports.sections.summary_sentences import cost_of
from reports.sections.training_summary import training_summary
from reports.words.training import training_words
from reports.words.verdicts import few


def about_vdbench(found: Findings) -> list[str]:
    """Say what a run measured about vdbench itself, a sentence each; nothing for other runs."""
    return [
        first_sentence(f"{lead} {text}")
        for run, _, rows in places(found.results)
        for lead, text in summary(rows, run.level)
    ]


def elsewhere(found: Findings) -> list[str]:
    """Answer where no variances are compared at a place, a sentence each."""
    trained = training_summary(found.trainings, found.results.several)
    if trained:
        return [first_sentence(f"{lead} {text}") for lead, text in trained]
    if not found.groups and (rounded := rounding.sentences(found.results)):
        return rounded
    if not any(e.measured for group in found.groups for e in group.figures.values()):
        return []
    labels = list(dict.fromkeys(label for group in found.groups for label in group.labels))
    if len(labels) == 1:
        cost = cost_of(found.groups[0], labels[0])
        alone = f"Nothing to compare: {labels[0]} is the only estimator."
        return [alone, *([f"Time per gradient: {cost}."] if cost else [])]
    short = [said for group in found.groups if (said := training_words(group)[0])]
    return times(found.groups) or [first_sentence(said) for said in dict.fromkeys(short)]


def first_sentence(text: str) -> str:
    """Return a text up to the full stop that ends its first sentence."""
    return re.split(r"(?<=\.)\s+(?=[A-Z])", text, maxsplit=1)[0]


def times(groups: list[Group]) -> list[str]:
    """Say who is fastest, at how many places and at what cost; nothing where time was not measured."""
    wins: Counter[str] = Counter()
    total, costs = 0, []
    for group in groups:
        known = {
            x: e.value
            for x in group.labels
            if (e := group.get(x, SECONDS)) and e.measured and group.ranked(x)
        }
        if not known:
            continue
        total += 1
        best = min(known, key=lambda x: known[x])
        wins[best] += all(faster(group, best, x) for x in known if x != best)
        costs.append(f"{cost_of(group, best)} at {group.title}")
    if not total:
        return []
    best, count = wins.most_common(1)[0]
    first = (
        f"{best} is significantly faster than all other ranked estimators at {count} of {total} "
        f"place{'s' * (total != 1)}; variance was not measured."
        if count
        else f"At none of {total} place{'s' * (total != 1)} is an estimator significantly faster than all others; "
        "variance was not measured."
    )
    return [first, f"Shortest time per gradient: {few(costs) if len(costs) < 3 else costs[0]}."]
