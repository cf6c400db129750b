"""Comparisons that ended inconclusive, and about how many units would settle each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.ranking import EFFICIENCY, PAIRED, VARIANCE, contest
from vdbench.statistics.verdicts import TOLERANCE, Verdict

MARGIN = 1.5
"""Factor on the units: the next interval lies elsewhere, and its width varies."""


@dataclass(frozen=True)
class Open:
    """A comparison of the lowest estimator with another that is inconclusive.

    Attributes:
        group: Where.
        role: In which kind of parameter.
        metric: ``variance.total`` or ``efficiency.variance_seconds``.
        lowest: The estimator with the lowest figure.
        other: The one compared with.
        ratio: Of the lowest to the other; None where only intervals were compared.
    """

    group: Group
    role: str
    metric: str
    lowest: str
    other: str
    ratio: Estimate | None

    @property
    def units(self) -> int | None:
        """About how many units would settle it; None where the pair's ratio is not known."""
        found = self.ratio
        if found is None or found.n <= 0 or not 0 < found.low <= found.high < math.inf:
            return None
        return math.ceil(found.n * MARGIN * growth(found.value, found.low, found.high))


def growth(value: float, low: float, high: float) -> float:
    """Return by which factor the units must grow until an interval as wide as 1/√n settles a ratio.

    Settled is one whose interval excludes 1, or lies within the tolerance of 1; whichever takes less.
    """
    half = math.log(high / low) / 2
    away = abs(math.log(value))
    room = max(away, math.log1p(TOLERANCE) - away)
    return max(1.0, (half / room) ** 2)


def open_pairs(group: Group) -> Iterator[Open]:
    """Go through the inconclusive comparisons with the lowest estimator, by variance × time and by variance."""
    for metric in (EFFICIENCY, VARIANCE):
        for role in group.headline_roles():
            found = contest(group, metric, role)
            if found.zeros:
                continue
            for other, evidence in found.others.items():
                if evidence.verdict is Verdict.INCONCLUSIVE:
                    pair = evidence.ratio if evidence.kind == PAIRED else None
                    yield Open(group, role, metric, found.leader, other, pair)
