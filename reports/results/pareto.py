"""Variance against time: which estimators have both, and which no other is shown to be better than in both."""

from __future__ import annotations

from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.ranking import VARIANCE, compare
from vdbench.statistics.verdicts import Verdict, ratio_verdict

Point = tuple[Estimate, Estimate]
"""Seconds per gradient, total variance."""
SECONDS = "time.seconds_per_gradient"


def roles_of(group: Group) -> list[str]:
    """Return the roles in which any estimator has both a time and a variance."""
    return [role for role in group.roles() if points(group, role)]


def points(group: Group, role: str) -> dict[str, Point]:
    """Return the estimators that have both a time and a variance."""
    found = {}
    for label in group.labels:
        seconds = group.get(label, SECONDS)
        variance = group.get(label, VARIANCE, "all", role)
        if seconds and variance and seconds.measured and variance.measured:
            found[label] = (seconds, variance)
    return found


def front(group: Group, role: str) -> list[str]:
    """Return the ranked estimators that no other is significantly faster and less noisy than.

    Args:
        group: The group.
        role: The role whose variance is compared.

    Returns:
        Labels by time. An estimator leaves the front only where both differences are significant.
    """
    found = points(group, role)
    ranked = sorted((x for x in found if group.ranked(x)), key=lambda x: found[x][0].value)
    return [x for x in ranked if not any(beats(group, role, other, x) for other in ranked)]


def beats(group: Group, role: str, label: str, other: str) -> bool:
    """Whether an estimator is significantly faster and significantly less noisy than another."""
    return (
        label != other
        and faster(group, label, other)
        and compare(group, VARIANCE, role, label, other).verdict is Verdict.LOWER
    )


def faster(group: Group, label: str, other: str) -> bool:
    """Whether an estimator is significantly faster: by the paired ratio, else where the intervals do not overlap."""
    pair = group.pair(f"pairwise.{SECONDS}", "all", label, other)
    if pair and pair.measured:
        return ratio_verdict(pair.low, pair.high) is Verdict.LOWER
    mine, theirs = group.get(label, SECONDS), group.get(other, SECONDS)
    return bool(mine and theirs and mine.high < theirs.low)


def stairs(group: Group, role: str) -> list[str]:
    """Return those of the front that the line through it is drawn through: each less noisy than the faster ones."""
    found = points(group, role)
    kept: list[str] = []
    for label in front(group, role):
        if not kept or found[label][1].value < found[kept[-1]][1].value:
            kept.append(label)
    return kept
