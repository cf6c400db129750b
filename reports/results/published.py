"""Published values and ours: which match, in what order, and how sure ours is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from reports.results.estimate import Estimate
from reports.results.groups import Group, index_of
from reports.results.load import Run
from reports.results.ranking import VARIANCE
from vdbench.statistics.verdicts import Verdict, judge_ratio

NOISE = "variance.noise"
EXACT = "exact"
"""The source of figures that are known, and not measured by anybody."""
SAME_RATIO = {"time.seconds_per_epoch": "time.seconds_per_gradient"}
"""Metrics whose ratios are those of another: an epoch has as many gradients for every estimator."""


@dataclass(frozen=True)
class Published:
    """A published figure, as a suite gives it: see ``vdbench.suite.schema.PublishedSpec``."""

    source: str
    metric: str
    estimator: str
    value: float
    problem: str = ""
    verified: bool = True
    checkpoint: str = ""
    layer: str = "all"
    role: str = "all"
    batch_size: int | None = None
    unit: str = ""
    note: str = ""

    def of(self, group: Group) -> bool:
        """Whether it is of a group's problem, checkpoint and minibatch size."""
        place = self.problem in ("", group.problem) and self.checkpoint in ("", group.checkpoint)
        return place and self.batch_size in (None, group.batch_size)


@dataclass(frozen=True)
class Judged:
    """How two estimators compare: the verdict, the ratio at the adjusted level, and whether it was widened."""

    verdict: Verdict
    ratio: Estimate
    widened: bool = False


@dataclass(frozen=True)
class Match:
    """Published figures of one metric, layer and role, with ours.

    Attributes:
        group: Where ours are from.
        metric: What they are of.
        layer: Of the network.
        role: Of the parameters.
        theirs: Published figures by estimator.
        ours: Our figures by estimator.
    """

    group: Group
    metric: str
    layer: str
    role: str
    theirs: dict[str, Published]
    ours: dict[str, Estimate]

    @property
    def order(self) -> list[str]:
        """The ranked estimators, in the order of our figures."""
        ranked = [label for label in self.ours if self.group.ranked(label)]
        return sorted(ranked, key=lambda label: self.ours[label].value)

    @property
    def published_order(self) -> list[str]:
        """The same estimators, in the order of the published figures."""
        return sorted(self.order, key=lambda label: self.theirs[label].value)

    @property
    def common(self) -> str:
        """The estimator that ratios are taken to: the baseline, or the lowest of ours."""
        order = self.order
        return self.group.baseline if self.group.baseline in order else next(iter(order), "")

    @property
    def floor(self) -> Published | None:
        """The published figure of an estimator of another objective: the network without noise."""
        noisy, base = self.group.local_noise(), self.group.baseline
        others = (x for x in self.theirs if x not in noisy and self.group.unlike(x, base))
        return next((self.theirs[x] for x in others if self.metric == VARIANCE), None)

    @property
    def metrics(self) -> list[str]:
        """The metrics compared: its own, and for a total variance the noise part as well."""
        return [self.metric, NOISE] if self.metric == VARIANCE else [self.metric]

    def ratio(self, label: str, metric: str) -> Estimate | None:
        """Return our ratio of an estimator to the common one, at the run's level where it is given."""
        if label == self.common:
            return Estimate(1, 1, 1)
        found = to_baseline(self.group, metric, self.layer, self.role, label, self.common)
        return found or quotient(self.group, metric, self.layer, self.role, label, self.common)

    def published_ratio(self, label: str, above: bool = False) -> float:
        """Return the ratio of the published figures to the common one, above the floor if asked."""
        if self.common not in self.theirs or (above and self.floor is None):
            return math.nan
        base = self.floor.value if above and self.floor else 0.0
        under = self.theirs[self.common].value - base
        return (self.theirs[label].value - base) / under if under > 0 else math.nan

    def verdicts(self, metric: str, comparisons: int) -> list[Judged | None]:
        """Compare each estimator with the next one in our order, at the adjusted level."""
        found = []
        for label, following in zip(self.order, self.order[1:], strict=False):
            pair = quotient(self.group, metric, self.layer, self.role, label, following)
            found.append(None if pair is None else judged(pair, self.group.run.level, comparisons))
        return found


