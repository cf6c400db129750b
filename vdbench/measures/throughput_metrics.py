"""What timed rounds come to: seconds per gradient, rates, ratios, and variance × compute time."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from vdbench import statistics
from vdbench.measures.busy import LAUNCH_BOUND
from vdbench.measures.metrics import SQUARED, MetricValue
from vdbench.statistics import Estimate
from vdbench.store import Table


class Levels(NamedTuple):
    """The level that is claimed, and how often it may be looked whether it is reached.

    Attributes:
        level: Of intervals, as they are reported.
        looks: Looks that share its error rate.
    """

    level: float
    looks: int = 1

    def at(self, comparisons: int = 1) -> float:
        """The level of one interval of so many, at one look."""
        return 1 - (1 - self.level) / max(1, comparisons) / self.looks


def _mine(table: Table, label: str, mode: str) -> Any:
    """The rows of an estimator in a mode in the order of rounds, but for throttled ones; older passes have neither."""
    mine = table["estimator"] == label
    if "mode" in table:
        mine = mine & (table["mode"] == mode) & (table["throttled"] == 0)
    rows = np.flatnonzero(mine)
    return rows[np.argsort(table["round"][rows], kind="stable")]


def samples_of(table: Table, label: str, mode: str = "eager") -> Any:
    """Seconds per gradient of one estimator, a value a round, in the order of rounds."""
    return table["seconds"][_mine(table, label, mode)]


def paired(table: Table, one: tuple[str, str], other: tuple[str, str]) -> tuple[Any, Any]:
    """Seconds per gradient of two, each a label and a mode, in the rounds that both have."""
    a, b = (_mine(table, *which) for which in (one, other))
    _, first, second = np.intersect1d(table["round"][a], table["round"][b], return_indices=True)
    return table["seconds"][a[first]], table["seconds"][b[second]]


def values(
    table: Table, label: str, batch_size: int, levels: Levels, mode: str = "eager"
) -> list[MetricValue]:
    """Seconds per gradient (median over rounds), gradients and examples per second."""
    seconds = statistics.median(samples_of(table, label, mode), levels.at())
    level = levels.level
    rate = _inverse(seconds)
    each = Estimate(batch_size * rate.value, batch_size * rate.low, batch_size * rate.high, rate.n)
    return [
        MetricValue("time.seconds_per_gradient", seconds, level, "s"),
        MetricValue("throughput.gradients_per_second", rate, level, "gradients/s"),
        MetricValue("throughput.examples_per_second", each, level, "examples/s"),
    ]


def busy_share(table: Table, label: str, levels: Levels, mode: str) -> list[MetricValue]:
    """The share of a gradient's time in which a GPU computes; nothing where it is not known."""
    if "busy" not in table:
        return []
    # of whichever rows: the shares are of no round, and throttled ones hold them too
    known = table["busy"][(table["estimator"] == label) & (table["mode"] == mode)]
    known = known[np.isfinite(known)]
    if not len(known):
        return []
    estimate = statistics.median(known, levels.at())
    bound = estimate.high < LAUNCH_BOUND
    message = "launch-bound: the device waits for calls from Python" if bound else ""
    return [
        MetricValue(
            "time.busy_share",
            estimate,
            levels.level,
            "1",
            message=message,
            detail={"launch_bound": bound},
        )
    ]


def mode_ratio(table: Table, label: str, mode: str, levels: Levels) -> MetricValue:
    """Ratio of seconds per gradient in a mode to those in eager mode, paired round by round."""
    a, b = paired(table, (label, mode), (label, "eager"))
    estimate = statistics.median(a / b, levels.at())
    return MetricValue("mode.seconds_per_gradient", estimate, levels.level, "1", against="eager")


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
    table: Table,
    label: str,
    against: str,
    levels: Levels,
    comparisons: int = 0,
    mode: str = "eager",
) -> MetricValue:
    """Ratio of seconds per gradient, paired round by round."""
    adjusted = 1 - (1 - levels.level) / max(1, comparisons)
    a, b = paired(table, (label, mode), (against, mode))
    kind = "pairwise" if comparisons else "ratio"
    return MetricValue(
        f"{kind}.time.seconds_per_gradient",
        statistics.median(a / b, levels.at(comparisons)),
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
