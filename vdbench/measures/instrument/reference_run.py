"""What the intervals are to hold: the same quantities from a separate and much longer run.

The run is cut into `PARTS` equal parts, of which the means of all rows are kept. The means are rows like any other,
so the true figures are those that a run would report of them, and their own standard errors, which must be small
against the intervals that are tested, are the half-widths at one standard error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vdbench.measures import variance_units
from vdbench.measures.context import Context
from vdbench.measures.instrument.evidence import Truth
from vdbench.measures.instrument.repeated_variance import figures_at
from vdbench.measures.instrument.series import ROOTS, Address
from vdbench.measures.metrics import LookSchedule, MetricValue, UnitRows
from vdbench.store import Table, concatenate
from vdbench.suite.schema import Suite

VERSION = "1"
"""Changes whenever a row may change; part of every block's address."""

PARTS = 128
"""Parts that a run of the truth is cut into."""


@dataclass(frozen=True)
class OneError(LookSchedule):
    """Intervals of one standard error either way."""

    def z(self, n: int, comparisons: int = 1) -> float:
        """One, whatever the level."""
        return 1.0


def rows(context: Context, units: int, start: int, stop: int) -> Table:
    """Means of parts ``start`` to ``stop``, each of so many units.

    Returns:
        The columns of `vdbench.measures.variance_units.rows`, each of shape (stop − start,).
    """
    own = context.at("truth")
    means = []
    for part in range(start, stop):
        table = variance_units.rows(own, part * units, (part + 1) * units)
        means.append({name: np.array([values.mean()]) for name, values in table.items()})
    return concatenate(means)


def values(
    suite: Suite, contexts: Sequence[Context], tables: Mapping[str, Table]
) -> dict[Address, Truth]:
    """True figures, with their standard errors.

    Args:
        suite: What is asked for.
        contexts: All estimators of the place.
        tables: Means of the parts, by label.
    """
    runs = {c.label: UnitRows(tables[c.label], c.sizes) for c in contexts}
    errors = OneError((PARTS,), suite.level, 0.0)
    return {
        Address(label, f.metric, f.layer, f.role, f.against): _truth(f)
        for label, found in figures_at(suite, contexts, runs, errors).items()
        for f in found
    }


def _truth(figure: MetricValue) -> Truth:
    e = figure.estimate
    if figure.metric in ROOTS:
        return Truth(e.value, e.high**2 - e.value**2, root=True)
    return Truth(e.value, (e.high - e.low) / 2)
