"""What trainings gave, compared seed by seed: final ELBO, test error, likelihood and calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from operator import mul

import numpy as np

from vdbench.comparison.rows import Candidate, Where
from vdbench.measures.training_metrics import FINAL, UNITS
from vdbench.statistics.contrasts import difference_of_means
from vdbench.store import Table

CONVERGENCE = {
    "convergence.final_elbo": ("elbo", "nats"),
    "test.error": ("error", "percent"),
    "test.nll": ("nll", "nats/example"),
}
"""Metrics of the measure ``convergence``: the column whose last value each is, and its unit."""

TRAINING = ("training.elbo", "test.error", "test.nll", "test.ece")
"""Metrics of the measure ``training``."""


def last_values(table: Table, measure: str) -> dict[str, float]:
    """What one training gave, by metric."""
    if measure == "convergence":
        return {metric: float(table[column][-1]) for metric, (column, _) in CONVERGENCE.items()}
    found = {}
    for metric in TRAINING:
        mine = (table["metric"] == FINAL + metric) & (table["layer"] == "all")
        if mine.any():
            found[metric] = float(table["value"][mine][0])
    return found


def trainings(
    where: Where,
    measure: str,
    new: Mapping[int, Table],
    base: Mapping[int, Table],
    paired: bool,
) -> Iterator[Candidate]:
    """Every metric that all seeds of both have.

    Args:
        where: What is compared.
        measure: ``convergence`` or ``training``.
        new: A table for each seed.
        base: Likewise.
        paired: Whether seeds of one number share initial weights and minibatches.
    """
    common = sorted(set(new) & set(base))
    each = [
        [last_values(tables[seed], measure) for seed in (common if paired else sorted(tables))]
        for tables in (new, base)
    ]
    found = {}
    for metric in CONVERGENCE if measure == "convergence" else TRAINING:
        a, b = (np.array([seed.get(metric, math.nan) for seed in seeds]) for seeds in each)
        if len(a) and len(b) and np.isfinite(a).all() and np.isfinite(b).all():
            found[metric] = (a, b)  # else there is no such figure: a regression has no error
    # an error may be the same by chance; all figures are the same only of the same trainings
    same = all(np.array_equal(a, b) for a, b in found.values())
    for metric, (a, b) in found.items():
        yield Candidate(
            where,
            measure,
            metric,
            difference_of_means(a, b, paired, identical=same),
            (float(b.mean()), float(a.mean())),
            CONVERGENCE[metric][1] if measure == "convergence" else UNITS[metric],
            n=min(len(a), len(b)),
            paired=paired,
            margin=partial(mul, abs(float(b.mean()))),
        )
