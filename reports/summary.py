"""The headline: which estimator won, by how much, how surely, and at what cost.

A winner is *established* where its paired ratio to every other ranked estimator lies below 1 with
its whole interval; those ratios are already adjusted for the number of pairs. Otherwise the verdict
is UNCLEAR, and says against whom. Roles (mean and scale, theta and alpha) are never merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from reports.groups import Group
from reports.numbers import Estimate, format_interval, percent, show, show_seconds, span

VARIANCE = "variance.total"
EFFICIENCY = "efficiency.variance_seconds"
LOWEST = {VARIANCE: "Lowest variance", EFFICIENCY: "Lowest variance × seconds"}


@dataclass(frozen=True)
class Line:
    """One sentence of the headline: what it is about, and what it says."""

    lead: str
    body: str

    @property
    def text(self) -> str:
        """The whole sentence, as plain text."""
        return f"{self.lead}: {self.body}"


@dataclass(frozen=True)
class Contest:
    """The outcome of one comparison, in one role.

    Attributes:
        role: The role compared in.
        leader: The ranked estimator with the lowest figure; empty where none was measured.
        beaten: Those that it is established to be below.
        unclear: The others, each with what is known of the leader's ratio to it.
        tied: Whether the leader and the unclear ones are all exactly zero.
    """

    role: str
    leader: str
    beaten: list[str]
    unclear: dict[str, str]
    tied: bool = False

    @property
    def established(self) -> bool:
        """Whether the leader is below every other."""
        return bool(self.beaten) and not self.unclear


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
    tied = values[leader].zero and all(values[other].zero for other in unclear)
    return Contest(role, leader, beaten, unclear, tied and bool(unclear))


def compare(group: Group, metric: str, role: str, label: str, other: str) -> tuple[bool, str]:
    """Say whether one estimator is established to be below another, and on what evidence."""
    mine, theirs = (
        group.get(x, metric, "all", role) or Estimate(float("nan")) for x in (label, other)
    )
    if mine.zero and theirs.zero:
        return False, "both exactly 0"
    if mine.zero and theirs.low > 0:
        return True, ""
    pair = group.pair(f"pairwise.{metric}", role, label, other)
    if pair and pair.measured:
        return pair.high < 1, f"{label} / {other} = {show(pair, 1)}"
    if metric == EFFICIENCY:
        return apart(group, role, label, other)
    return False, "no paired comparison"


def apart(group: Group, role: str, label: str, other: str) -> tuple[bool, str]:
    """Compare by the intervals of both ratios to the baseline: below if they do not overlap."""
    mine, theirs = (ratio(group, EFFICIENCY, x, role) for x in (label, other))
    if mine is None or theirs is None:
        mine, theirs = (group.get(x, EFFICIENCY, "all", role) for x in (label, other))
    if mine is None or theirs is None:
        return False, "no interval"
    return mine.high < theirs.low, f"its {show(mine)} overlaps {show(theirs)}"


def ratio(group: Group, metric: str, label: str, role: str = "all") -> Estimate | None:
    """Return an estimator's ratio to the baseline; exactly 1 for the baseline itself."""
    if label == group.baseline:
        return Estimate(1, 1, 1)
    found = group.get(label, f"ratio.{metric}", "all", role)
    return found if found and found.measured else None


def standing(group: Group, result: Contest, label: str, metric: str = VARIANCE) -> str:
    """Say in a few words how one estimator did in a contest."""
    if label == result.leader:
        if result.established:
            return "lowest, established"
        return f"lowest, UNCLEAR against {', '.join(result.unclear)}" if result.unclear else "alone"
    if label in result.unclear:
        return f"{'ties with' if result.tied else 'not told apart from'} {result.leader}"
    return f"above {result.leader}, established" if label in result.beaten else "not measured"


def verdict(group: Group, label: str) -> str:
    """Say how one estimator did, role by role; or why it is not ranked."""
    reason = group.why_not_ranked(label)
    if reason:
        return reason
    roles = group.headline_roles()
    said = {role: standing(group, contest(group, VARIANCE, role), label) for role in roles}
    if len(set(said.values())) == 1 and len(said) > 1:
        return f"{' and '.join(said)}: {next(iter(said.values()))}"
    return "; ".join(f"{role}: {words}" for role, words in said.items())


