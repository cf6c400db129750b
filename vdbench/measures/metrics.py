"""From rows of units to figures: every value with its interval, its n and its status."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from vdbench import statistics
from vdbench.measures.context import column
from vdbench.measures.convergence import seconds_to
from vdbench.problems.problem import Group
from vdbench.statistics import Estimate
from vdbench.statistics.sequential import two_sided
from vdbench.store import Table

SQUARED = "gradient^2"


@dataclass(frozen=True)
class Figure:
    """A row of results, less what its cell says: metric, place in the network, value and interval."""

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


@dataclass(frozen=True)
class Schedule:
    """When a cell looks at its intervals, and how precise they are to be.

    Attributes:
        looks: Numbers of units.
        level: Level of the intervals, all looks taken together.
        precision: Relative half-width aimed at.
        apart: What the level of a ratio is adjusted for where its two cells stopped at different looks. Any pair
            of different looks could then have been the last; the critical value of the level adjusted for three
            comparisons holds at all of these pairs at once. (Together with the pairs of equal looks, which have the
            boundary's own value, a rule that chose the worst pair would miss 5 to 7 % instead of 5 %, the more the
            less the cells have in common. Runs stop by precision, not by value: coverage where they stop is
            measured by the suite ``instrument``.)
    """

    looks: tuple[int, ...]
    level: float
    precision: float
    apart: ClassVar[int] = 3

    def z(self, n: int, comparisons: int = 1) -> float:
        """Critical value at the look at n units, Bonferroni-adjusted for so many comparisons."""
        level = 1 - (1 - self.level) / comparisons
        return statistics.critical_values(self.looks, level)[self.looks.index(n)]


@dataclass(frozen=True)
class Rows:
    """Unit rows of one cell.

    Attributes:
        table: Columns ``layer|role|quantity`` of shape (n,).
        sizes: Number of parameters of each layer and role.
        message: How they were obtained, where not from whole gradients.
        signed: Whether single rows of the total may be negative, although what their mean estimates is not.
    """

    table: Table
    sizes: Mapping[Group, int]
    message: str = ""
    signed: bool = False
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


def widest(rows: Rows, schedule: Schedule) -> tuple[float, str]:
    """The largest relative half-width among the noise and total variances, and whose it is."""
    found = []
    for group in rows.sizes:
        for quantity in ("noise", "total"):
            estimate = rows.positive(group, quantity, schedule.z(rows.n))
            found.append(
                (estimate.relative_half_width, f"{quantity} of {group.layer} {group.role}")
            )
    return max(found)


def variance(rows: Rows, schedule: Schedule) -> list[Figure]:
    """Total, noise part, data part and signal-to-noise ratio of every layer and role."""
    z = schedule.z(rows.n)
    figures = []
    for group in rows.groups():
        for quantity in ("total", "noise"):
            estimate = rows.positive(group, quantity, z)
            reached = estimate.relative_half_width <= schedule.precision
            status = "converged" if reached else "bounded"
            figures.append(
                Figure(
                    f"variance.{quantity}",
                    estimate,
                    schedule.level,
                    SQUARED,
                    group.layer,
                    group.role,
                    status=status,
                    message=rows.message,
                )
            )
        data = statistics.mean(rows.of(group, "data"), z)
        snr = statistics.ratio_root(rows.of(group, "signal"), rows.of(group, "total"), z)
        figures += [
            Figure(
                name, estimate, schedule.level, unit, group.layer, group.role, message=rows.message
            )
            for name, estimate, unit in (("variance.data", data, SQUARED), ("snr", snr, "1"))
        ]
    return figures


def variance_ratios(
    rows: Rows, other: Rows, schedule: Schedule, against: str, comparisons: int = 0
) -> list[Figure]:
    """Paired ratios of total and noise to another estimator's.

    Where the two stopped at different looks, the intervals are at an adjusted level (`Schedule.apart`).

    Args:
        rows: The numerator.
        other: The denominator.
        schedule: Of both.
        against: Label of the denominator.
        comparisons: 0 for the ratio to the baseline; else the number of pairs of estimators that the level is
            adjusted for, times the number of layers where a row is about one of them.
    """
    n = min(rows.n, other.n)
    layers = len({group.layer for group in rows.sizes})
    kind = "pairwise" if comparisons else "ratio"
    figures = []
    for group in rows.groups():
        if group not in other.groups():
            continue
        count = max(1, comparisons * (1 if group.layer == "all" else layers))
        level = 1 - (1 - schedule.level) / count
        z = schedule.z(n, count if rows.n == other.n else count * schedule.apart)
        for quantity in ("total", "noise"):
            a, b = rows.of(group, quantity), other.of(group, quantity)
            figures.append(
                Figure(
                    f"{kind}.variance.{quantity}",
                    statistics.ratio(a, b, z, signed=rows.signed or other.signed),
                    level,
                    "1",
                    layer=group.layer,
                    role=group.role,
                    message=rows.message or (other.message and f"{against}: {other.message}"),
                    against=against,
                )
            )
    return figures


def bias(rows: Rows, level: float, reference: str, estimators: int) -> list[Figure]:
    """Relative bias of every layer and role, and of every role over all layers at an adjusted level.

    Args:
        rows: ``bias2`` and ``reference2`` of every unit.
        level: Of the intervals.
        reference: Label of the reference.
        estimators: How many are checked at this place; the adjusted rows hold for all of them and all roles at once.
    """
    roles = len({group.role for group in rows.sizes})
    adjusted = 1 - (1 - level) / max(1, estimators * roles)
    wanted = [("relative_bias", group, level) for group in rows.groups()]
    wanted += [
        ("adjusted.relative_bias", group, adjusted)
        for group in rows.groups()
        if group.layer == "all"
    ]
    figures = []
    for metric, group, at in wanted:
        bias2, size2 = rows.of(group, "bias2"), rows.of(group, "reference2")
        estimate = statistics.ratio_root(bias2, size2, two_sided(at))
        message = f"reference: {reference}"
        figures.append(Figure(metric, estimate, at, "1", group.layer, group.role, message=message))
    return figures


def samples_of(table: Table, label: str) -> Any:
    """Seconds per gradient of one estimator, a value a round, in the order of rounds."""
    mine = table["estimator"] == label
    order = np.argsort(table["round"][mine], kind="stable")
    return table["seconds"][mine][order]


def throughput(table: Table, label: str, batch_size: int, level: float) -> list[Figure]:
    """Seconds per gradient (median over rounds), gradients and examples per second."""
    seconds = statistics.median(samples_of(table, label), level)
    rate = _inverse(seconds)
    each = Estimate(batch_size * rate.value, batch_size * rate.low, batch_size * rate.high, rate.n)
    return [
        Figure("time.seconds_per_gradient", seconds, level, "s"),
        Figure("throughput.gradients_per_second", rate, level, "gradients/s"),
        Figure("throughput.examples_per_second", each, level, "examples/s"),
    ]


def epoch(gradient: Figure, steps: int) -> Figure:
    """Seconds of an epoch's gradients, from the seconds of one; the optimizer's steps are not in it."""
    one = gradient.estimate
    estimate = Estimate(steps * one.value, steps * one.low, steps * one.high, one.n)
    message = f"{steps} gradients"
    return Figure("time.seconds_per_epoch", estimate, gradient.level, "s", message=message)


def _inverse(a: Estimate) -> Estimate:
    low = 1 / a.high if a.high > 0 else math.inf
    high = 1 / a.low if a.low > 0 else math.inf
    return Estimate(1 / a.value, low, high, a.n)


def time_ratio(
    table: Table, label: str, against: str, level: float, comparisons: int = 0
) -> Figure:
    """Ratio of seconds per gradient, paired round by round."""
    adjusted = 1 - (1 - level) / max(1, comparisons)
    ratios = samples_of(table, label) / samples_of(table, against)
    kind = "pairwise" if comparisons else "ratio"
    return Figure(
        f"{kind}.time.seconds_per_gradient",
        statistics.median(ratios, adjusted),
        adjusted,
        "1",
        against=against,
    )


def efficiency(variances: list[Figure], time: Figure) -> list[Figure]:
    """Variance × seconds: what a gradient's variance costs when draws are averaged for a fixed time.

    Takes variances and seconds, or their ratios to the same estimator; the metric's first part is kept.
    """
    figures = []
    for item in variances:
        if item.layer != "all" or not item.metric.endswith("variance.total"):
            continue
        figures.append(
            Figure(
                item.metric.replace("variance.total", "efficiency.variance_seconds"),
                statistics.product(item.estimate, time.estimate),
                item.level,
                "1" if item.unit == "1" else f"{SQUARED}·s",
                layer=item.layer,
                role=item.role,
                message=item.message,
                against=item.against,
            )
        )
    return figures


def memory(table: Table, level: float) -> list[Figure]:
    """Peak bytes of one gradient, median over processes."""
    return [Figure("memory.peak_bytes", statistics.median(table["bytes"], level), level, "bytes")]


def convergence(seeds: list[Table], level: float, target: float | None) -> list[Figure]:
    """ELBO by step and second, final ELBO, test figures, and seconds to a target.

    Args:
        seeds: One training each.
        level: Of the intervals over seeds.
        target: ELBO to be reached, nats; None for no such figure.
    """
    figures = []
    for place, step in enumerate(seeds[0]["step"]):
        figures.append(
            Figure(
                "convergence.elbo",
                statistics.seed_mean([s["elbo"][place] for s in seeds], level),
                level,
                "nats",
                step=float(step),
                seconds=float(np.mean([s["seconds"][place] for s in seeds])),
            )
        )
    for metric, name, unit in (
        ("convergence.final_elbo", "elbo", "nats"),
        ("test.error", "error", "percent"),
        ("test.nll", "nll", "nats/example"),
    ):
        values = [float(s[name][-1]) for s in seeds]
        if all(math.isfinite(v) for v in values):
            figures.append(Figure(metric, statistics.seed_mean(values, level), level, unit))
    if target is not None:
        figures.append(_seconds_to_target(seeds, level, target))
    return figures


def _seconds_to_target(seeds: list[Table], level: float, target: float) -> Figure:
    times = [seconds_to(target, s["seconds"], s["elbo"]) for s in seeds]
    reached = sum(math.isfinite(t) for t in times)
    message = f"target {target:.6g} nats, reached by {reached} of {len(seeds)} seeds"
    metric = "convergence.seconds_to_target"
    if reached < len(seeds) or min(times) <= 0:
        nothing = Estimate(math.nan, math.nan, math.nan, reached)
        return Figure(metric, nothing, level, "s", status="bounded", message=message)
    return Figure(metric, statistics.log_mean(times, level), level, "s", message=message)
