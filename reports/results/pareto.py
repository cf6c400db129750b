"""Variance against time: which estimators have both, and which none is both faster and less noisy than."""

from __future__ import annotations

from reports.results.estimate import Estimate
from reports.results.groups import Group

Point = tuple[Estimate, Estimate]
"""Seconds per gradient, total variance."""


def roles_of(group: Group) -> list[str]:
    """Return the roles in which any estimator has both a time and a variance."""
    return [role for role in group.roles() if points(group, role)]


def points(group: Group, role: str) -> dict[str, Point]:
    """Return the estimators that have both a time and a variance."""
    found = {}
    for label in group.labels:
        seconds = group.get(label, "time.seconds_per_gradient")
        variance = group.get(label, "variance.total", "all", role)
        if seconds and variance and seconds.measured and variance.measured:
            found[label] = (seconds, variance)
    return found


def pareto(group: Group, found: dict[str, Point]) -> list[str]:
    """Return the ranked estimators that no other is both faster and less noisy than."""
    ranked = sorted(
        (label for label in found if group.ranked(label)),
        key=lambda label: (found[label][0].value, found[label][1].value),
    )
    front: list[str] = []
    for label in ranked:
        if not front or found[label][1].value < found[front[-1]][1].value:
            front.append(label)
    return front