def sentences(group: Group) -> list[Line]:
    """Write the headline of a group.

    Args:
        group: The group.

    Returns:
        A sentence on variance, one on variance × seconds, one on the cost; as far as measured.
    """
    roles = group.headline_roles()
    if not roles:
        return [
            Line("Not ranked", "this run has no variance over all layers to rank by."),
            *cost(group),
        ]
    by_variance = [contest(group, VARIANCE, role) for role in roles]
    lines = [Line(LOWEST[VARIANCE], f"{clauses(group, by_variance, VARIANCE)} ({basis(group)}).")]
    by_cost = [contest(group, EFFICIENCY, role) for role in roles]
    if any(found.leader for found in by_cost):
        said = clauses(group, by_cost, EFFICIENCY)
        lines.append(Line(LOWEST[EFFICIENCY], f"{said} ({efficiency_basis(group)})."))
    leaders = dict.fromkeys(found.leader for found in by_variance + by_cost if found.leader)
    return lines + cost(group, list(leaders))


def clauses(group: Group, contests: list[Contest], metric: str) -> str:
    """Say the outcome of each role; once where one estimator is established in all."""
    first = contests[0]
    alike = {(found.leader, *sorted(found.beaten)) for found in contests}
    if len(contests) > 1 and len(alike) == 1 and all(found.established for found in contests):
        roles = " and ".join(found.role for found in contests)
        sizes = ", ".join(f"{c.role} {size(group, c, metric)}" for c in contests)
        return f"{first.leader} in {roles}: {sizes}; established against {whom(first)}"
    return "; ".join(f"{found.role}: {clause(group, found, metric)}" for found in contests)


def clause(group: Group, found: Contest, metric: str) -> str:
    """Say the outcome of one role."""
    if not found.leader:
        return "not measured"
    if not found.beaten and not found.unclear:
        return f"{found.leader} alone, nothing to compare it with"
    lead = f"{found.leader}, {size(group, found, metric)}"
    if found.established:
        return f"{lead}, established against {whom(found)}"
    if found.tied:
        return f"TIE of {', '.join([found.leader, *found.unclear])}, all exactly 0"
    doubts = ", ".join(f"{other} ({known})" for other, known in found.unclear.items())
    rest = f", established against {whom(found)}" if found.beaten else ""
    return f"UNCLEAR: {lead} is lowest{rest}, but not told apart from {doubts}"


def whom(found: Contest) -> str:
    """Name those beaten, counting them where they are all."""
    if found.unclear or len(found.beaten) == 1:
        return ", ".join(found.beaten)
    return "both others" if len(found.beaten) == 2 else f"all {len(found.beaten)} others"


def size(group: Group, found: Contest, metric: str) -> str:
    """Say by how much the leader is below the baseline, or the next one below the baseline."""
    if found.leader != group.baseline:
        known = ratio(group, metric, found.leader, found.role)
        return (
            f"{show(known, 1)} × {group.baseline}" if known else "ratio to the baseline not known"
        )
    others = {x: ratio(group, metric, x, found.role) for x in (*found.beaten, *found.unclear)}
    known_ones = {x: e for x, e in others.items() if e is not None}
    if not known_ones:
        return "the baseline"
    runner = min(known_ones, key=lambda x: known_ones[x].value)
    return f"the baseline, with {runner} next at {show(known_ones[runner], 1)} ×"


def basis(group: Group) -> str:
    """Say how sure the verdicts on variance are, and on how many units they rest."""
    pairs = [e.n for key, e in group.pairs.items() if key[0] == f"pairwise.{VARIANCE}" and e.n]
    own = [e.n for key, e in group.figures.items() if key[1] == VARIANCE and e.n]
    level = percent(group.run.level)
    return (
        f"intervals at {level}; verdicts at {level} over all pairs together; {span(pairs or own)}"
    )


def efficiency_basis(group: Group) -> str:
    """Say how sure the verdicts on variance × seconds are."""
    level = percent(group.run.level)
    if any(key[0] == f"pairwise.{EFFICIENCY}" for key in group.pairs):
        return f"verdicts at {level} over all pairs together"
    return f"established where the {level} intervals of the ratios do not overlap, not adjusted"


def cost(group: Group, labels: list[str] | None = None) -> list[Line]:
    """Say what a gradient of each of some estimators costs; of every ranked one by default."""
    chosen = labels if labels is not None else [x for x in group.labels if group.ranked(x)]
    said = [words for label in chosen if (words := cost_of(group, label))]
    return [Line("Cost of a gradient", f"{'; '.join(said)}.")] if said else []


def cost_of(group: Group, label: str) -> str:
    """Say what a gradient of an estimator costs, and what multiple of the baseline's that is."""
    seconds = group.get(label, "time.seconds_per_gradient")
    if seconds is None or not seconds.measured:
        return ""
    known = ratio(group, "time.seconds_per_gradient", label)
    times = "the baseline" if label == group.baseline else ""
    if known and not times:
        times = f"{format_interval(known.value, known.low, known.high, 1)} × {group.baseline}"
    return f"{label} {show_seconds(seconds)}{f' ({times})' if times else ''}"


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
    return list(chain(dict.fromkeys(f"{label}: {metric}" for label, metric in failed)))
