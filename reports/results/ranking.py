"""Who wins, and how surely: the ranked estimators compared in one metric and one role.

A winner is *established* where its paired ratio to every other ranked estimator lies below 1 with
its whole interval; those ratios are already adjusted for the number of pairs. Otherwise the verdict
is UNCLEAR, and says against whom. Roles (mean and scale, theta and alpha) are never merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.results.groups import Group
from reports.words.numbers import MISSING, Estimate, show

VARIANCE = "variance.total"
EFFICIENCY = "efficiency.variance_seconds"


@dataclass(frozen=True)
class Contest:
    """The outcome of one comparison, in one role.

    Attributes:
        role: The role compared in.
        leader: The ranked estimator with the lowest figure; empty where none was measured.
        beaten: Those that it is established to be below.
        unclear: The others, each with what is known of the leader's ratio to it.
        tied: Whether the leader and the unclear ones are all zero.
        rounded: Whether some of these zeros are so but for rounding.
    """

    role: str
    leader: str
    beaten: list[str]
    unclear: dict[str, str]
    tied: bool = False
    rounded: bool = False

    @property
    def established(self) -> bool:
        """Whether the leader is below every other."""
        return bool(self.beaten) and not self.unclear

    @property
    def alone(self) -> bool:
        """Whether the leader has nobody to be compared with."""
        return not self.beaten and not self.unclear

    @property
    def lowest(self) -> list[str]:
        """The leader and those that it cannot be told apart from."""
        return [self.leader, *self.unclear]


def contest(group: Group, metric: str, role: str) -> Contest:
    """Find the winner of a group by one metric in one role.

    Args:
        group: The group.
        metric: ``variance.total`` or ``efficiency.variance_seconds``.
        role: The role to compare in.

    Returns:
        The leader, whom it beats, and whom it cannot be told apart from.
    """
    found = {label: group.get(label, metric, "all", role) for label in group.labels}
    values = {k: e for k, e in found.items() if e and e.measured and group.ranked(k)}
    if not values:
        return Contest(role, "", [], {})
    leader = min(values, key=lambda label: values[label].value)
    beaten, unclear = [], {}
    for other in values:
        if other != leader:
            below, known = compare(group, metric, role, leader, other)
            if below:
                beaten.append(other)
            else:
                unclear[other] = known
    level = [leader, *unclear]
    zero = all(values[x].zero for x in level)
    tied = bool(unclear) and (zero or all(group.dust(x, role) for x in level))
    return Contest(role, leader, beaten, unclear, tied, not zero)


def compare(group: Group, metric: str, role: str, label: str, other: str) -> tuple[bool, str]:
    """Say whether one estimator is established to be below another, and on what evidence."""
    mine, theirs = (
        group.get(x, metric, "all", role) or Estimate(float("nan")) for x in (label, other)
    )
    if mine.zero and theirs.zero:
        return False, "both exactly 0"
    if group.dust(label, role) and group.dust(other, role):
        return False, "both 0 but for rounding"
    if mine.zero and theirs.low > 0:
        return True, ""
    pair = group.pair(f"pairwise.{metric}", role, label, other)
    if pair and pair.measured:
        return pair.high < 1, f"{label} / {other} = {show(pair, 1)}"
    if metric == EFFICIENCY:
        return apart(group, role, label, other)
    return False, f"no paired comparison with {other}"


def apart(group: Group, role: str, label: str, other: str) -> tuple[bool, str]:
    """Compare by the intervals of both ratios to the baseline: below if they do not overlap."""
    mine, theirs = (ratio(group, EFFICIENCY, x, role) for x in (label, other))
    if mine is None or theirs is None:
        mine, theirs = (group.get(x, EFFICIENCY, "all", role) for x in (label, other))
    if mine is None or theirs is None:
        return False, f"no interval to compare with {other}"
    return mine.high < theirs.low, f"{label} {show(mine)} overlaps {other} {show(theirs)}"


def ratio(group: Group, metric: str, label: str, role: str = "all") -> Estimate | None:
    """Return an estimator's ratio to the baseline; exactly 1 for the baseline itself."""
    if label == group.baseline:
        return Estimate(1, 1, 1)
    found = group.get(label, f"ratio.{metric}", "all", role)
    return found if found and found.measured else None


def bounded(group: Group, roles: Iterable[str]) -> list[str]:
    """Name the ranked estimators whose variance was bounded in any of some roles."""
    found = {
        key[0]
        for key, e in group.figures.items()
        if e.status == "bounded" and key[1:3] == (VARIANCE, "all") and key[3] in set(roles)
    }
    return [label for label in group.labels if label in found and group.ranked(label)]


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
    if label == result.leader:
        ties = f"{doubt(result)} {' and '.join(result.unclear)}" if result.unclear else "lowest"
        return "alone" if result.alone else ties
    if label in result.unclear:
        return f"{doubt(result)} {result.leader}"
    return "higher" if label in result.beaten else "not measured"


def doubt(result: Contest) -> str:
    """Say how the leader stands to those it is not below: compared and tied, or not compared."""
    compared = all(not known.startswith("no ") for known in result.unclear.values())
    return "tied with" if compared else "unclear against"


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
