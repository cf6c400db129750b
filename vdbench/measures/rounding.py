"""The measure ``rounding``: does it matter in which precision the products of a gradient are computed?

A unit is one minibatch and two independent draws on it. Each draw is taken in float64 and, with the same numbers, in
every precision that is asked for (`vdbench.arithmetic`): r₁, r₂ and g₁, g₂, rounding errors d = g − r. For every
parameter, and then averaged over the parameters of a layer and role,

    ½(r₁−r₂)² and ½(g₁−g₂)²   estimate the noise variance given the minibatch, exact and rounded
    d₁d₂ and r₁r₂             estimate the squares of the error's mean and of the mean gradient, given the minibatch
    ½(d₁² + d₂²)              estimates the mean square of the error

each without bias. From their means come, with intervals,

    rounding.variance = rounded variance / exact variance      1 where rounding does not matter
    rounding.bias     = √(d₁d₂ / r₁r₂)                         what averaging over draws does not take away
    rounding.error    = √(½(d₁² + d₂²) / exact variance)       the error of one draw in units of its noise

The parameters, the data and the noise are those of the suite's precision in all of them: what is measured is the
arithmetic. The pairs share all their noise, so that differences far below the noise are seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vdbench import statistics
from vdbench.arithmetic import STORAGE
from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import call, inject, vectorised
from vdbench.measures.cells import Cell, Outcome, everywhere, places
from vdbench.measures.context import Context, column
from vdbench.measures.metrics import MetricValue, UnitRows
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.noise import Injected, Noise, Request
from vdbench.problems.problem import Batch, Group, Problem
from vdbench.statistics import Estimate
from vdbench.statistics.sequential import two_sided
from vdbench.store import Table, concatenate
from vdbench.suite.schema import RoundingSpec, Suite

VERSION = "1"
"""Changes whenever a row may change; part of every block's address."""

EXACT = "float64"
"""The precision that the others are measured against."""

DRAWS = 2
"""Independent draws on each minibatch."""

Gradients = dict[str, Tensor]
"""By parameter, shape (U, 2, …), in float64: the draws of each unit."""


class Rounding(Measure):
    """Noise variance and bias under rounded products, relative to float64, by layer and role."""

    name = "rounding"
    spec = RoundingSpec

    def check_problem(self, suite: Suite, problem: Problem) -> None:
        """Refuse a network that does not follow the type of its parameters."""
        seen = problem.behaviour
        if seen.precision is not None or seen.of_likelihood is not None or seen.coarse:
            raise InputError(
                f"measures.rounding: problem '{problem.name}' computes in a floating-point type of its own; expected "
                "one that follows the type of its parameters, so that it can be computed in float64."
            )

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """Two a unit in each precision."""
        spec = self.asked(suite)
        count = DRAWS * spec.units * (1 + len(spec.precisions))
        return count, count

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """A fixed number of units."""
        (cell,) = cells
        spec = self.asked(session.suite)
        context = site.context(cell.estimator).at(self.name)
        address = session.address(
            context, self.name, VERSION, units=[0, spec.units], precisions=list(spec.precisions)
        )
        compute = partial(rows, context, spec.precisions, 0, spec.units)
        table = session.finite(session.store.get(address, compute))
        found = UnitRows(table, context.sizes)
        return [Outcome(cell, "ok", f"{spec.units} units", spec.units, found)]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """By precision, each at the suite's level and at one adjusted for all comparisons of the suite."""
        here, spec = mine(self, outcomes), self.asked(suite)
        count = len(here) * len(list(places(suite)))
        for outcome in here.values():
            yield outcome, values(outcome.data, spec.precisions, suite.level, count)


