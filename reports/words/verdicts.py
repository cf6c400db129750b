"""How the outcome of a comparison is put into words."""

from __future__ import annotations

import math
from collections.abc import Iterable

from reports.results.groups import Group
from reports.results.ranking import (
    APART,
    EFFICIENCY,
    EXACT,
    NONE,
    PAIRED,
    ROUNDED,
    VARIANCE,
    Contest,
    Evidence,
    contest,
    ratio,
)
from reports.words.glossary import ROLES, with_respect
from reports.words.numbers import MISSING, percent, show, span
from vdbench.statistics.verdicts import Verdict

NOT_COMPARED = "not compared"
NAMED = 3
"""Names that a sentence lists; more are counted, and stand in a table."""
ADJUSTED = "adjusted for multiple comparisons"
TOO_FEW = " (too few units or rounds for an interval)"
"""What is said where nothing can be concluded because an interval has no end."""
ZEROS = {EXACT: "both exactly 0", ROUNDED: "both 0 up to rounding error"}
"""What zeros are called, by the kind of evidence."""


def clause(group: Group, found: Contest, metric: str) -> str:
    """Say the outcome for one kind of parameter in full: who is lowest, by how much, compared with whom."""
    where = with_respect(found.role)
    if not found.leader:
        return f"Gradient {where}: not measured."
    if found.alone:
        return f"Gradient {where}: {found.leader} is the only ranked estimator."
    if found.zeros:
        return f"Gradient {where}: {few(found.lowest)} are all {nothing(found)}."
    base = found.leader == group.baseline
    said = [
        f"Gradient {where}: {found.leader}{', the baseline,' * base} {leads(found)}{size(group, found, metric)}."
    ]
    if found.beaten:
        said.append(f"{found.leader} is {Verdict.LOWER.words()} than {whom(found)}.")
    unsure = [x for x in found.others.values() if plainly(x) is Verdict.INCONCLUSIVE]
    if len(unsure) > NAMED:
        said.append(
            f"{len(unsure)} comparisons are {Verdict.INCONCLUSIVE.words()}; the report lists them."
        )
    elif unsure:
        several = len(unsure) > 1
        pairs = both(f"{x.other}{on(x)}" for x in unsure)
        said.append(
            f"The comparison{'s' * several} with {pairs} {'are' if several else 'is'} {Verdict.INCONCLUSIVE.words()}"
            f"{TOO_FEW if any(map(endless, unsure)) else ''}."
        )
    rest = [x for x in found.others.values() if x not in unsure]
    said += [f"It is {standing_to(x, x.other)}{on(x)}." for x in rest]
    return " ".join(said)


def plainly(evidence: Evidence) -> Verdict | None:
    """Return the verdict of a comparison of intervals; None without one, and for zeros."""
    return evidence.verdict if evidence.kind in (PAIRED, APART) else None


def standing_to(evidence: Evidence, other: str, turned: bool = False) -> str:
    """Say how an estimator stands to another: a verdict with the name of the other.

    Args:
        evidence: What is known of the two.
        other: The one that is compared with, or several.
        turned: Whether it is of the evidence's other estimator against its first.
    """
    if evidence.kind == NONE:
        return f"{NOT_COMPARED} with {other}"
    if evidence.kind in ZEROS:
        return f"equal to {other} ({ZEROS[evidence.kind]})"
    verdict = evidence.verdict.opposite if turned else evidence.verdict
    joint = {Verdict.EQUIVALENT: "to", Verdict.INCONCLUSIVE: "against"}.get(verdict, "than")
    return f"{verdict.words()} {joint} {other}{TOO_FEW if endless(evidence) else ''}"


def endless(evidence: Evidence) -> bool:
    """Whether nothing can be concluded because an interval has no end."""
    figures = [evidence.ratio] if evidence.ratio else list(evidence.ends or ())
    return any(e is not None and not math.isfinite(e.high) for e in figures)


def standings(found: Contest) -> list[str]:
    """Say how the lowest stands to those that it is not significantly lower than, those alike together."""
    alike: dict[tuple[str, Verdict], list[Evidence]] = {}
    for evidence in found.others.values():
        alike.setdefault((evidence.kind, evidence.verdict), []).append(evidence)
    return [standing_to(several[0], few(x.other for x in several)) for several in alike.values()]


def on(evidence: Evidence) -> str:
    """Write the figures that a verdict rests on, in brackets."""
    if evidence.ratio is not None:
        e = evidence.ratio
        same = e.low == e.value == e.high == 1
        return " (equal in every unit)" if same else f" (ratio {show(e, 1)})"
    if evidence.kind == APART and evidence.ends is not None:
        mine, theirs = evidence.ends
        return f" (overlapping intervals: {show(mine)} and {show(theirs)})"
    return ""


