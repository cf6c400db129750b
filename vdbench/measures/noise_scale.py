"""The measure ``noise_scale``: at which minibatch size is a gradient as large as its noise?

With g a gradient at minibatch size M, the gradient noise scale is

    B = M · tr Var(g) / ‖E g‖²      in examples.

Where Var(g) falls as 1/M it does not depend on M: below B a larger minibatch saves almost as many steps as it costs
examples, above it saves few. For weights with noise the variance has two parts, and so has B: the data part is what
McCandlish, Kaplan, Amodei & the OpenAI Dota Team 2018 (*An Empirical Model of Large-Batch Training*, section 2.2)
call the simple noise scale; the noise part is what the estimator adds to it. Noise that the examples of a minibatch
share does not fall as 1/M, and its part of B then grows with M: compare two minibatch sizes.

Variance and squared mean come from the same units (`vdbench.measures.variance_units`), each without bias; the value
is their ratio, with the interval of a ratio of means. It has no value where the estimate of ‖E g‖² is not above 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vdbench import statistics
from vdbench.estimation.base import Estimator
from vdbench.measures import variance_units
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.metrics import MetricValue, UnitRows
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.statistics.sequential import two_sided
from vdbench.suite.schema import Suite

PARTS = ("total", "noise", "data")
"""Parts of the variance that have a noise scale each."""


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
        """B of each part of the variance."""
        for outcome in mine(self, outcomes).values():
            yield outcome, values(outcome.data, outcome.cell.batch_size, suite.level)


def values(rows: UnitRows, batch_size: int, level: float) -> list[MetricValue]:
    """Noise scale of every layer and role, and of every role over all layers.

    Args:
        rows: Units with the quantities total, noise, data and signal.
        batch_size: M.
        level: Of the intervals.
    """
    z = two_sided(level)
    found = []
    for group in rows.groups():
        signal = rows.of(group, "signal")
        for part in PARTS:
            variance = batch_size * rows.of(group, part)
            estimate = statistics.ratio(variance, signal, z, signed=True)
            metric = f"noise_scale.{part}"
            found.append(MetricValue(metric, estimate, level, "examples", group.layer, group.role))
    return found