def rows(context: Context, precisions: Sequence[str], start: int, stop: int) -> Table:
    """Measure units ``start`` to ``stop``.

    Returns:
        Columns ``layer|role|quantity``, each of shape (stop − start,): ``exact`` (noise variance), ``signal`` (r₁r₂),
        and for every precision ``p noise``, ``p bias`` (d₁d₂) and ``p error``.

    Raises:
        CellError: The estimator cannot be drawn in two precisions with the same numbers.
    """
    _need_pure(context)
    step = max(1, context.traced.together // DRAWS)
    return concatenate(
        [
            _rows(context, precisions, list(range(first, min(first + step, stop))))
            for first in range(start, stop, step)
        ]
    )


def _need_pure(context: Context) -> None:
    name = context.estimator.declaration.name
    if not context.estimator.declaration.pure:
        raise CellError(
            f"estimator '{name}' draws noise of its own, which cannot be the same in two precisions."
        )
    if not (isinstance(context.state, tuple) and not context.state):
        raise CellError(
            f"estimator '{name}' is fitted, and what it is fitted to would differ between precisions."
        )


def _rows(context: Context, precisions: Sequence[str], units: list[int]) -> Table:
    at = [context.key / "unit" / unit for unit in units]
    batches = context.batches([place / "minibatch" for place in at])
    keys = [place / "draw" / draw for place in at for draw in range(DRAWS)]
    problem = context.problem
    noise = inject(context.traced.requests, keys, problem.device, problem.dtype)
    exact = _drawn(context, EXACT, batches, noise)
    table: Table = {}
    _put(table, context, "exact", {n: half_square(r[:, 0] - r[:, 1]) for n, r in exact.items()})
    _put(table, context, "signal", {n: r[:, 0] * r[:, 1] for n, r in exact.items()})
    for precision in precisions:
        rounded = _drawn(context, precision, batches, noise)
        error = {n: rounded[n] - r for n, r in exact.items()}
        noisy = {n: half_square(g[:, 0] - g[:, 1]) for n, g in rounded.items()}
        _put(table, context, f"{precision} noise", noisy)
        _put(table, context, f"{precision} bias", {n: d[:, 0] * d[:, 1] for n, d in error.items()})
        square = {n: half_square(d).sum(1) for n, d in error.items()}
        _put(table, context, f"{precision} error", square)
    return table


def half_square(x: Tensor) -> Tensor:
    """½x²."""
    return x.square() / 2


def _put(table: Table, context: Context, quantity: str, product: Mapping[str, Tensor]) -> None:
    for group, mean in context.mean(product).items():
        table[column(group, quantity)] = mean


def _drawn(
    context: Context, precision: str, batches: Batch, noise: Mapping[Request, Tensor]
) -> Gradients:
    """The draws of each unit in a precision, with given numbers."""
    dtype = STORAGE[precision]
    problem = _in_precision(context, precision)
    parameters = {name: value.to(dtype) for name, value in context.parameters.items()}
    given = {request: value.to(dtype) for request, value in noise.items()}
    each = Batch(*(_cast(t, dtype).repeat_interleave(DRAWS, 0) for t in batches))
    if context.traced.together:
        found: Mapping[str, Tensor] = vectorised(
            context.estimator, problem, parameters, each, given
        ).gradients
    else:
        found = _one_by_one(context, problem, parameters, each, given)
    shape = (-1, DRAWS)
    return {n: g.view(*shape, *g.shape[1:]).to(torch.float64) for n, g in found.items()}


def _in_precision(context: Context, precision: str) -> Problem:
    """The problem in a precision; made once for each type, as data are copied."""
    dtype = STORAGE[precision]
    made: dict[torch.dtype, Problem] = context.shared.setdefault("in precision", {})
    if dtype not in made:
        made[dtype] = context.problem.to(context.problem.device, dtype)
    return replace(made[dtype], precision=precision)


def _one_by_one(
    context: Context,
    problem: Problem,
    parameters: Mapping[str, Tensor],
    each: Batch,
    given: Mapping[Request, Tensor],
) -> Mapping[str, Tensor]:
    drawn = []
    for k in range(len(each.targets)):
        noise = Noise(Injected({request: value[k] for request, value in given.items()}))
        here = Batch(*(t[k] for t in each))
        one = call(context.estimator, problem, parameters, here, noise, context.key)
        drawn.append({name: g.clone() for name, g in one.gradients.items()})
    return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}


def _cast(t: Tensor, dtype: torch.dtype) -> Tensor:
    return t.to(dtype) if t.is_floating_point() else t


def values(
    rows: UnitRows, precisions: Sequence[str], level: float, cells: int = 1
) -> list[MetricValue]:
    """Variance ratio, bias and error of each precision, by layer and role and over all layers.

    Args:
        rows: Units, with the quantities of `rows`.
        precisions: Which.
        level: Of the intervals.
        cells: Cells that the adjusted rows hold for together, with all precisions, roles and the three quantities.
    """
    roles = len({group.role for group in rows.sizes})
    count = max(1, 3 * cells * roles * len(precisions))
    adjusted = 1 - (1 - level) / count
    found = []
    for precision in precisions:
        for group in rows.groups():
            found += _of_group(rows, precision, group, level, "", 1)
            if group.layer == "all":
                found += _of_group(rows, precision, group, adjusted, "adjusted.", count)
    return found


def root(a: Estimate) -> Estimate:
    """The square root of an estimate that is not negative."""
    return replace(a, value=math.sqrt(a.value), low=math.sqrt(a.low), high=math.sqrt(a.high))


def _of_group(
    rows: UnitRows, precision: str, group: Group, level: float, kind: str, count: int
) -> list[MetricValue]:
    z = two_sided(level)
    exact, signal = rows.of(group, "exact"), rows.of(group, "signal")
    noise, bias, error = (
        rows.of(group, f"{precision} {quantity}") for quantity in ("noise", "bias", "error")
    )
    estimates = {
        "variance": statistics.ratio(noise, exact, z),
        "bias": statistics.ratio_root(bias, signal, z),
        "error": root(statistics.ratio(error, exact, z)),
    }
    return [
        MetricValue(
            f"{kind}rounding.{name}",
            estimate,
            level,
            "1",
            group.layer,
            group.role,
            against=EXACT,
            detail={"comparisons": count} if kind else {},
            precision=precision,
        )
        for name, estimate in estimates.items()
    ]
