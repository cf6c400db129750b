"""What figures are made of: values with an interval, rows of units, and when they are looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vdbench import statistics
from vdbench.measures.context import column
from vdbench.problems.problem import Group
from vdbench.statistics import Estimate, ranges
from vdbench.statistics.sequential import two_sided
from vdbench.store import Table

SQUARED = "gradient^2"


@dataclass(frozen=True)
class MetricValue:
    """A row of results, less what its cell says: metric, place in the network, value and interval.

    ``message`` is a note for readers; ``detail`` has its facts, by the keys of `vdbench.schema.DETAILS`. ``precision``
    is '' for the suite's.
    """

    metric: str
    estimate: Estimate
    level: float
    unit: str
    layer: str = "all"
    role: str = "all"
    step: float = math.nan
    seconds: float = math.nan
    status: str = "ok"
    message: str = ""
    against: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""

    def __post_init__(self) -> None:
        """Cut off what the quantity cannot be from its interval."""
        e = self.estimate
        low, high = ranges.clip(self.metric, e.value, e.low, e.high)
        if (low, high) != (e.low, e.high):
            object.__setattr__(self, "estimate", replace(e, low=low, high=high))


FIGURE, RATIO, VERDICT = "figure", "ratio", "verdict"
"""What a target is an interval of: a variance, its ratio to the baseline's, or this at the level of verdicts."""


@dataclass(frozen=True)
class Target:
    """Intervals that are to be narrow.

    Attributes:
        interval: One of `FIGURE`, `RATIO`, `VERDICT`.
        quantity: ``noise`` or ``total``; '' for both.
        layer: A layer, or ``all`` for the average over layers; '' for every layer by itself.
        role: A role; '' for every one.
        precision: Relative half-width.
    """

    interval: str
    quantity: str
    layer: str
    role: str
    precision: float

    def means(self, group: Group, quantity: str) -> bool:
        """Whether it is about a quantity of a layer and role."""
        layer = self.layer == group.layer if self.layer else group.layer != "all"
        return layer and self.role in ("", group.role) and self.quantity in ("", quantity)


@dataclass(frozen=True)
class LookSchedule:
    """When a cell looks at its intervals, and how precise they are to be.

    Attributes:
        looks: Numbers of units.
        level: Level of the intervals.
        precision: Relative half-width aimed at.
        block: Units measured and stored together; each look is a multiple of it. 0 for the first look.
        anytime: Whether the intervals of all looks hold together, for a run that is stopped by hand. A run that
            stops on the width of its intervals alone needs no such boundary (`vdbench.statistics.tails`).
        targets: The intervals that are to be so narrow; none for noise and total in every layer and role.
    """

    looks: tuple[int, ...]
    level: float
    precision: float
    block: int = 0
    anytime: bool = False
    targets: tuple[Target, ...] = ()

    def aim(self, group: Group, quantity: str, interval: str = FIGURE) -> float | None:
        """The half-width that is aimed at for noise or total of a layer and role; None where it may be any."""
        if not self.targets:
            return self.precision if interval == FIGURE else None
        aims = [
            t.precision for t in self.targets if t.interval == interval and t.means(group, quantity)
        ]
        return min(aims, default=None)

    def own(self) -> LookSchedule:
        """The same without targets that need the baseline's units."""
        return replace(self, targets=tuple(t for t in self.targets if t.interval == FIGURE))

    def z(self, n: int, comparisons: int = 1) -> float:
        """Critical value at the look at n units, Bonferroni-adjusted for so many comparisons."""
        level = 1 - (1 - self.level) / comparisons
        if not self.anytime:
            return two_sided(level)
        return statistics.critical_values(self.looks, level)[self.looks.index(n)]

    def between(self, n: int, other: int, comparisons: int = 1) -> float:
        """Critical value of a ratio of cells that stopped at ``n`` and ``other`` units.

        With ``anytime``, any pair of different looks could have been the last: the critical value of the level
        adjusted for `APART` comparisons holds at all of these pairs at once.
        """
        apart = APART if self.anytime and n != other else 1
        return self.z(min(n, other), comparisons * apart)


APART = 3
"""What the level of a ratio is adjusted for with ``anytime`` where its two cells stopped at different looks."""


@dataclass(frozen=True)
class Beside:
    """What a target needs that is a ratio.

    Attributes:
        label: The baseline.
        rows: Its units, the same as those that they stand beside.
        comparisons: Pairs of estimators at the place.
    """

    label: str
    rows: UnitRows
    comparisons: int


@dataclass(frozen=True)
class UnitRows:
    """Unit rows of one cell.

    Attributes:
        table: Columns ``layer|role|quantity`` of shape (n,).
        sizes: Number of parameters of each layer and role.
        message: How they were obtained, where not from whole gradients.
        signed: Whether single rows of the total may be negative, although what their mean estimates is not.
        detail: The facts of ``message``.
        beside: The baseline's, where ratios to it are waited for; else None.
    """

    table: Table
    sizes: Mapping[Group, int]
    message: str = ""
    signed: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)
    beside: Beside | None = None
    cache: dict[tuple[Group, str], Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def n(self) -> int:
        """Units."""
        return len(next(iter(self.table.values())))

    def positive(self, group: Group, quantity: str, z: float) -> Estimate:
        """The mean of noise or total, with its interval."""
        return statistics.positive_mean(self.of(group, quantity), z, signed=self.signed)

    def groups(self) -> list[Group]:
        """Every layer and role, then every role over all layers."""
        roles = dict.fromkeys(group.role for group in self.sizes)
        return [*self.sizes, *(Group("all", role) for role in roles)]

    def of(self, group: Group, quantity: str) -> Any:
        """One value a unit, averaged over the parameters of the group."""
        if (group, quantity) not in self.cache:
            self.cache[group, quantity] = self._of(group, quantity)
        return self.cache[group, quantity]

    def _of(self, group: Group, quantity: str) -> Any:
        if group.layer != "all":
            return self.table[column(group, quantity)]
        parts = {g: size for g, size in self.sizes.items() if g.role == group.role}
        weighted = sum(size * self.table[column(g, quantity)] for g, size in parts.items())
        return weighted / sum(parts.values())
