"""The answer in at most two sentences, however many estimators and places there are."""

from __future__ import annotations

from collections import Counter

from reports.results.estimate import Estimate
from reports.results.groups import NOISY, Group
from reports.results.instrument import places
from reports.results.ranking import Contest, ratio
from reports.results.sweeps import MINIBATCH, SYMBOL, Sweep
from reports.sections.instrument import summary
from reports.sections.scaling import reading
from reports.sections.section import Findings
from reports.sections.summary_sentences import NAMES, cost_of, deciding, winner
from reports.sections.training_summary import training_summary
from reports.words.glossary import ROLES
from reports.words.numbers import format_number, show
from reports.words.verdicts import ADJUSTED, both, efficiency_basis, whom
from vdbench.statistics.verdicts import Verdict

MOST = 2
"""Sentences."""
NAMED = 3
"""Names that are said; more are counted."""
NOISE = "slope.variance.noise"


def verdict(found: Findings) -> list[str]:
    """Say who is lowest, by how much, how surely and at what cost.

    Args:
        found: What was measured.

    Returns:
        One or two sentences: how variance goes with size first, where slopes were fitted.
    """
    said = [text for text in (slopes(found.sweeps),) if text]
    groups = compared(found.groups)
    if groups:
        said += one_place(groups[0]) if len(groups) == 1 else many_places(groups)
    else:
        said += elsewhere(found)
    return said[:MOST] or ["Nothing was measured that estimators can be compared by."]


def compared(groups: list[Group]) -> list[Group]:
    """Return the groups that have something to compare."""
    return [g for g in groups if any(one.leader and not one.alone for one in deciding(g)[1])]


def names(labels: list[str], of: int) -> str:
    """Name some estimators, or count them where they are many."""
    return both(labels) if len(labels) <= NAMED else f"{len(labels)} of {of} estimators"


def one_place(group: Group) -> list[str]:
    """Answer for a group."""
    metric, contests = deciding(group)
    measured = [one for one in contests if one.leader]
    best = winner(contests)
    if best:
        return [f"{use(group, best, metric)}: {amount(group, best, metric, measured)}.",
                f"{sure(group, measured[0], metric)}{price(group, best)}."]  # fmt: skip
    parts = [undecided(group, one) for one in measured]
    leaders = list(dict.fromkeys(one.leader for one in measured))
    cost = [words for label in leaders[:MOST] if (words := cost_of(group, label))]
    first = f"No estimator is clearly the lowest by {NAMES[metric]}: {'; '.join(parts)}."
    return [first, *([f"Time per gradient: {'; '.join(cost)}."] if cost else [])]


def use(group: Group, best: str, metric: str) -> str:
    """Say what to use, and by what."""
    return f"Use {best}, the lowest by {NAMES[metric]}"


def amount(group: Group, best: str, metric: str, contests: list[Contest]) -> str:
    """Say the size of the lowest for each kind of parameter, relative to the baseline or of the next one to it."""
    if best != group.baseline:
        said = {one.role: show(ratio(group, metric, best, one.role), 1) for one in contests}
        return both(
            f"{text} × {group.baseline} for {ROLES.get(role, role)}" for role, text in said.items()
        )
    said = {}
    for one in contests:
        known = {x: ratio(group, metric, x, one.role) for x in one.beaten}
        others = {x: e for x, e in known.items() if e is not None}
        if others:
            next_one = min(others, key=lambda x: others[x].value)
            said[one.role] = (
                f"{next_one} has {show(others[next_one], 1)} × as much for {ROLES.get(one.role, one.role)}"
            )
    return both(said.values()) if said else "it is the baseline"


def sure(group: Group, one: Contest, metric: str) -> str:
    """Say how surely the lowest is so."""
    how = efficiency_basis(group) if metric != "variance.total" else ADJUSTED
    return f"It is {Verdict.LOWER.words()} than {whom(one)} ({how})"


def price(group: Group, best: str) -> str:
    """Say what a gradient of the lowest costs."""
    cost = cost_of(group, best)
    return (
        f", and a gradient takes {cost.removeprefix(best).strip()}"
        if cost
        else "; time was not measured"
    )


def undecided(group: Group, one: Contest) -> str:
    """Say for one kind of parameter who is lowest and from whom it is not separated."""
    role = ROLES.get(one.role, one.role)
    if one.significant or one.alone:
        return f"for {role} {one.leader} is"
    if one.zeros:
        return f"for {role} {names(one.lowest, len(group.labels))} are 0"
    ranked = sum(group.ranked(x) for x in group.labels)
    return f"for {role} {one.leader} is not separated from {names(list(one.others), ranked)}"