def brief(found: Contest) -> str:
    """Say the outcome for one kind of parameter in a few words."""
    role = ROLES.get(found.role, found.role)
    if not found.leader:
        return f"for {role}, nothing was measured"
    if found.zeros:
        return f"for {role}, {few(found.lowest)} are all {nothing(found)}"
    if found.alone:
        return f"for {role}, {found.leader} is the only ranked estimator"
    return f"for {role}, {', '.join([f'{found.leader} {leads(found)}', *standings(found)])}"


def leads(found: Contest) -> str:
    """Say that the leader is lowest where that is sure, else that its estimate is smallest."""
    return "has the smallest estimate" if found.others else "is lowest"


def nothing(found: Contest) -> str:
    """Say how sure zeros are."""
    return "0 up to rounding error" if found.rounded else "exactly 0"


def both(labels: Iterable[str]) -> str:
    """List names as ``a``, ``a and b``, or ``a, b and c``."""
    names = list(labels)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def few(labels: Iterable[str]) -> str:
    """List some names, or count them where they are more than a sentence should hold."""
    names = list(labels)
    return both(names) if len(names) <= NAMED else f"{len(names)} others"


def whom(found: Contest) -> str:
    """Name those that the lowest is significantly lower than, counting them where they are several."""
    count = len(found.beaten)
    if count == 1:
        return found.beaten[0]
    if found.others:
        return f"{count} others"
    return "both others" if count == 2 else f"all {count} others"


def size(group: Group, found: Contest, metric: str, joint: str = ", ") -> str:
    """Say by how much the lowest is below the baseline, or the next one above the baseline."""
    if found.leader != group.baseline:
        known = ratio(group, metric, found.leader, found.role)
        return f"{joint}{show(known, 1)} × {group.baseline}" if known else ""
    others = {x: ratio(group, metric, x, found.role) for x in (*found.beaten, *found.others)}
    known_ones = {x: e for x, e in others.items() if e is not None}
    if not known_ones:
        return ""
    runner = min(known_ones, key=lambda x: known_ones[x].value)
    return f". The next smallest estimate is that of {runner}, {show(known_ones[runner], 1)} × {group.baseline}"


def sizes(group: Group, contests: list[Contest], metric: str) -> str:
    """Say the size of the lowest for each kind of parameter, after what it is the lowest in."""
    said = [size(group, found, metric, ": ") for found in contests]
    if len(said) > 1:
        each = [f" for {ROLES.get(found.role, found.role)}" for found in contests]
        if all(text.startswith(": ") for text in said):
            return f": {both(t.removeprefix(': ') + e for t, e in zip(said, each, strict=True))}"
        return "".join(text + e if text else "" for text, e in zip(said, each, strict=True))
    return "".join(said)


def verdict(group: Group, label: str) -> str:
    """Say in a few words how one estimator did, role by role; or that it is not ranked."""
    if not group.ranked(label):
        return "biased" if group.biases(label) else "not ranked"
    said = {
        role: standing(contest(group, VARIANCE, role), label) for role in group.headline_roles()
    }
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{role}: {words}" for role, words in said.items()) or MISSING


def standing(result: Contest, label: str) -> str:
    """Say in a few words how one estimator did in a contest."""
    if result.leader and label == result.leader:
        return (
            "only ranked estimator"
            if result.alone
            else ", ".join(["smallest estimate" if result.others else "lowest", *standings(result)])
        )
    if label in result.others:
        return standing_to(result.others[label], result.leader, turned=True)
    return Verdict.HIGHER.words() if label in result.beaten else "not measured"


def basis(group: Group) -> str:
    """Say how sure the verdicts on variance are, and on how many units they rest."""
    pairs = [e.n for key, e in group.pairs.items() if key[0] == f"pairwise.{VARIANCE}" and e.n]
    own = [e.n for key, e in group.figures.items() if key[1] == VARIANCE and e.n]
    counts = span(pairs or own) + (" units of four gradients each" if pairs or own else "")
    return f"{levels(percent(group.run.level), bool(pairs))}; {counts}."


def levels(level: str, paired: bool) -> str:
    """Say at which level intervals are: those of paired ratios hold together, and are wider than those of a chart."""
    if paired:
        return (
            f"Ratios have intervals that hold together at {level} within a place and kind of parameter; verdicts rest "
            "on them"
        )
    return f"Intervals at {level}; verdicts {ADJUSTED}"


def efficiency_basis(group: Group) -> str:
    """Say how verdicts on variance × time were reached."""
    if any(key[0] == f"pairwise.{EFFICIENCY}" for key in group.pairs):
        return ADJUSTED
    return f"where the intervals of the ratios do not overlap; {ADJUSTED}"
