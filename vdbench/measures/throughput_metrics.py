"""What timed rounds come to: seconds per gradient, rates, ratios, and variance × compute time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vdbench import statistics
from vdbench.measures.metrics import SQUARED, MetricValue
from vdbench.statistics import Estimate
from vdbench.store import Table


def samples_of(table: Table, label: str) -> Any:
    """Seconds per gradient of one estimator, a value a round, in the order of rounds."""
    mine = table["estimator"] == label
    order = np.argsort(table["round"][mine], kind="stable")
    return table["seconds"][mine][order]


def values(table: Table, label: str, batch_size: int, level: float) -> list[MetricValue]:
    """Seconds per gradient (median over rounds), gradients and examples per second."""
    seconds = statistics.median(samples_of(table, label), level)
    rate = _inverse(seconds)
    each = Estimate(batch_size * rate.value, batch_size * rate.low, batch_size * rate.high, rate.n)
    return [
        MetricValue("time.seconds_per_gradient", seconds, level, "s"),
        MetricValue("throughput.gradients_per_second", rate, level, "gradients/s"),
        MetricValue("throughput.examples_per_second", each, level, "examples/s"),
    ]


def epoch(gradient: MetricValue, steps: int) -> MetricValue:
    """Seconds of an epoch's gradients, from the seconds of one; the optimizer's steps are not in it."""
    one = gradient.estimate
    estimate = Estimate(steps * one.value, steps * one.low, steps * one.high, one.n)
    message = f"{steps} gradients"
    return MetricValue(
        "time.seconds_per_epoch",
        estimate,
        gradient.level,
        "s",
        message=message,
        detail={"steps": steps},
    )


def _inverse(a: Estimate) -> Estimate:
    low = 1 / a.high if a.high > 0 else math.inf
    high = 1 / a.low if a.low > 0 else math.inf
    return Estimate(1 / a.value, low, high, a.n)


def time_ratio(
    table: Table, label: str, against: str, level: float, comparisons: int = 0
) -> MetricValue:
    """Ratio of seconds per gradient, paired round by round."""
    adjusted = 1 - (1 - level) / max(1, comparisons)
    ratios = samples_of(table, label) / samples_of(table, against)
    kind = "pairwise" if comparisons else "ratio"
    return MetricValue(
        f"{kind}.time.seconds_per_gradient",
        statistics.median(ratios, adjusted),
        adjusted,
        "1",
        against=against,
    )


def efficiency(variances: list[MetricValue], time: MetricValue) -> list[MetricValue]:
    """Variance × compute time: the variance reached when draws are averaged for a fixed time.

    Takes variances and seconds, or their ratios to the same estimator; the metric's first part is kept.
    """
    found = []
    for item in variances:
        if item.layer != "all" or not item.metric.endswith("variance.total"):
            continue
        found.append(
            MetricValue(
                item.metric.replace("variance.total", "efficiency.variance_seconds"),
                statistics.product(item.estimate, time.estimate),
                item.level,
                "1" if item.unit == "1" else f"{SQUARED}·s",
                layer=item.layer,
                role=item.role,
                message=item.message,
                against=item.against,
                detail=item.detail,
            )
        )
    return found
