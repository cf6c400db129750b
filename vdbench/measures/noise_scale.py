"""The measure ``noise_scale``: at which minibatch size is a gradient as large as its noise?

With g a gradient at minibatch size M, the gradient noise scale is

    B = M · tr Var(g) / ‖E g‖²      in examples.

Below B a larger minibatch saves almost as many steps as it costs examples, above it saves few. Var(g) contains the
choice of the minibatch and the noise of the estimator. For ``deterministic`` there is no noise, and B is the simple
noise scale of McCandlish, Kaplan, Amodei & the OpenAI Dota Team 2018 (*An Empirical Model of Large-Batch Training*,
section 2.2) times (N − M)/(N − 1): minibatches are drawn without replacement. Noise that the examples of a minibatch
share does not fall as 1/M, and B then grows with M: compare two minibatch sizes.

Variance and squared mean come from the same units (`vdbench.measures.variance_units`), each without bias. The squared
mean is noisy, and may be negative where the gradient is small: its ratio to the variance has Fieller's interval
(`vdbench.statistics.ratio_root`), and B is one over that ratio. Where the ratio is not above 0 there is no value; where
its lower end is not, the interval has no upper end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vdbench import statistics
from vdbench.estimation.base import Estimator
from vdbench.measures import expected, variance_units
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.context import Context
from vdbench.measures.expected import Expected
from vdbench.measures.metrics import MetricValue, UnitRows
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.statistics import Estimate
from vdbench.statistics.sequential import two_sided
from vdbench.suite.schema import Suite

METRIC = "noise_scale"


class NoiseScaleSpec(BaseModel):
    """Gradient noise scale, from a fixed number of units.

    Attributes:
        units: Units, of four gradients each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Annotated[int, Field(strict=True, ge=16)] = 256


class NoiseScale(Measure):
    """Gradient noise scale by layer and role, in examples."""

    name = "noise_scale"
    spec = NoiseScaleSpec

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """Four a unit."""
        count = 4 * self.asked(suite).units
        return count, count

    def memory(self, suite: Suite, cell: Cell, context: Context, limit: int) -> Expected:
        """That of its units."""
        return expected.units(context, limit)

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """A fixed number of units."""
        (cell,) = cells
        units = self.asked(session.suite).units
        context = site.context(cell.estimator).at(self.name)
        address = session.address(context, self.name, variance_units.VERSION, units=[0, units])
        compute = partial(variance_units.rows, context, 0, units)
        table = session.finite(session.store.get(address, compute))
        return [Outcome(cell, "ok", f"{units} units", units, UnitRows(table, context.sizes))]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """B of every layer and role."""
        for outcome in mine(self, outcomes).values():
            yield outcome, values(outcome.data, outcome.cell.batch_size, suite.level)


def values(rows: UnitRows, batch_size: int, level: float) -> list[MetricValue]:
    """Noise scale of every layer and role, and of every role over all layers.

    Args:
        rows: Units with the quantities total and signal.
        batch_size: M.
        level: Of the intervals.
    """
    z = two_sided(level)
    found = []
    for group in rows.groups():
        root = statistics.ratio_root(rows.of(group, "signal"), rows.of(group, "total"), z)
        estimate = inverse_square(root, batch_size)
        found.append(MetricValue(METRIC, estimate, level, "examples", group.layer, group.role))
    return found


def inverse_square(root: Estimate, size: int) -> Estimate:
    """``size`` over the square of an estimate that is not negative: M/snr²."""

    def inverse(x: float) -> float:
        return size / x**2 if x > 0 else math.inf

    value = inverse(root.value)
    return Estimate(
        value if math.isfinite(value) else math.nan,
        inverse(root.high),
        inverse(root.low),
        root.n,
        root.needed,
    )
