"""Gradient variance: total, its noise part and its data part, one row of scalars a unit.

A unit is two independent minibatches a and b, and two independent draws on each: g(a₁), g(a₂), g(b₁), g(b₂).
For every parameter, and then averaged over the parameters of a layer and role,

    noise = ¼[(a₁−a₂)² + (b₁−b₂)²]            estimates E[Var(g | minibatch)]
    data  = ¼[(a₁−b₁)(a₂−b₂) + (a₁−b₂)(a₂−b₁)] estimates Var(E[g | minibatch])
    total = ⅛ Σᵢⱼ (aᵢ−bⱼ)²                      estimates Var(g)
    signal = ¼ Σᵢⱼ aᵢbⱼ                         estimates (E g)²

each without bias, and noise + data = total in every unit. Units are independent and identically distributed, so
intervals come from the rows, whatever the law of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vdbench.errors import CellError
from vdbench.estimation.draws import gradients
from vdbench.measures import unit_sums
from vdbench.measures.context import Context, column
from vdbench.measures.moments import Numbers, quantities
from vdbench.noise import Key
from vdbench.problems.problem import Batch
from vdbench.store import Table, concatenate

VERSION = "1"
"""Changes whenever a row may change by more than rounding; part of every block's address."""


def rows(context: Context, start: int, stop: int) -> Table:
    """Measure units ``start`` to ``stop``.

    Returns:
        Columns ``layer|role|quantity``, each of shape (stop − start,), in squared units of the gradient.

    Raises:
        CellError: A gradient is not finite.
    """
    step = unit_sums.at_once(context)
    parts = []
    for first in range(start, stop, step):
        units = list(range(first, min(first + step, stop)))
        found = unit_sums.of(context, units)
        # where anything is not finite, in the plain way, which says what
        parts.append(plain_rows(context, units) if found is None else _table(context, found))
    return concatenate(parts)


def units_together(context: Context) -> int:
    """Units that fit into one vectorised call; one at a time where draws are looped."""
    return max(1, context.traced.together // 4)


def _table(context: Context, found: dict[str, Numbers]) -> Table:
    table: Table = {}
    for group, names in context.members.items():
        for quantity, values in quantities(names, found).items():
            table[column(group, quantity)] = values / context.sizes[group]
    return table


def plain_rows(context: Context, units: list[int]) -> Table:
    """The same by the formulas above, every gradient formed and checked: what all other ways are tested against.

    Raises:
        CellError: A gradient is not finite.
    """
    a1, a2, b1, b2 = _draws(context, units)
    products = {
        "noise": lambda a, c, b, d: ((a - c).square() + (b - d).square()) / 4,
        "data": lambda a, c, b, d: ((a - b) * (c - d) + (a - d) * (c - b)) / 4,
        "total": lambda a, c, b, d: (
            ((a - b).square() + (a - d).square() + (c - b).square() + (c - d).square()) / 8
        ),
        "signal": lambda a, c, b, d: (a + c) * (b + d) / 4,
    }
    table: Table = {}
    for quantity, product in products.items():
        values = _combine(product, a1, a2, b1, b2)
        for group, mean in context.mean(values).items():
            table[column(group, quantity)] = mean
    return table


def _combine(
    product: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], *draws: dict[str, Tensor]
) -> dict[str, Tensor]:
    return {name: product(*(draw[name] for draw in draws)) for name in draws[0]}


def _draws(context: Context, units: list[int]) -> tuple[dict[str, Tensor], ...]:
    """The four gradients of each unit, each by parameter with shape (U, …)."""
    places = [context.key / "unit" / unit / side for unit in units for side in "ab"]
    batches = context.batches([place / "minibatch" for place in places])
    first = gradient_at(context, batches, [place / "draw" / 1 for place in places], places)
    if context.traced.requests or not context.estimator.declaration.pure:
        second = gradient_at(context, batches, [place / "draw" / 2 for place in places], places)
    else:
        second = first  # no noise: a second draw on the same minibatch is the first
    return tuple(
        {name: value[side::2] for name, value in drawn.items()}
        for side in (0, 1)
        for drawn in (first, second)
    )


def gradient_at(
    context: Context, batches: Batch, keys: list[Key], places: list[Key]
) -> dict[str, Tensor]:
    """Gradients (K, …) by parameter, checked to be finite; −KL's gradient is added for the ELBO."""
    drawn = gradients(
        context.estimator,
        context.problem,
        context.parameters,
        batches,
        keys,
        context.traced,
        context.state,
    ).gradients
    for name, value in drawn.items():
        finite = value.flatten(1).isfinite().all(1)
        if not bool(finite.all()):
            where = "/".join(map(str, places[int((~finite).nonzero()[0])].path))
            raise CellError(f"the gradient in '{name}' is not finite at {where}.")
    for name, slope in context.divergence.items():
        drawn[name] = drawn[name] + slope
    return drawn
