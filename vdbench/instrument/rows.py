"""Figures of the measures about the instrument, for the table of results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vdbench.figures import Figure
from vdbench.instrument import campaigns, coverage_figures, verdicts
from vdbench.lab import Outcome
from vdbench.suite_specs import Suite


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
            yield outcome, coverage_figures.figures(outcome.data, label)
        elif measure == "false_alarms":
            found = verdicts.false_alarms(outcome.data)
            # what is pooled over all estimators stands once, in the baseline's rows if it has any
            pooled = found.get("", []) if label == first else []
            yield outcome, found.get(label, []) + pooled
        elif measure == "power" and suite.measures.power:
            differences = suite.measures.power.differences
            pairs = [verdicts.power(pairs, label, differences) for pairs in outcome.data]
            yield outcome, [figure for found in pairs for figure in found]
        elif measure == "kills":
            yield outcome, campaigns.figures(outcome.data, suite.level)
