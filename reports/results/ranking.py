"""Who has the lowest figure, and how surely: the ranked estimators compared in one metric and one role.

Roles (mean and scale, theta and alpha) are never merged. Paired ratios are already adjusted for the number of pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from reports.results.estimate import Estimate
from reports.results.groups import Group
from vdbench.statistics.verdicts import Verdict, adjusted_level, ratio_verdict, widened

VARIANCE = "variance.total"
EFFICIENCY = "efficiency.variance_seconds"

EXACT, ROUNDED, PAIRED, APART, NONE = "exact zeros", "rounded zeros", "pair", "intervals", "none"
"""What two estimators can be compared by; see `Evidence`."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one estimator against another.

    Attributes:
        kind: ``exact zeros`` or ``rounded zeros`` where both variances are 0; ``pair`` for a paired ratio;
            ``intervals`` where only the intervals of both can be compared; ``none`` without a comparison.
        label: The estimator.
        other: The one that it is compared with.
        verdict: How it stands to the other; inconclusive without a comparison.
        ratio: Of a pair: its ratio to the other.
        ends: Of intervals: the figures of both.
    """

    kind: str
    label: str
    other: str
    verdict: Verdict
    ratio: Estimate | None = None
    ends: tuple[Estimate, Estimate] | None = None


@dataclass(frozen=True)
class Contest:
    """The outcome of one comparison, in one role.

    Attributes:
        role: The role compared in.
        leader: The ranked estimator with the lowest figure; empty where none was measured.
        beaten: Those that it is significantly lower than.
        others: The others, each with what is known of the leader against it.
        zeros: Whether the leader and the others are all zero.
        rounded: Whether some of these zeros are so up to rounding error.
    """

    role: str
    leader: str
    beaten: list[str]
    others: dict[str, Evidence]
    zeros: bool = False
    rounded: bool = False

    @property
    def significant(self) -> bool:
        """Whether the leader is significantly lower than every other."""
        return bool(self.beaten) and not self.others

    @property
    def open(self) -> list[str]:
        """Those against which the leader is inconclusive; the rest of the others are equivalent to it, or as zero."""
        return [x for x, e in self.others.items() if e.verdict is Verdict.INCONCLUSIVE]

    @property
    def alone(self) -> bool:
        """Whether the leader has nobody to be compared with."""
        return not self.beaten and not self.others

    @property
    def lowest(self) -> list[str]:
        """The leader and those that it is not significantly lower than."""
        return [self.leader, *self.others]


def contest(group: Group, metric: str, role: str) -> Contest:
    """Find the lowest of a group by one metric in one role.

    Args:
        group: The group.
        metric: ``variance.total`` or ``efficiency.variance_seconds``.
        role: The role to compare in.

    Returns:
        The leader, those that it is significantly lower than, and what is known of it against the others.
    """
    found = {label: group.get(label, metric, "all", role) for label in group.labels}
    values = {k: e for k, e in found.items() if e and e.measured and group.ranked(k)}
    if not values:
        return Contest(role, "", [], {})
    leader = min(values, key=lambda label: values[label].value)
    known = {x: compare(group, metric, role, leader, x) for x in values if x != leader}
    beaten = [x for x, evidence in known.items() if evidence.verdict is Verdict.LOWER]
    others = {x: evidence for x, evidence in known.items() if x not in beaten}
    level = [leader, *others]
    exact = all(values[x].zero for x in level)
    zeros = bool(others) and (exact or all(group.dust(x, role) for x in level))
    return Contest(role, leader, beaten, others, zeros, not exact)


def compare(group: Group, metric: str, role: str, label: str, other: str) -> Evidence:
    """Return what is known of one estimator against another."""
    mine, theirs = (
        group.get(x, metric, "all", role) or Estimate(float("nan")) for x in (label, other)
    )
    if mine.zero and theirs.zero:
        return Evidence(EXACT, label, other, Verdict.EQUIVALENT)
    if group.dust(label, role) and group.dust(other, role):
        return Evidence(ROUNDED, label, other, Verdict.EQUIVALENT)
    if mine.zero and theirs.low > 0:
        return Evidence(APART, label, other, Verdict.LOWER, ends=(mine, theirs))
    pair = group.pair(f"pairwise.{metric}", role, label, other)
    if pair and pair.measured:
        return Evidence(PAIRED, label, other, ratio_verdict(pair.low, pair.high), pair)
    if metric == EFFICIENCY:
        return apart(group, role, label, other)
    return Evidence(NONE, label, other, Verdict.INCONCLUSIVE)


def apart(group: Group, role: str, label: str, other: str) -> Evidence:
    """Compare by the intervals of both ratios to the baseline, widened for all comparisons: lower if they are apart."""
    mine, theirs = (ratio(group, EFFICIENCY, x, role) for x in (label, other))
    if mine is None or theirs is None:
        mine, theirs = (group.get(x, EFFICIENCY, "all", role) for x in (label, other))
    if mine is None or theirs is None:
        return Evidence(NONE, label, other, Verdict.INCONCLUSIVE)
    mine, theirs = (wide(group, e) for e in (mine, theirs))
    lower = mine.high < theirs.low
    verdict = Verdict.LOWER if lower else Verdict.INCONCLUSIVE
    return Evidence(APART, label, other, verdict, ends=(mine, theirs))


def wide(group: Group, e: Estimate) -> Estimate:
    """Return a positive figure with an interval that holds together with those of all ranked estimators."""
    own = e.level if math.isfinite(e.level) else group.run.level
    asked = adjusted_level(group.run.level, sum(map(group.ranked, group.labels)))
    if e.low == e.high or own >= asked:
        return e
    low, high = widened((e.value, e.low, e.high), own, asked, log=True)
    return replace(e, low=low, high=high, level=asked)


def ratio(group: Group, metric: str, label: str, role: str = "all") -> Estimate | None:
    """Return an estimator's ratio to the baseline; exactly 1 for the baseline itself.

    What is ranked has the level of the verdicts, a cost that of the run.
    """
    if label == group.baseline:
        return Estimate(1, 1, 1)
    pair = group.pair(f"pairwise.{metric}", role, label, group.baseline)
    if pair and pair.measured and metric in (VARIANCE, EFFICIENCY):
        return pair
    found = group.get(label, f"ratio.{metric}", "all", role)
    if found is None or not found.measured:
        return None
    return wide(group, found) if metric == EFFICIENCY else found


def bounded(group: Group, roles: Iterable[str]) -> list[str]:
    """Name the ranked estimators whose variance was bounded in any of some roles."""
    found = {
        key[0]
        for key, e in group.figures.items()
        if e.status == "bounded" and key[1:3] == (VARIANCE, "all") and key[3] in set(roles)
    }
    return [label for label in group.labels if label in found and group.ranked(label)]


def order(group: Group) -> list[str]:
    """Sort estimators for the headline: ranked ones by their variance, then the others."""
    role = next(iter(group.headline_roles()), "all")
    found = {label: group.get(label, VARIANCE, "all", role) for label in group.labels}

    def place(label: str) -> tuple[bool, bool, float]:
        estimate = found[label]
        known = estimate is not None and estimate.measured
        return not group.ranked(label), not known, estimate.value if estimate and known else 0.0

    return sorted(group.labels, key=place)


def failures(group: Group) -> list[str]:
    """Name the measures that failed, as ``estimator: measure``."""
    failed = ((key[0], key[1]) for key, e in group.figures.items() if e.status == "failed")
    return list(dict.fromkeys(f"{label}: {metric}" for label, metric in failed))
