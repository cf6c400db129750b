"""How the outcome of a contest is put into words."""

from __future__ import annotations

from collections.abc import Iterable

from reports.results.groups import Group
from reports.results.ranking import EFFICIENCY, VARIANCE, Contest, ratio
from reports.words.glossary import in_role
from reports.words.numbers import percent, show, span


def clause(group: Group, found: Contest, metric: str) -> str:
    """Say the outcome of one role in full: who is lowest, by how much, against whom."""
    where = in_role(found.role)
    if not found.leader:
        return f"{where}, nothing was measured"
    if found.alone:
        return f"{where}, {found.leader} alone, nothing to compare it with"
    if found.tied:
        return f"{where}, {both(found.lowest)} tie, all {nothing(found)}"
    how = size(group, found, metric)
    if found.established:
        return f"{where}, {found.leader} is lowest, {how}, established against {whom(found)}"
    rest = f", established against {whom(found)}" if found.beaten else ""
    known = f"(UNCLEAR: {', '.join(found.unclear.values())})"
    if len(found.unclear) == 1:
        said = f"{both(found.lowest)} are lowest and cannot be told apart {known}"
    else:
        said = (
            f"{found.leader} is lowest but cannot be told apart from {both(found.unclear)} {known}"
        )
    return f"{where}, {said}; {found.leader} is {how}{rest}"


def brief(found: Contest) -> str:
    """Say the outcome of one role in a few words."""
    if not found.leader:
        return f"nothing was measured in {found.role}"
    if found.tied:
        return f"{both(found.lowest)} are {nothing(found)} in {found.role}"
    if found.unclear:
        return f"{both(found.lowest)} cannot be told apart in {found.role}"
    return f"{found.leader} is {'alone' if found.alone else 'lowest'} in {found.role}"


def nothing(found: Contest) -> str:
    """Say how sure the zeros of a tie are."""
    return "0 but for rounding" if found.rounded else "exactly 0"


def both(labels: Iterable[str]) -> str:
    """List names as ``a``, ``a and b``, or ``a, b and c``."""
    names = list(labels)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def whom(found: Contest) -> str:
    """Name those beaten, counting them where they are several."""
    count = len(found.beaten)
    if count == 1:
        return found.beaten[0]
    if found.unclear:
        return f"the other {count}"
    return "both others" if count == 2 else f"all {count} others"


def size(group: Group, found: Contest, metric: str) -> str:
    """Say by how much the leader is below the baseline, or the next one above the baseline."""
    if found.leader != group.baseline:
        known = ratio(group, metric, found.leader, found.role)
        return (
            f"{show(known, 1)} × {group.baseline}" if known else "its ratio to the baseline unknown"
        )
    others = {x: ratio(group, metric, x, found.role) for x in (*found.beaten, *found.unclear)}
    known_ones = {x: e for x, e in others.items() if e is not None}
    if not known_ones:
        return "the baseline"
    runner = min(known_ones, key=lambda x: known_ones[x].value)
    return f"the baseline, with {runner} next at {show(known_ones[runner], 1)} ×"


def sizes(group: Group, contests: list[Contest], metric: str) -> str:
    """Say the leader's size in each role; the baseline's name once."""
    unit = f" × {group.baseline}"
    said = [size(group, found, metric) for found in contests]
    if all(text.endswith(unit) for text in said):
        said = [text.removesuffix(unit) for text in said[:-1]] + said[-1:]
    return ", ".join(
        f"{found.role} {text}" if len(said) > 1 else text
        for found, text in zip(contests, said, strict=True)
    )


def basis(group: Group) -> str:
    """Say how sure the verdicts on variance are, and on how many units they rest."""
    pairs = [e.n for key, e in group.pairs.items() if key[0] == f"pairwise.{VARIANCE}" and e.n]
    own = [e.n for key, e in group.figures.items() if key[1] == VARIANCE and e.n]
    level = percent(group.run.level)
    counts = span(pairs or own)
    counts += " units (4 gradients each)" if pairs or own else ""
    return f"Intervals at {level}; verdicts at {level} over all pairs of a role; {counts}."


def efficiency_basis(group: Group) -> str:
    """Say how verdicts on variance × seconds were reached; empty where like those on variance."""
    if any(key[0] == f"pairwise.{EFFICIENCY}" for key in group.pairs):
        return ""
    level = percent(group.run.level)
    return f" (by {level} intervals of the ratios that do not overlap, not adjusted)"