def matches_of(group: Group) -> list[Match]:
    """Find the published values that a group has values of its own for.

    Args:
        group: The group.

    Returns:
        A match for each metric, layer and role that has any, in the suite's order.
    """
    found: dict[tuple[str, str, str], Match] = {}
    for figure in published(group):
        ours = group.get(figure.estimator, figure.metric, figure.layer, figure.role)
        if figure.of(group) and ours is not None and ours.measured:
            key = (figure.metric, figure.layer, figure.role)
            match = found.setdefault(key, Match(group, *key, {}, {}))
            match.theirs[figure.estimator] = figure
            match.ours[figure.estimator] = ours
    order = group.layers(VARIANCE)
    return sorted(found.values(), key=lambda x: (x.metric != VARIANCE, index_of(x.layer, order)))


def unmatched(groups: list[Group], others: Iterable[Run] = (), shown: Iterable[Published] = ()
              ) -> list[Published]:  # fmt: skip
    """Find the published values that have none of ours to compare with: not measured here, or misspelt.

    Args:
        groups: The groups of the report.
        others: Runs that have no group.
        shown: Values that are compared with ours elsewhere in the report.
    """
    matched = [
        figure
        for group in groups
        for match in matches_of(group)
        for figure in match.theirs.values()
    ]
    runs = {run.name: run for run in (*(group.run for group in groups), *others)}
    every = [figure for run in runs.values() for figure in published_of(run)]
    known = [*matched, *shown]
    theirs = [figure for figure in every if figure.source != EXACT]
    return [figure for i, figure in enumerate(theirs) if figure not in known + theirs[:i]]


def published(group: Group) -> Iterator[Published]:
    """Read the published figures of a group's suite, those that are known exactly left out."""
    return (figure for figure in published_of(group.run) if figure.source != EXACT)


def published_of(run: Run) -> Iterator[Published]:
    """Read the published figures of a run's suite."""
    known = {field.name for field in fields(Published)}
    suite: Any = run.info.get("suite") or {}
    for item in suite.get("published") or []:
        yield Published(**{key: value for key, value in item.items() if key in known})


def comparisons(matches: list[Match]) -> int:
    """Count the comparisons of a group's matches, for which verdicts are adjusted."""
    return sum(
        verdict is not None
        for match in matches
        for metric in match.metrics
        for verdict in match.verdicts(metric, 1)
    )


def to_baseline(
    group: Group, metric: str, layer: str, role: str, label: str, against: str
) -> Estimate | None:
    """Return the paired ratio to the baseline, or of the baseline; None for other pairs."""
    name = f"ratio.{SAME_RATIO.get(metric, metric)}"
    found = None
    if against == group.baseline:
        found = group.get(label, name, layer, role)
    elif label == group.baseline:
        other = group.get(against, name, layer, role)
        found = other.inverse if other and other.measured else None
    return found if found and found.measured else None


def quotient(
    group: Group, metric: str, layer: str, role: str, label: str, against: str
) -> Estimate | None:
    """Return the ratio of two estimators with the surest interval that there is.

    That of the pair at its adjusted level; else the ratio to the baseline; else the quotient of two
    such ratios, whose interval from end to end holds wherever both do.
    """
    name = f"pairwise.{SAME_RATIO.get(metric, metric)}"
    pair = group.pair(name, role, label, against, layer)
    if pair is not None and pair.measured:
        return pair
    direct = to_baseline(group, metric, layer, role, label, against)
    if direct is not None:
        return direct
    ends = [to_baseline(group, metric, layer, role, x, group.baseline) for x in (label, against)]
    if ends[0] is None or ends[1] is None or ends[1].low <= 0:
        return None
    upper, lower = ends[0], ends[1].inverse
    level = 1 - 2 * (1 - group.run.level)  # both intervals at once
    return replace(upper, value=upper.value * lower.value, low=upper.low * lower.low,
                   high=upper.high * lower.high, level=level)  # fmt: skip


def judged(ratio: Estimate, level: float, comparisons: int) -> Judged:
    """Judge a ratio at a level that all of several comparisons hold together.

    Args:
        ratio: The ratio.
        level: The run's level, at which the comparisons hold together, and that of a ratio that does not say its own.
        comparisons: How many there are.
    """
    own = ratio.level if math.isfinite(ratio.level) else level
    found = judge_ratio((ratio.value, ratio.low, ratio.high), own, level, comparisons)
    if not found.widened:
        return Judged(found.verdict, ratio)
    wide = replace(ratio, low=found.low, high=found.high, level=found.level)
    return Judged(found.verdict, wide, widened=True)
