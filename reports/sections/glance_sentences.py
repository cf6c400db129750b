"""The answer in at most two sentences, however many estimators and places there are."""

from __future__ import annotations

from collections import Counter

from reports.results.claims import answers
from reports.results.estimate import Estimate
from reports.results.groups import NOISY, Group
from reports.results.ranking import EFFICIENCY, Contest, ratio
from reports.results.sweeps import MINIBATCH, SYMBOL, Sweep
from reports.sections.claims import counted
from reports.sections.glance_elsewhere import about_vdbench, elsewhere
from reports.sections.scaling import reading
from reports.sections.section import Findings
from reports.sections.summary_sentences import NAMES, cost_of, deciding, winner
from reports.sections.time_to_target import CORRELATION
from reports.words.glossary import ROLES
from reports.words.numbers import format_number, percent, show
from reports.words.verdicts import ADJUSTED, NAMED, both, efficiency_basis, whom
from vdbench.statistics.verdicts import Verdict

MOST = 2
"""Sentences."""
CASE = "a place and a kind of parameter each, within which verdicts hold together"
"""What is counted where there are many."""
NOISE = "slope.variance.noise"


def verdict(found: Findings) -> list[str]:
    """Say who is lowest, by how much, how surely and at what cost.

    Args:
        found: What was measured.

    Returns:
        One or two sentences: how variance goes with size first, where slopes were fitted.
    """
    if itself := about_vdbench(found):
        return itself[:MOST]
    answered = (claimed(found), slopes(found.sweeps), foretold(found.groups))
    said = [text for text in answered if text]
    groups = compared(found.groups)
    if groups:
        said += answer(groups)
    elif not said:
        said += elsewhere(found)
    return said[:MOST] or ["Nothing was measured that estimators can be compared by."]


def claimed(found: Findings) -> str:
    """Count the suites' claims that hold; empty where none is made."""
    every = [one for name in found.results.runs for one in answers(found.results, name)]
    return counted(every) if every else ""


def foretold(groups: list[Group]) -> str:
    """Say whether variance × time orders estimators as the time to a target does; empty where that was not asked."""
    measured = [group for group in groups if group.has(CORRELATION)]
    places = short(measured) if len(measured) > 1 else [""]
    said = [
        f"{show(found)} for {ROLES.get(role, role)}{f' at {place}' if place else ''}"
        for place, group in zip(places, measured, strict=False)
        for role in group.roles(CORRELATION)
        if (found := group.get(group.baseline, CORRELATION, "all", role))
    ]
    if not said:
        return ""
    return (
        "Rank correlation of variance × time with seconds to the target, each estimator at its own learning rate: "
        f"{both(said)} (each at {percent(measured[0].run.level)})."
    )


def answer(groups: list[Group]) -> list[str]:
    """Answer for some groups: in full for one, in a sentence each for two, by counting for more."""
    if len(groups) == 1:
        return one_place(groups[0])
    if len(groups) == MOST:
        said = {name: one_place(g)[0] for name, g in zip(short(groups), groups, strict=True)}
        return [f"At {name}, {text[0].lower()}{text[1:]}" for name, text in said.items()]
    return many_places(groups)


def short(groups: list[Group]) -> list[str]:
    """Name groups by what differs between their titles; one alone by its whole title."""
    split = [group.title.split(" · ") for group in groups]
    shared = set.intersection(*map(set, split)) if len(split) > 1 else set()
    return [" · ".join(part for part in parts if part not in shared) for parts in split]


def compared(groups: list[Group]) -> list[Group]:
    """Return the groups that have something to compare."""
    return [g for g in groups if any(one.leader and not one.alone for one in deciding(g)[1])]


def names(labels: list[str], of: int) -> str:
    """Name some estimators, or count them where they are many."""
    return both(labels) if len(labels) <= NAMED else f"{len(labels)} of {of} estimators"


