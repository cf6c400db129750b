"""Figures of all cells of one place, with the comparisons among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vdbench.measures import metrics, training_metrics
from vdbench.measures.metrics import Figure, Schedule
from vdbench.measures.session import Outcome
from vdbench.suite.schema import Suite


def figures_of(
    suite: Suite, outcomes: Sequence[Outcome], schedule: Schedule | None, reference: str
) -> Iterator[tuple[Outcome, list[Figure]]]:
    """Figures of the outcomes of one place.

    Args:
        suite: What was asked for.
        outcomes: Of all estimators and measures there; failed ones are left out.
        schedule: Looks of the variance cells.
        reference: Label of the bias reference.

    Yields:
        An outcome and its figures.
    """
    good = [outcome for outcome in outcomes if outcome.status != "failed"]
    variances = {o.cell.label: o for o in good if o.cell.measure == "variance"}
    times = {o.cell.label: o for o in good if o.cell.measure == "throughput"}
    for outcome in good:
        measure = outcome.cell.measure
        if measure == "variance" and schedule is not None:
            yield outcome, variance_figures(suite, outcome, variances, schedule)
        elif measure == "bias":
            count = sum(o.cell.measure == "bias" for o in good)
            yield outcome, metrics.bias(outcome.data, suite.level, reference, count)
        elif measure == "throughput":
            found = _throughput(suite, outcome, times)
            if schedule is not None:
                found += _efficiency(suite, outcome, variances, times, schedule)
            yield outcome, found
        elif measure == "memory":
            yield outcome, metrics.memory(outcome.data, suite.level)
        elif measure == "training":
            yield outcome, training_metrics.figures(outcome.data, suite.level)
    yield from _convergence(suite, [o for o in good if o.cell.measure == "convergence"])


def _pairs(count: int) -> int:
    """Comparisons among so many estimators, at least 1."""
    return max(1, count * (count - 1) // 2)


def _others(
    suite: Suite, label: str, outcomes: Mapping[str, Outcome]
) -> Iterator[tuple[str, Outcome, int]]:
    """What an estimator is compared with: the baseline (0), then each other at the adjusted level."""
    if suite.baseline in outcomes:
        yield suite.baseline, outcomes[suite.baseline], 0
    for other, outcome in outcomes.items():
        if other != label:
            yield other, outcome, _pairs(len(outcomes))


def variance_figures(
    suite: Suite, outcome: Outcome, variances: Mapping[str, Outcome], schedule: Schedule
) -> list[Figure]:
    """Figures of one estimator's variance, and its ratios to the baseline and to every other estimator."""
    found = metrics.variance(outcome.data, schedule)
    for other, denominator, comparisons in _others(suite, outcome.cell.label, variances):
        found += metrics.variance_ratios(
            outcome.data, denominator.data, schedule, other, comparisons
        )
    return found


def _throughput(suite: Suite, outcome: Outcome, times: Mapping[str, Outcome]) -> list[Figure]:
    cell = outcome.cell
    found = metrics.throughput(outcome.data, cell.label, cell.batch_size, suite.level)
    found.append(metrics.epoch(found[0], outcome.steps))
    for other, _, comparisons in _others(suite, cell.label, times):
        found.append(metrics.time_ratio(outcome.data, cell.label, other, suite.level, comparisons))
    return found


def _efficiency(
    suite: Suite,
    outcome: Outcome,
    variances: Mapping[str, Outcome],
    times: Mapping[str, Outcome],
    schedule: Schedule,
) -> list[Figure]:
    label = outcome.cell.label
    if label not in variances:
        return []
    rows, table = variances[label].data, outcome.data
    seconds = metrics.throughput(table, label, outcome.cell.batch_size, suite.level)[0]
    found = metrics.efficiency(metrics.variance(rows, schedule), seconds)
    both = {name: o for name, o in variances.items() if name in times}
    for other, denominator, comparisons in _others(suite, label, both):
        ratios = metrics.variance_ratios(rows, denominator.data, schedule, other, comparisons)
        time = metrics.time_ratio(table, label, other, suite.level, comparisons)
        found += metrics.efficiency(ratios, time)
    return found


def _convergence(
    suite: Suite, outcomes: Sequence[Outcome]
) -> Iterator[tuple[Outcome, list[Figure]]]:
    spec = suite.measures.convergence
    target = spec.target if spec else None
    baseline = next((o for o in outcomes if o.cell.label == suite.baseline), None)
    if target is None and baseline is not None:
        # where the suite sets no target: nine tenths of what the baseline gains, on average over seeds
        first, last = (np.mean([seed["elbo"][end] for seed in baseline.data]) for end in (0, -1))
        target = float(first + 0.9 * (last - first))
    for outcome in outcomes:
        yield outcome, metrics.convergence(outcome.data, suite.level, target)
