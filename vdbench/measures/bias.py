"""Bias against a reference, given the minibatch: how far is the mean of the estimator from the true gradient?

A unit is one minibatch and on it four independent averages of several draws each: g₁, g₂ of the estimator and
r₁, r₂ of an unbiased reference estimator. For every
parameter (g₁−r₁)(g₂−r₂) estimates the squared bias given the minibatch, and r₁r₂ the squared gradient, both
without bias; averaged over the parameters of a layer and role, relative bias = √(E[(g₁−r₁)(g₂−r₂)] / E[r₁r₂]).
"""

from __future__ import annotations

from torch import Tensor

from vdbench.measures.context import Context, column
from vdbench.measures.variance import concatenate, gradient_at, units_together
from vdbench.noise import Key
from vdbench.problems.problem import Batch
from vdbench.store import Table

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
    batches = context.batches([place / "minibatch" for place in places])
    ours = [_average(context, batches, draws, places, "estimator", half) for half in (1, 2)]
    theirs = [_average(reference, batches, draws, places, "reference", half) for half in (1, 2)]
    bias = {n: (ours[0][n] - theirs[0][n]) * (ours[1][n] - theirs[1][n]) for n in ours[0]}
    size = {n: theirs[0][n] * theirs[1][n] for n in ours[0]}
    table: Table = {}
    for quantity, values in (("bias2", bias), ("reference2", size)):
        for group, mean in context.mean(values).items():
            table[column(group, quantity)] = mean
    return table


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
