"""The variance of an expensive estimator from a few examples of each minibatch.

Where the noise of different examples is independent given the parameters, the noise of a minibatch's gradient is a
sum over its examples: (N/M)² Σ_m v_m, v_m the variance of one draw of ∇log p(y_m | x_m, w). On average over
minibatches that is N²/M times the average of v over the training set, so that k examples of each minibatch, taken
for a minibatch of k, have M/k times that noise: scaled by k/M it is estimated without bias at k/M of the cost.

The data part and the squared mean depend on E[g | minibatch] alone, which all unbiased estimators of one objective
share: they are taken from another estimator, in the same units. The total is the sum of the two parts.
"""

from __future__ import annotations

from vdbench.measures import variance_units
from vdbench.measures.context import Context
from vdbench.store import Table

VERSION = "1"
"""Changes whenever a row may change; part of every block's address."""


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