def one_place(group: Group) -> list[str]:
    """Answer for a group: who is lowest, by how much and how surely; then at what cost."""
    metric, contests = deciding(group)
    measured = [one for one in contests if one.leader]
    best = winner(contests)
    if best:
        low = f"Use {best}: its {NAMES[metric]} is {Verdict.LOWER.words()} than that of {whom(measured[0])}"
        size = amount(group, best, metric, measured)
        return [f"{low}{size} ({basis(group, metric)}).", price(group, [best])]
    parts = [undecided(group, one, metric) for one in measured]
    settled = all(
        one.significant for one in measured
    )  # and not by one estimator, which would have won
    none = "No one estimator is the lowest" if settled else "No estimator is clearly the lowest"
    every = " for all parameters" if settled else ""
    said = f"{none} by {NAMES[metric]}{every}: {'; '.join(parts)}."
    return [said, price(group, list(dict.fromkeys(one.leader for one in measured)))]


def amount(group: Group, best: str, metric: str, contests: list[Contest]) -> str:
    """Say the size of the lowest for each kind of parameter, relative to the baseline or of the next one to it."""
    if best != group.baseline:
        sizes = {one.role: show(ratio(group, metric, best, one.role), 1) for one in contests}
        said = [f"{x} × {group.baseline} for {ROLES.get(role, role)}" for role, x in sizes.items()]
        return f", {both(said)}"
    found = {one.role: runner_up(group, metric, one) for one in contests}
    said = [f"the next smallest estimate, of {label}, is {show(e, 1)} × as large for {ROLES.get(role, role)}"
            for role, known in found.items() if known for label, e in [known]]  # fmt: skip
    return f"; {both(said)}" if said else "; it is itself the baseline"


def runner_up(group: Group, metric: str, one: Contest) -> tuple[str, Estimate] | None:
    """Return the lowest of those that the baseline is significantly lower than, and its ratio to it."""
    known = {x: ratio(group, metric, x, one.role) for x in one.beaten}
    others = {x: e for x, e in known.items() if e is not None}
    best = min(others, key=lambda x: others[x].value, default=None)
    return None if best is None else (best, others[best])


def basis(group: Group, metric: str) -> str:
    """Say how verdicts were reached."""
    return efficiency_basis(group) if metric == EFFICIENCY else ADJUSTED


def price(group: Group, labels: list[str]) -> str:
    """Say what a gradient of some estimators costs."""
    cost = [words for label in labels[:MOST] if (words := cost_of(group, label))]
    return f"Time per gradient: {'; '.join(cost)}." if cost else "Time was not measured."


def undecided(group: Group, one: Contest, metric: str) -> str:
    """Say for one kind of parameter who is lowest, by how much, and from whom it is not separated."""
    role = ROLES.get(one.role, one.role)
    if one.zeros:
        return f"for {role} {names(one.lowest, len(group.labels))} are 0"
    known = ratio(group, metric, one.leader, one.role)
    size = (
        f" ({show(known, 1)} × {group.baseline})" if known and one.leader != group.baseline else ""
    )
    if one.alone:
        return f"for {role} {one.leader} is the only ranked one"
    if one.significant:
        return f"for {role} {one.leader} is the lowest{size}"
    ranked = sum(group.ranked(x) for x in group.labels)
    if not one.open:
        alike = names(list(one.others), ranked)
        return f"for {role} {one.leader}{size} is {Verdict.EQUIVALENT.words()} to {alike}"
    return f"for {role} {one.leader}{size} is not separated from {names(list(one.others), ranked)}"


