"""Runs made of recorded units: resampled, stopped as a run stops, and the figures that it would report.

Where a run stops is found for many repetitions at once from sums of powers of the rows at every look; the figures at
the stop are made by the functions of `vdbench.measures` themselves. A test sees that both agree with
`vdbench.measures.stopping`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vdbench import statistics
from vdbench.measures.context import column
from vdbench.measures.metrics import LookSchedule, MetricValue, UnitRows
from vdbench.measures.stopping import schedule_of
from vdbench.measures.variance_metrics import variance, variance_ratios
from vdbench.problems.problem import Group
from vdbench.statistics.intervals import CURVATURE
from vdbench.statistics.sequential import student, two_sided
from vdbench.statistics.tails import Shape, arms
from vdbench.suite.schema import VarianceSpec

Numbers = NDArray[np.float64]
LEVEL = 0.95
SETTINGS = {
    "±5 %, 64 to 4096": VarianceSpec(precision=0.05, first_units=64, max_units=4096),
    "±10 %, 64 to 4096": VarianceSpec(precision=0.1, first_units=64, max_units=4096),
    "±15 %, 64 to 1024": VarianceSpec(precision=0.15, first_units=64, max_units=1024),
    "±50 %, 16 to 256": VarianceSpec(precision=0.5, first_units=16, max_units=256),
    "64 units": VarianceSpec(precision=0.05, first_units=64, max_units=64),
}
"""Stopping settings, the last of which stops at its bound."""


@dataclass(frozen=True)
class Recorded:
    """Units of an estimator, and of another on the same minibatches.

    Attributes:
        tables: Rows by estimator, the one in question first.
        sizes: Number of parameters of each layer and role.
    """

    tables: Mapping[str, Mapping[str, Numbers]]
    sizes: Mapping[Group, int]

    def units(self, chosen: NDArray[np.int64]) -> dict[str, UnitRows]:
        """The chosen units of each estimator."""
        return {
            name: UnitRows({k: v[chosen] for k, v in table.items()}, self.sizes)
            for name, table in self.tables.items()
        }

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(next(iter(next(iter(self.tables.values())).values())))


STEP = 16
"""Units of which sums are kept: every look is a multiple of it, but where blocks are of single units."""


@dataclass(frozen=True)
class Sums:
    """Means of the first three powers of noise and total rows, of the first so many units.

    Attributes:
        step: Units from one to the next.
        powers: Three arrays (K, C): of the first step, 2 · step, … units.
    """

    step: int
    powers: tuple[Numbers, Numbers, Numbers]

    @classmethod
    def of(cls, rows: UnitRows, step: int = STEP) -> Sums:
        """Of the columns that a run stops by, each over its mean."""
        names = [column(g, q) for g in rows.sizes for q in ("noise", "total")]
        x = np.stack([rows.table[name] for name in names], 1)
        x = x[: len(x) // step * step, x.std(0) > 0]
        x = x / x.mean(0)
        n = step * np.arange(1, len(x) // step + 1)[:, None]

        def means(y: Numbers) -> Numbers:
            return np.asarray(np.cumsum(y.reshape(-1, step, y.shape[1]).sum(1), 0) / n)

        square = x * x
        return cls(step, (means(x), means(square), means(square * x)))

    def stop(self, schedule: LookSchedule, first_rule: bool = False) -> int:
        """At how many units a run stops.

        Args:
            schedule: Of the run.
            first_rule: Whether by the rule of version 0.1: m·exp(±t·se/m), t of a boundary at all looks together.
        """
        looks = np.array(schedule.looks)
        one, two, three = (mean[looks // self.step - 1] for mean in self.powers)
        if not one.shape[1]:
            return schedule.looks[0]
        n = looks[:, None]
        second = np.maximum(two - one**2, 1e-300)
        error = np.sqrt(second / (n - 1)) / one
        if first_rule:
            z = statistics.critical_values(schedule.looks, LEVEL)
            half = [student(c, m) for c, m in zip(z, schedule.looks, strict=True)]
            below = above = np.array(half)[:, None] * error
        else:
            g = (three - 3 * one * two + 2 * one**3) / second**1.5 / np.sqrt(n)
            tails = Shape(g - CURVATURE * error, 0.0)
            reach = arms(tails, 0.0, error, two_sided(schedule.level), n)
            below, above = reach.below * error, reach.above * error
        with np.errstate(over="ignore"):
            widths = (np.exp(above) - np.exp(-below)) / 2
        narrow = (widths <= schedule.precision).all(1)
        return int(looks[narrow.argmax()]) if narrow.any() else schedule.looks[-1]


class ByRole(UnitRows):
    """Rows whose figures are made of all layers together only."""

    def groups(self) -> list[Group]:
        """Every role over all layers."""
        return [group for group in super().groups() if group.layer == "all"]


def figures(runs: Mapping[str, UnitRows], schedule: LookSchedule) -> list[MetricValue]:
    """What the run reports of the first estimator and its ratios to the other by role; noise and total by layer too."""
    mine, *others = (ByRole(rows.table, rows.sizes) for rows in runs.values())
    found = variance(mine, schedule)
    for other in others:
        found += variance_ratios(mine, other, schedule, "other")
    if len({group.layer for group in mine.sizes}) > 1:
        for group in mine.sizes:
            for q in ("noise", "total"):
                e = mine.positive(group, q, schedule.z(mine.n))
                name = f"variance.{q}"
                found.append(MetricValue(name, e, schedule.level, "1", group.layer, group.role))
    return found


Address = tuple[str, str, str]


@dataclass
class Tally:
    """What became of the intervals of one figure under one setting.

    Attributes:
        truth: What they are to hold.
        spread: Coefficient of variation of its rows; NaN of what is no mean of rows.
        runs: Repetitions.
        printed: Intervals that had ends.
        held: Of these, those that held the truth.
    """

    truth: float
    spread: float = np.nan
    runs: int = 0
    printed: int = 0
    held: int = 0

    def add(self, figure: MetricValue) -> None:
        """Count an interval; one without ends says nothing, and is not printed."""
        e = figure.estimate
        self.runs += 1
        if not np.isnan(e.value) and np.isfinite(e.high):
            self.printed += 1
            slack = 1e-9 * abs(self.truth)
            self.held += e.low - slack <= self.truth <= e.high + slack


@dataclass
class Found:
    """All repetitions of one case under one setting.

    Attributes:
        tallies: By metric, layer and role.
        units: At which runs stopped.
        before: At which they would have stopped by the rule of version 0.1.
        alarms: Of A/A comparisons, by role: how many, and how many were called different.
        power: By planted difference, how many comparisons were called in the right direction.
        wide: Runs of which an interval of noise or total had no end, and the largest spread of these rows.
    """

    tallies: dict[Address, Tally] = field(default_factory=dict)
    units: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    alarms: dict[str, list[int]] = field(default_factory=dict)
    power: dict[tuple[str, float], list[int]] = field(default_factory=dict)


DIFFERENCES = (0.1, 0.2)


def repeat(recorded: Recorded, runs: int, seed: int) -> dict[str, Found]:
    """Make so many runs under every setting."""
    truths = _truths(recorded)
    found = {name: Found({a: Tally(*t) for a, t in truths.items()}) for name in SETTINGS}
    generator = np.random.Generator(np.random.PCG64(seed))
    most = max(spec.max_units for spec in SETTINGS.values())
    earlier: dict[str, UnitRows] = {}
    for repetition in range(runs):
        units = recorded.units(generator.integers(recorded.count, size=most))
        sums = [Sums.of(rows) for rows in units.values()]
        for name, spec in SETTINGS.items():
            schedule = schedule_of(spec, LEVEL)
            counts = [one.stop(schedule) for one in sums]
            stopped = {
                label: UnitRows({k: v[:n] for k, v in rows.table.items()}, rows.sizes)
                for (label, rows), n in zip(units.items(), counts, strict=True)
            }
            one = found[name]
            one.units.append(counts[0])
            before = schedule_of(spec.model_copy(update={"anytime": True}), LEVEL)
            one.before.append(sums[0].stop(before, first_rule=True))
            for figure in figures(stopped, schedule):
                address = (figure.metric, figure.layer, figure.role)
                if address in one.tallies:
                    one.tallies[address].add(figure)
            mine = next(iter(stopped.values()))
            if repetition % 2:
                _compare(one, earlier[name], mine, schedule)
            earlier[name] = mine
    return found


def _compare(found: Found, a: UnitRows, b: UnitRows, schedule: LookSchedule) -> None:
    """Two runs of one estimator: a false alarm where they are called different, power where one is scaled."""
    one, other = (ByRole(rows.table, rows.sizes) for rows in (a, b))
    for figure in variance_ratios(one, other, schedule, "again"):
        if figure.metric != "ratio.variance.total":
            continue
        e, counts = figure.estimate, found.alarms.setdefault(figure.role, [0, 0])
        if np.isnan(e.value):
            continue
        counts[0] += 1
        counts[1] += not e.low <= 1 <= e.high
        for difference in DIFFERENCES:
            called = found.power.setdefault((figure.role, difference), [0, 0])
            called[0] += 1
            called[1] += e.low * (1 + difference) > 1


def _truths(recorded: Recorded) -> dict[Address, tuple[float, float]]:
    """The figures of all recorded units together, and the spread of their rows, where there is something to cover."""
    whole = recorded.units(np.arange(recorded.count))
    mine = next(iter(whole.values()))
    schedule = LookSchedule((recorded.count,), LEVEL, 0.0)
    found = {}
    for figure in figures(whole, schedule):
        e, quantity = figure.estimate, figure.metric.rpartition(".")[2]
        spread = np.nan
        if figure.metric.startswith("variance."):
            rows = mine.of(Group(figure.layer, figure.role), quantity)
            spread = float(np.std(rows) / abs(np.mean(rows))) if np.mean(rows) else np.nan
        if np.isfinite(e.value) and e.low < e.high:
            found[figure.metric, figure.layer, figure.role] = (e.value, spread)
    return found


def refused(found: Found, most: float) -> Iterator[tuple[Address, float]]:
    """Shares of intervals without ends, of noise and total whose rows have a spread below ``most``."""
    for address, tally in found.tallies.items():
        if address[0] in ("variance.noise", "variance.total") and tally.spread < most:
            yield address, 1 - tally.printed / max(1, tally.runs)


def ratios(found: Sequence[Found]) -> float:
    """Units before over units now, on average over runs."""
    return sum(map(sum, (f.before for f in found))) / sum(map(sum, (f.units for f in found)))
