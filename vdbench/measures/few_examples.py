"""The variance of an expensive estimator from a few examples of each minibatch.

Where the noise of different examples is independent given the parameters, the noise of a minibatch's gradient is a
sum over its examples: (N/M)² Σ_m v_m, v_m the variance of one draw of ∇log p(y_m | x_m, w). On average over
minibatches that is N²/M times the average of v over the training set, so that k examples of each minibatch, taken
for a minibatch of k, have M/k times that noise: scaled by k/M it is estimated without bias at k/M of the cost.

That examples are independent is declared, and measured before it is used (`dependence`): a few examples are repeated to
fill the minibatch, and its noise must fall as their number rises.

The data part and the squared mean depend on E[g | minibatch] alone, which all unbiased estimators of one objective
share: they are taken from another estimator, in the same units. The total is the sum of the two parts.
"""

from __future__ import annotations

import numpy as np

from vdbench.certificate import independence
from vdbench.certificate.two_looks import Sample
from vdbench.errors import CellError
from vdbench.measures import variance_units
from vdbench.measures.context import Context
from vdbench.problems.problem import Batch
from vdbench.store import Table

VERSION = "1"
"""Changes whenever a row may change; part of every block's address."""

RATE = 0.001
"""Probability that independent examples are refused, at most, over both looks."""

PAIRS = (8, 256)
"""Fewest and most pairs of draws of the whole minibatch."""

WEIGHTS = 2**15
"""Parameters that all pairs have together, within these bounds: of a large network a pair is a mean over many."""


def dependence(context: Context, size: int) -> Table:
    """How much of the noise does not fall with the minibatch, a row for each pair of draws.

    Args:
        context: Where, with the first k examples of each minibatch.
        size: M.

    Returns:
        Columns ``layer|role|M`` of the share, for two sizes up to M, in two looks.
    """
    assert context.examples is not None
    key = context.key / "independence"
    least, most = PAIRS
    pairs = max(least, min(most, WEIGHTS // sum(context.sizes.values())))
    batch = context.batch(key / "minibatch")
    table: Table = {}
    for times in independence.repetitions(context.examples, size):
        for look in ("first", "second"):
            found = independence.samples(
                context.estimator, context.problem, context.parameters, Batch(*batch), times,
                key / times / look, context.state, pairs,
            )  # fmt: skip
            table |= {f"{look}: {s.where}": s.rows[:, 0] for s in found}
    return table


def refuse_dependence(label: str, table: Table) -> None:
    """See that the noise of a minibatch falls as independence of its examples has it.

    Args:
        label: The estimator's.
        table: From `dependence`.

    Raises:
        CellError: It does not in both looks: its noise cannot be estimated from a few examples.
    """
    looks: dict[str, dict[str, Sample]] = {"first": {}, "second": {}}
    for name, shares in table.items():
        look, _, where = name.partition(": ")
        looks[look][where] = Sample(where, np.asarray(shares)[:, None], np.zeros(1))
    first = independence.differing(list(looks["first"].values()), RATE**0.5)
    if first is None:
        return
    again = independence.differing([looks["second"][first.where]], RATE**0.5)
    if again is not None:
        raise CellError(
            f"the noise of '{label}' is not independent from example to example, although it is declared so: in "
            f"{again.where}, {float(again.mean[0]):.2g} of it does not fall as 1/M; expected no few_examples for it."
        )


def rows(context: Context, size: int, start: int, stop: int) -> Table:
    """Measure the noise part in units ``start`` to ``stop``.

    Args:
        context: Where, with the first k examples of each minibatch.
        size: M, for which the figures are.
        start: First unit.
        stop: One after the last unit.

    Returns:
        Columns ``layer|role|noise``, each of shape (stop − start,).
    """
    assert context.examples is not None
    share = context.examples / size
    table = variance_units.rows(context, start, stop)
    return {name: share * values for name, values in table.items() if name.endswith("|noise")}


def combine(few: Table, source: Table) -> Table:
    """Rows of the whole minibatch.

    Args:
        few: From `rows`.
        source: Rows of `vdbench.measures.variance_units.rows` for the same units, of the estimator that data part and
            mean are taken from.

    Returns:
        The columns of ``source``. A row of ``total`` may be negative, because one of ``data`` may; its mean estimates
        the total without bias.
    """
    table: Table = {}
    for name, values in source.items():
        group, _, quantity = name.rpartition("|")
        noise = few[f"{group}|noise"]
        replaced = {"noise": noise, "total": noise + source[f"{group}|data"]}
        table[name] = replaced.get(quantity, values)
    return table


def describe(examples: int, size: int, source: str) -> str:
    """What the rows' figures say of how they were obtained."""
    return f"noise from {examples} of {size} examples, scaled; data part and mean from {source}"