def many_places(groups: list[Group]) -> list[str]:
    """Count who is lowest over many places and kinds of parameters."""
    wins: Counter[str] = Counter()
    sizes: dict[str, list[Estimate]] = {}
    total = 0
    metrics: dict[str, None] = {}
    used: set[str] = set()
    for group in groups:
        metric, contests = deciding(group)
        metrics[NAMES[metric]] = None
        used.add(metric)
        for one in contests:
            total += bool(one.leader)
            if one.significant:
                wins[one.leader] += 1
                base = one.leader == group.baseline
                known = runner_up(group, metric, one) if base else None
                size = known[1] if known else ratio(group, metric, one.leader, one.role)
                if size and (known or not base):
                    sizes.setdefault(one.leader, []).append(size)
    by = " or ".join(metrics)
    if not wins:
        return [f"By {by}, no estimator is clearly the lowest in any of {total} cases ({CASE}); the table "
                "lists them."]  # fmt: skip
    (best, count), *others = wins.most_common()
    fewest = min((g.draws.get(x, 1) for g in groups for x in g.labels if g.ranked(x)), default=1)
    takes = max((g.draws.get(best, 1) for g in groups if best in g.labels), default=1)
    cost = (
        f" (its gradient takes {takes} draws and passes)"
        if takes > fewest and EFFICIENCY not in used
        else ""
    )
    rest = [f"{label} in {n}" for label, n in others[:NAMED]]
    left = [one for g in groups for one in deciding(g)[1] if one.leader and not one.significant]
    open_ones = sum(bool(one.open) for one in left)
    rest += [f"{open_ones} {'are' if open_ones > 1 else 'is'} inconclusive"] if open_ones else []
    same = len(left) - open_ones
    rest += [f"in {same} the lowest are {Verdict.EQUIVALENT.words()}"] if same else []
    also = "".join(f"; {text}" for text in rest)
    return [f"By {by}, {best}{cost} is {Verdict.LOWER.words()} than all others in {count} of {total} cases ({CASE})"
            f"{spread(sizes.get(best, []), best, groups[0].baseline)}{also}."]  # fmt: skip


def spread(found: list[Estimate], best: str, baseline: str) -> str:
    """Say between which sizes the ratios to the baseline are; of the next ones to it, where it is lowest itself."""
    if not found:
        return ""
    low, high = (pick(found, key=lambda e: e.value) for pick in (min, max))
    ends = [show(low, 1)] if low is high else [show(low, 1), show(high, 1)]
    if best == baseline:
        return f", the next smallest estimate is {' to '.join(ends)} × as large"
    return f", {' to '.join(ends)} × {baseline}"


def slopes(sweeps: list[Sweep]) -> str:
    """Say for which estimators the noise part falls as one over the size; empty without fits."""
    fitted = [sweep for sweep in sweeps if sweep.fits and sweep.axis == MINIBATCH] or [
        s for s in sweeps if s.fits
    ]
    readings: dict[str, dict[tuple[str, str], list[Estimate]]] = {}
    for sweep in fitted:
        for (label, metric, layer, role), slope in sweep.fits.items():
            known = metric == NOISE and layer == "all" and role in NOISY and slope.measured
            if known and sweep.ranked(label):
                mine = readings.setdefault(reading(slope), {})
                mine.setdefault((label, role), []).append(slope)
    if not readings:
        return ""
    size = SYMBOL.get(fitted[0].axis, fitted[0].over)
    count = len({label for found in readings.values() for label, _ in found})
    parts = [
        f"{words} {fall(found, count)}"
        for said, words in (
            ("consistent", f"is consistent with 1/{size} for"),
            ("no, flatter", "falls more slowly for"),
            ("no, steeper", "falls faster for"),
        )
        if (found := readings.get(said))
    ]
    return f"The noise part {'; '.join(parts)}." if parts else ""


def fall(found: dict[tuple[str, str], list[Estimate]], of: int) -> str:
    """Name estimators by kind of parameter, with the slopes that their intervals reach from and to."""
    roles: dict[tuple[str, ...], list[str]] = {}
    for label in dict.fromkeys(label for label, _ in found):
        mine = tuple(role for name, role in found if name == label)
        roles.setdefault(mine, []).append(label)
    said = []
    for mine, labels in roles.items():
        slopes_of = [
            f"{ROLES.get(role, role)}: {reach([e for x in labels for e in found[x, role]])}"
            for role in mine
        ]
        said.append(f"{names(labels, of)} (slope for {', for '.join(slopes_of)})")
    return both(said)


def reach(found: list[Estimate]) -> str:
    """Write one slope, or between which ends the intervals of several lie."""
    if len(found) == 1:
        return show(found[0])
    low, high = min(e.low for e in found), max(e.high for e in found)
    return f"{format_number(low, 3)} to {format_number(high, 3)}"
