"""Figures of the measures about the instrument, for the table of results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vdbench.measures.instrument import campaigns, coverage_metrics, error_rates
from vdbench.measures.metrics import Figure
from vdbench.measures.session import Outcome
from vdbench.suite.schema import Suite


def figures_of(suite: Suite, outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, list[Figure]]]:
    """Figures of the outcomes of one place; those of other measures are left out.

    Yields:
        An outcome and its figures.
    """
    good = [o.cell.label for o in outcomes if o.status != "failed"]
    first = suite.baseline if suite.baseline in good else next(iter(good), "")
    for outcome in outcomes:
        label, measure = outcome.cell.label, outcome.cell.measure
        if outcome.status == "failed":
            continue
        if measure == "coverage":
            yield outcome, coverage_metrics.figures(outcome.data, label)
        elif measure == "false_alarms":
            found = error_rates.false_alarms(outcome.data)
            # what is pooled over all estimators stands once, in the baseline's rows if it has any
            pooled = found.get("", []) if label == first else []
            yield outcome, found.get(label, []) + pooled
        elif measure == "power" and suite.measures.power:
            differences = suite.measures.power.differences
            pairs = [error_rates.power(pairs, label, differences) for pairs in outcome.data]
            yield outcome, [figure for found in pairs for figure in found]
        elif measure == "kills":
            yield outcome, campaigns.figures(outcome.data, suite.level)
