"""When a cell has enough: look at the intervals at the scheduled numbers of units, stop when they are narrow.

The one place where this is decided: a run calls it with blocks from its store, and the suite `instrument` calls
it again and again with fresh units, so that what is found about coverage is found about what runs do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vdbench import statistics
from vdbench.measures.metrics import Beside, LookSchedule, Target, UnitRows
from vdbench.measures.variance_metrics import lacking, wanted
from vdbench.problems.problem import Group
from vdbench.store import Table, concatenate
from vdbench.suite.schema import Suite, VarianceSpec


def look_schedule(suite: Suite) -> LookSchedule:
    """The looks of a suite's variance cells; the suite must measure variance."""
    spec = suite.measures.variance
    assert spec is not None
    return schedule_of(spec, suite.level)


def schedule_of(spec: VarianceSpec, level: float) -> LookSchedule:
    """The looks of one measure of variance."""
    looks = statistics.looks if spec.anytime else statistics.fine_looks
    first = spec.first_units
    found = looks(first, spec.max_units)
    targets = tuple(
        Target(
            t.interval, t.quantity or "", t.layer or "", t.role or "", t.precision or spec.precision
        )
        for t in spec.targets
    )
    return LookSchedule(found, level, spec.precision, first, spec.anytime, targets)


@dataclass(frozen=True)
class Baseline:
    """Where the baseline's units come from.

    Attributes:
        label: Its label.
        sizes: Number of parameters of each layer and role.
        units: Its units from one number to another.
        comparisons: Pairs of estimators at the place.
    """

    label: str
    sizes: Mapping[Group, int]
    units: Callable[[int, int], Table]
    comparisons: int


@dataclass(frozen=True)
class Stopped:
    """Where a cell stopped.

    Attributes:
        rows: Its units.
        width: Relative half-width of the interval that lacks most.
        aim: The half-width that was aimed at for that.
        converged: Whether that is the precision asked for, or better; else the bound was reached.
        reason: In words.
        detail: In facts.
    """

    rows: UnitRows
    width: float
    converged: bool
    reason: str
    detail: Mapping[str, Any]
    aim: float

    @property
    def status(self) -> str:
        """``converged`` or ``bounded``."""
        return "converged" if self.converged else "bounded"


class Stopping:
    """Takes blocks of units until noise and total are precise enough, or the bound is reached.

    Use::

        stopping = Stopping(schedule, sizes)
        for start, stop in stopping.blocks():
            stopping.add(units(start, stop))
        stopped = stopping.stopped
    """

    def __init__(
        self,
        schedule: LookSchedule,
        sizes: Mapping[Group, int],
        message: str = "",
        signed: bool = False,
        detail: Mapping[str, Any] | None = None,
        baseline: Baseline | None = None,
    ) -> None:
        """Begin with no unit.

        Args:
            schedule: When to look, and how precise is precise enough.
            sizes: Number of parameters of each layer and role.
            message: How rows were obtained, as in `UnitRows`.
            signed: Whether single rows may be negative, as in `UnitRows`.
            detail: The facts of ``message``.
            baseline: Whose units are taken too, as targets are ratios to it; None where there are no such.
        """
        self._schedule = schedule
        self._baseline, self._theirs = baseline, list[Table]()
        self._about = (sizes, message, signed, detail or {})
        self._parts: list[Table] = []
        self.stopped: Stopped

    def blocks(self) -> Iterator[tuple[int, int]]:
        """The next units to take, ``start`` and one past the last, block by block."""
        size = self._schedule.block or self._schedule.looks[0]
        for n in self._schedule.looks:
            while len(self._parts) * size < n:
                start = len(self._parts) * size
                yield start, start + size
            self.stopped = self._look(n)
            if self.stopped.converged:
                return

    @property
    def told(self) -> str:
        """How far it is: the units taken, and the widest interval at the last look beside the one asked for."""
        found = getattr(self, "stopped", None)
        units = f"{self._taken} units"
        if found is None or not math.isfinite(found.width):
            return f"{units}, at most {self._schedule.looks[-1]}"
        return f"{units}, ±{100 * found.width:.2g} % (±{100 * found.aim:.2g} % asked)"

    @property
    def share(self) -> float:
        """Units taken, of those that the last look foresees: a half-width falls with the root of their number."""
        found, most = getattr(self, "stopped", None), self._schedule.looks[-1]
        if found is not None and math.isfinite(found.width):
            needed = found.rows.n * (found.width / found.aim) ** 2
            most = min(most, max(math.ceil(needed), self._taken, 1))
        return self._taken / most

    @property
    def _taken(self) -> int:
        return len(self._parts) * (self._schedule.block or self._schedule.looks[0])

    def add(self, units: Table) -> None:
        """Take in the units of a block."""
        if self._baseline:
            start = self._taken
            size = self._schedule.block or self._schedule.looks[0]
            self._theirs.append(self._baseline.units(start, start + size))
        self._parts.append(units)

    def _rows(self) -> UnitRows:
        beside = None
        if self._baseline:
            theirs = UnitRows(concatenate(self._theirs), self._baseline.sizes)
            beside = Beside(self._baseline.label, theirs, self._baseline.comparisons)
        return UnitRows(concatenate(self._parts), *self._about, beside)

    def _look(self, n: int) -> Stopped:
        rows = self._rows()
        asked = wanted(rows, self._schedule)
        if not asked:
            reason = f"{n} units; all targets are intervals of other cells"
            return Stopped(rows, 0.0, True, reason, {"stop": "precision", "units": n}, math.inf)
        width, where, aim = lacking(asked)
        facts = {"units": n, "width": width, "widest": where}
        if self._schedule.targets:
            facts["aim"] = aim
        if width <= aim:
            reason = f"±{aim:.3g} reached at {n} units"
            if self._schedule.targets:
                reason += f", in all that was asked for; the last to reach it: {where}"
            return Stopped(rows, width, True, reason, {"stop": "precision", **facts}, aim)
        found = f"the widest interval is ±{width:.2g}, {where}"
        if self._schedule.targets:
            found = f"{where} has ±{width:.2g}, ±{aim:.3g} asked"
        needed = max(one.estimate.needed for one in asked)
        if needed:
            found = f"too few units for these tails, {where}; about {needed:,} would do"
            facts["needed"] = needed
        reason = f"max_units {n} reached; {found}"
        return Stopped(rows, width, False, reason, {"stop": "max_units", **facts}, aim)