def many_places(groups: list[Group]) -> list[str]:
    """Count who is lowest over many places and kinds of parameters."""
    wins: Counter[str] = Counter()
    sizes: dict[str, list[Estimate]] = {}
    total, metrics = 0, {}
    for group in groups:
        metric, contests = deciding(group)
        metrics[NAMES[metric]] = None
        for one in contests:
            total += bool(one.leader)
            if one.significant:
                wins[one.leader] += 1
                known = ratio(group, metric, one.leader, one.role)
                if known and one.leader != group.baseline:
                    sizes.setdefault(one.leader, []).append(known)
    by = " or ".join(metrics)
    if not wins:
        return [f"By {by}, no estimator is clearly the lowest in any of {total} comparisons (a place and a kind of "
                "parameter each); the table lists them."]  # fmt: skip
    (best, count), *others = wins.most_common()
    rest = [f"{label} in {n}" for label, n in others[:NAMED]]
    open_ones = total - sum(wins.values())
    rest += [f"{open_ones} undecided"] if open_ones else []
    also = f", {both(rest)}" if rest else ""
    return [f"By {by}, {best} is {Verdict.LOWER.words()} than all others in {count} of {total} comparisons of a place "
            f"and a kind of parameter{spread(sizes.get(best, []), groups[0].baseline)}{also}."]  # fmt: skip


def spread(found: list[Estimate], baseline: str) -> str:
    """Say between which sizes the ratios to the baseline are."""
    if not found:
        return ""
    low, high = (pick(found, key=lambda e: e.value) for pick in (min, max))
    ends = [show(low, 1)] if low is high else [show(low, 1), show(high, 1)]
    return f" ({' to '.join(ends)} × {baseline})"


def slopes(sweeps: list[Sweep]) -> str:
    """Say for which estimators the noise part falls as one over the size, and for which more slowly; empty without fits."""
    fitted = [sweep for sweep in sweeps if sweep.fits and sweep.axis == MINIBATCH] or [
        s for s in sweeps if s.fits
    ]
    readings: dict[str, set[str]] = {}
    values: dict[str, list[float]] = {}
    for sweep in fitted:
        for (label, metric, layer, role), slope in sweep.fits.items():
            known = metric == NOISE and layer == "all" and role in NOISY and slope.measured
            if known and sweep.ranked(label):
                readings.setdefault(label, set()).add(reading(slope))
                values.setdefault(label, []).append(slope.value)
    if not readings:
        return ""
    size = SYMBOL.get(fitted[0].axis, fitted[0].over)
    as_law = [x for x, said in readings.items() if said == {"consistent"}]
    flat = [x for x, said in readings.items() if said == {"no, flatter"}]
    mixed = [x for x in readings if x not in as_law and x not in flat]
    parts = []
    for label_set, words in ((as_law, f"falls as 1/{size}"), (flat, "falls more slowly"),
                             (mixed, f"falls as 1/{size} in part")):  # fmt: skip
        if label_set:
            parts.append(
                f"{words} for {names(label_set, len(readings))} ({ends(label_set, values)})"
            )
    return f"The noise part {'; '.join(parts)}."


def ends(labels: list[str], values: dict[str, list[float]]) -> str:
    """Write between which slopes some estimators are."""
    every = [x for label in labels for x in values[label]]
    low, high = format_number(min(every), 3), format_number(max(every), 3)
    return f"slope {low}" if low == high else f"slopes {low} to {high}"


def elsewhere(found: Findings) -> list[str]:
    """Answer where no estimators are compared at a place: trainings, vdbench itself, or one estimator alone."""
    told = [
        f"{lead} {text}" for lead, text in training_summary(found.trainings, found.results.several)
    ]
    told += [
        f"{lead} {text}"
        for run, _, rows in places(found.results)
        for lead, text in summary(rows, run.level)
    ]
    if told:
        return told[:MOST]
    labels = list(dict.fromkeys(label for group in found.groups for label in group.labels))
    if len(labels) == 1:
        return [
            f"Nothing to compare: {labels[0]} is the only estimator.",
            *costs(found.groups[:1], labels),
        ]
    return costs(found.groups[:1], labels)


def costs(groups: list[Group], labels: list[str]) -> list[str]:
    """Say what a gradient of the fastest costs, where only time was measured."""
    for group in groups:
        timed = {x: group.get(x, "time.seconds_per_gradient") for x in labels if group.ranked(x)}
        known = {x: e for x, e in timed.items() if e is not None and e.measured}
        if known:
            best = min(known, key=lambda x: known[x].value)
            return [
                f"Variance was not measured; the lowest time per gradient at the first place is that of {cost_of(group, best)}."
            ]
    return []
