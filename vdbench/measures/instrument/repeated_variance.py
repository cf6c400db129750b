"""Whole runs of the variance measure, again and again: each with fresh minibatches and noise, stopped as a run stops.

A repetition measures every estimator as a run does, in units addressed below a key of its own that all estimators
of the repetition share, and computes the figures that the run would report: variances, signal-to-noise ratios, paired
ratios to the baseline, pairwise ratios at their adjusted level. Of each interval the ends are kept.

Repetitions 2i and 2i+1 make a pair of runs under two seeds. Two comparisons of equal things are made of it, by
the paired ratio at the suite's level: ``again``, the first run against the second; and ``shared``, the first
against the mean of the two, row by row, which have half of their units' randomness in common.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from vdbench.measures import variance_units
from vdbench.measures.context import Context
from vdbench.measures.instrument.series import Writer
from vdbench.measures.metrics import LookSchedule, MetricValue, UnitRows
from vdbench.measures.stopping import Stopped, Stopping
from vdbench.measures.variance_metrics import variance_ratios, variance_values
from vdbench.statistics import Estimate
from vdbench.store import Table
from vdbench.suite.schema import Suite

VERSION = "4"
"""Changes whenever the meaning of a row changes; part of every block's address."""

STOP = "stop"
"""Metric of the row that says where a run stopped: its widest relative half-width, and n."""


def rows(
    suite: Suite, contexts: Sequence[Context], schedule: LookSchedule, start: int, stop: int
) -> Table:
    """Measure repetitions ``start`` to ``stop``; both are even, so that pairs are whole.

    Returns:
        The columns of `vdbench.measures.instrument.series.Writer`: the figures of each run, where it stopped, and the
        comparisons of each pair, under the number of its first repetition.
    """
    writer = Writer()
    earlier: dict[str, Stopped] = {}
    for repetition in range(start, stop):
        runs = {c.label: run(c, schedule, repetition) for c in contexts}
        _figures(suite, contexts, runs, schedule, repetition, writer)
        if repetition % 2:
            _pair(earlier, runs, schedule, repetition - 1, writer)
        earlier = runs
    return writer.table()


def run(context: Context, schedule: LookSchedule, repetition: int) -> Stopped:
    """One run of one estimator: units until it is precise enough, or the bound is reached."""
    own = context.at("repetition", repetition)
    stopping = Stopping(schedule, own.sizes)
    for start, stop in stopping.blocks():
        stopping.add(variance_units.rows(own, start, stop))
    return stopping.stopped


def figures_at(
    suite: Suite, contexts: Sequence[Context], runs: Mapping[str, UnitRows], schedule: LookSchedule
) -> dict[str, list[MetricValue]]:
    """What a run of the suite reports of each estimator's variance, given its rows."""
    return {c.label: variance_values(suite, c.label, runs, schedule) for c in contexts}


def _figures(
    suite: Suite,
    contexts: Sequence[Context],
    runs: Mapping[str, Stopped],
    schedule: LookSchedule,
    repetition: int,
    writer: Writer,
) -> None:
    units = {label: stopped.rows for label, stopped in runs.items()}
    order = list(units)
    found = figures_at(suite, contexts, units, schedule)
    for label, stopped in runs.items():
        reached = stopped.width
        where = Estimate(reached, reached, reached, stopped.rows.n)
        writer.add(repetition, label, MetricValue(STOP, where, schedule.level, "1"))
        for figure in found[label]:
            if _says_something(figure, label, order):
                writer.add(repetition, label, figure)


def _says_something(figure: MetricValue, label: str, order: Sequence[str]) -> bool:
    """Neither the baseline's ratio to itself, nor the second of a pair's two ratios: each is one over the other."""
    if figure.metric.startswith("pairwise."):
        return order.index(label) < order.index(figure.against)
    return figure.against != label


def _pair(
    first: Mapping[str, Stopped],
    second: Mapping[str, Stopped],
    schedule: LookSchedule,
    repetition: int,
    writer: Writer,
) -> None:
    for label in first:
        a, b = first[label].rows, second[label].rows
        n = min(a.n, b.n)
        both = {name: (values[:n] + b.table[name][:n]) / 2 for name, values in a.table.items()}
        for kind, other in (("again", b), ("shared", UnitRows(both, a.sizes))):
            for figure in variance_ratios(a, other, schedule, label, comparisons=1):
                if figure.layer == "all":
                    metric = figure.metric.replace("pairwise", kind)
                    writer.add(repetition, label, dataclasses.replace(figure, metric=metric))
