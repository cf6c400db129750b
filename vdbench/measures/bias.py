"""Bias against a reference, given the minibatch: how far is the mean of the estimator from the true gradient?

A unit is one minibatch and on it four independent averages of several draws each: g₁, g₂ of the estimator and
r₁, r₂ of an unbiased reference estimator. For every
parameter (g₁−r₁)(g₂−r₂) estimates the squared bias given the minibatch, and r₁r₂ the squared gradient, both
without bias; averaged over the parameters of a layer and role, relative bias = √(E[(g₁−r₁)(g₂−r₂)] / E[r₁r₂]).

An estimator that is unbiased on average over minibatches alone (`Declaration.unbiased_given_minibatch`) has two
minibatches a unit, one for g₁ and r₁ and one for g₂ and r₂. What is estimated is then the squared bias over
minibatches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from vdbench import statistics
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import identity, label
from vdbench.measures import expected
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.context import Context, column
from vdbench.measures.expected import Expected
from vdbench.measures.metrics import MetricValue, UnitRows
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.measures.variance_units import gradient_at, units_together
from vdbench.noise import Key
from vdbench.problems.problem import Batch
from vdbench.statistics.sequential import two_sided
from vdbench.store import Table, concatenate
from vdbench.suite.grid import single
from vdbench.suite.schema import BiasSpec, Suite

VERSION = "1"
"""Changes whenever a row may change; part of every block's address."""


def rows(context: Context, reference: Context, draws: int, start: int, stop: int) -> Table:
    """Measure units ``start`` to ``stop``.

    Args:
        context: The estimator.
        reference: The same place with the reference estimator.
        draws: Draws averaged in each of the four.
        start: First unit.
        stop: One past the last.

    Returns:
        Columns ``layer|role|bias2`` and ``layer|role|reference2``, each of shape (stop − start,).
    """
    step = max(1, units_together(context) // 2)
    return concatenate(
        [
            _rows(context, reference, draws, list(range(first, min(first + step, stop))))
            for first in range(start, stop, step)
        ]
    )


def _rows(context: Context, reference: Context, draws: int, units: list[int]) -> Table:
    places = [context.key / "unit" / unit for unit in units]
    batches = {half: _batches(context, places, half) for half in (1, 2)}
    ours = [_average(context, batches[h], draws, places, "estimator", h) for h in (1, 2)]
    theirs = [_average(reference, batches[h], draws, places, "reference", h) for h in (1, 2)]
    bias = {n: (ours[0][n] - theirs[0][n]) * (ours[1][n] - theirs[1][n]) for n in ours[0]}
    size = {n: theirs[0][n] * theirs[1][n] for n in ours[0]}
    table: Table = {}
    for quantity, values in (("bias2", bias), ("reference2", size)):
        for group, mean in context.mean(values).items():
            table[column(group, quantity)] = mean
    return table


def _batches(context: Context, places: list[Key], half: int) -> Batch:
    """The minibatches of one half: those of the other, unless the estimator is right on average over them alone."""
    keys = [place / "minibatch" for place in places]
    if half == 2 and not context.estimator.declaration.unbiased_given_minibatch:
        keys = [key / half for key in keys]
    return context.batches(keys)


def _average(
    context: Context, batches: Batch, draws: int, places: list[Key], whose: str, half: int
) -> dict[str, Tensor]:
    """Average of several draws on each minibatch, by parameter with shape (U, …)."""
    total: dict[str, Tensor] = {}
    for draw in range(draws):
        keys = [place / whose / half / draw for place in places]
        for name, value in gradient_at(context, batches, keys, places).items():
            total[name] = total[name] + value if name in total else value
    return {name: value / draws for name, value in total.items()}


def values(rows: UnitRows, level: float, reference: str, estimators: int) -> list[MetricValue]:
    """Relative bias of every layer and role, and of every role over all layers at an adjusted level.

    Args:
        rows: ``bias2`` and ``reference2`` of every unit.
        level: Of the intervals.
        reference: Label of the reference.
        estimators: How many are checked at this place; the adjusted rows hold for all of them and all roles at once.
    """
    roles = len({group.role for group in rows.sizes})
    count = max(1, estimators * roles)
    adjusted = 1 - (1 - level) / count
    wanted = [("relative_bias", group, level) for group in rows.groups()]
    wanted += [
        ("adjusted.relative_bias", group, adjusted)
        for group in rows.groups()
        if group.layer == "all"
    ]
    found = []
    for metric, group, at in wanted:
        bias2, size2 = rows.of(group, "bias2"), rows.of(group, "reference2")
        estimate = statistics.ratio_root(bias2, size2, two_sided(at))
        message = f"reference: {reference}"
        detail = {"reference": reference, "comparisons": count if at == adjusted else 1}
        found.append(
            MetricValue(
                metric, estimate, at, "1", group.layer, group.role, message=message, detail=detail
            )
        )
    return found


class Bias(Measure):
    """How far the mean of an estimator is from the gradient, by layer and role."""

    name = "bias"
    spec = BiasSpec

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """Four averages a unit."""
        spec = self.asked(suite)
        count = 4 * spec.units * spec.draws
        return count, count

    def memory(self, suite: Suite, cell: Cell, context: Context, limit: int) -> Expected:
        """Averages of a call's units, their products, and one draw on each of its minibatches."""
        return expected.averages(context, max(1, expected.draws_together(context) // 8))

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """A fixed number of units against the reference."""
        (cell,) = cells
        spec = self.asked(session.suite)
        context = site.context(cell.estimator).at(self.name)
        reference = site.context(single(session.suite.reference)).at(self.name)
        address = session.address(
            context,
            self.name,
            VERSION,
            units=[0, spec.units],
            draws=spec.draws,
            reference=identity(reference.estimator),
        )
        compute = partial(rows, context, reference, spec.draws, 0, spec.units)
        table = session.finite(session.store.get(address, compute))
        found = UnitRows(table, context.sizes)
        return [Outcome(cell, "ok", f"{spec.units} units", spec.units, found)]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Relative bias, each at the suite's level and at one adjusted for all estimators and roles."""
        here = mine(self, outcomes)
        reference = label(single(suite.reference))
        for outcome in here.values():
            yield outcome, values(outcome.data, suite.level, reference, len(here))
