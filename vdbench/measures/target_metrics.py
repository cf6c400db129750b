"""Trainings to a target as figures: median steps and seconds, paired ratios, rank correlations with the variance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vdbench import statistics
from vdbench.measures import throughput_metrics
from vdbench.measures.cells import Outcome
from vdbench.measures.metrics import MetricValue, UnitRows
from vdbench.measures.stopping import look_schedule
from vdbench.measures.throughput_metrics import Levels
from vdbench.measures.timing import looks
from vdbench.measures.variance_metrics import variance
from vdbench.noise import Key
from vdbench.statistics import Estimate, censored, rank_correlation
from vdbench.statistics.censored import Ranges
from vdbench.statistics.estimate import Rows
from vdbench.suite.schema import Suite

DRAWS = 4000
"""Of the figures behind a rank correlation."""

LEAST = 4
"""Estimators that a rank correlation needs."""

RATES = ("shared", "own")
"""At which learning rate: that of all, or the estimator's own."""


@dataclass(frozen=True)
class Place:
    """What else is known of the estimators at a place.

    Attributes:
        suite: What was asked for.
        units: Units of variance, by label; empty where it was not measured.
        times: Rounds of throughput in the first mode, by label; likewise.
    """

    suite: Suite
    units: Mapping[str, UnitRows]
    times: Mapping[str, Outcome]

    @classmethod
    def of(cls, suite: Suite, outcomes: Sequence[Outcome]) -> Place:
        """From the outcomes of all measures there."""
        units = {o.cell.label: o.data for o in outcomes if o.cell.measure == "variance"}
        timed = [o for o in outcomes if o.cell.measure == "throughput"]
        times = {o.cell.label: o for o in timed if o.cell.mode == suite.modes[0]}
        return cls(suite, units, times)

    @property
    def levels(self) -> Levels:
        """Of the times."""
        spec = self.suite.measures.throughput
        assert spec is not None
        return Levels(self.suite.level, len(looks(spec.rounds, spec.precision)))

    def seconds(self, label: str) -> MetricValue | None:
        """Seconds per gradient; None where they were not measured."""
        if label not in self.times:
            return None
        one = self.times[label]
        mode = self.suite.modes[0]
        return throughput_metrics.values(one.data, label, one.cell.batch_size, self.levels, mode)[0]

    def quicker(self, label: str, comparisons: int) -> Estimate | None:
        """Ratio of seconds per gradient to the baseline's, at a level for so many comparisons; None likewise."""
        base = self.suite.baseline
        if label not in self.times or base not in self.times:
            return None
        more = (self.levels, comparisons, self.suite.modes[0])
        return throughput_metrics.time_ratio(self.times[label].data, label, base, *more).estimate


def steps_of(outcome: Outcome, rate: str, horizon: int) -> Ranges:
    """Steps to the target of an estimator's trainings at a rate."""
    return censored.times(getattr(outcome.data, rate), horizon)


def times(
    place: Place, here: Mapping[str, Outcome], label: str, target: float, spec: Any
) -> list[MetricValue]:
    """Median steps and seconds to the target at both rates, and their paired ratios to the baseline's.

    Each ratio comes twice: ``ratio.…`` at the suite's level, ``adjusted.ratio.…`` at one that holds for all the
    estimators of the place together (Bonferroni).

    Args:
        place: What else was measured.
        here: Outcomes of the trainings, by label.
        label: Of the estimator.
        target: Nats.
        spec: Options of the measure.
    """
    found, level = [], place.suite.level
    for rate in RATES:
        detail = _detail(here[label], rate, target, spec)
        steps = censored.median(steps_of(here[label], rate, spec.steps), level)
        found.append(_value(f"target.steps.{rate}", steps, level, "steps", detail))
        seconds = place.seconds(label)
        if seconds:
            product = _product(steps, seconds.estimate)
            found.append(_value(f"target.seconds.{rate}", product, level, "s", detail))
        if label != place.suite.baseline and place.suite.baseline in here:
            found += _ratios(place, here, label, rate, detail, spec)
    return found


def _ratios(
    place: Place,
    here: Mapping[str, Outcome],
    label: str,
    rate: str,
    detail: Mapping[str, Any],
    spec: Any,
) -> list[MetricValue]:
    base, found = place.suite.baseline, []
    pairs = censored.ratios(
        steps_of(here[label], rate, spec.steps), steps_of(here[base], rate, spec.steps)
    )
    for kind, comparisons in (("ratio", 1), ("adjusted.ratio", max(1, len(here) - 1))):
        level = 1 - (1 - place.suite.level) / comparisons
        more = {**detail, "comparisons": comparisons}
        steps = censored.median(pairs, level)
        found.append(_value(f"{kind}.target.steps.{rate}", steps, level, "1", more, base))
        quicker = place.quicker(label, comparisons)
        if quicker:
            product = _product(steps, quicker)
            found.append(_value(f"{kind}.target.seconds.{rate}", product, level, "1", more, base))
    return found


def _detail(outcome: Outcome, rate: str, target: float, spec: Any) -> dict[str, Any]:
    found = getattr(outcome.data, rate)
    return {
        "target": target,
        "reached": sum(map(math.isfinite, found)),
        "seeds": len(found),
        "learning_rate": outcome.data.own_rate if rate == "own" else spec.shared_rate,
        "most_steps": spec.steps,
    }


def _product(steps: Estimate, seconds: Estimate) -> Estimate:
    """Steps × seconds; without a value where the median of the steps is not known, with what is known of its ends."""
    if math.isfinite(steps.value):
        return statistics.product(steps, seconds)
    return Estimate(steps.value, steps.low * seconds.low, steps.high * seconds.high, steps.n)


def _value(
    metric: str,
    estimate: Estimate,
    level: float,
    unit: str,
    detail: Mapping[str, Any],
    against: str = "",
) -> MetricValue:
    """A row; ``bounded`` without a value where the trainings ended too early to have one."""
    message = (
        f"{detail['reached']} of {detail['seeds']} seeds reached {detail['target']:g} nats in "
        f"{detail['most_steps']} steps at rate {detail['learning_rate']:g}"
    )
    known = math.isfinite(estimate.value)
    if not known:
        estimate = Estimate(math.nan, estimate.low, estimate.high, estimate.n)
    return MetricValue(
        metric,
        estimate,
        level,
        unit,
        status="ok" if known else "bounded",
        message=message,
        against=against,
        detail=detail,
    )


def correlations(place: Place, here: Mapping[str, Outcome], spec: Any) -> list[MetricValue]:
    """Spearman's correlation of variance with steps, and of variance × seconds with seconds, by role and rate.

    Args:
        place: What else was measured.
        here: Outcomes of the trainings, by label.
        spec: Options of the measure.
    """
    base = here[place.suite.baseline].cell.estimator.declaration
    ranked = [
        label
        for label, outcome in here.items()
        if outcome.cell.estimator.declaration.unbiased
        and outcome.cell.estimator.declaration.objective == base.objective
        and label in place.units
    ]
    if len(ranked) < LEAST:
        return []
    roles = dict.fromkeys(group.role for group in place.units[ranked[0]].sizes)
    found = []
    for role in roles:
        totals = {label: _total(place, label, role) for label in ranked}
        kept = [label for label in ranked if _usable(totals[label])]
        if role == "bias" or len(kept) < LEAST:
            continue
        for rate in RATES:
            found += _of_role(place, here, kept, role, rate, spec)
    return found


def _total(place: Place, label: str, role: str) -> Estimate | None:
    """Total variance of a role over all layers."""
    figures = variance(place.units[label], look_schedule(place.suite))
    for one in figures:
        if (one.metric, one.layer, one.role) == ("variance.total", "all", role):
            return one.estimate
    return None


def _usable(estimate: Estimate | None) -> bool:
    return estimate is not None and estimate.low > 0 and math.isfinite(estimate.high)


def _of_role(
    place: Place,
    here: Mapping[str, Outcome],
    labels: Sequence[str],
    role: str,
    rate: str,
    spec: Any,
) -> list[MetricValue]:
    level, horizon = place.suite.level, float(spec.steps)
    steps = np.array([getattr(here[label].data, rate) for label in labels])
    totals = [t for t in (_total(place, label, role) for label in labels) if t is not None]
    generator = np.random.default_rng(
        Key(("vdbench", place.suite.seed, "correlation", role, rate)).seed()
    )
    again = rank_correlation.lognormal(totals, level, DRAWS, generator)
    longer = rank_correlation.medians(steps, horizon, DRAWS, generator)
    median = rank_correlation.median(steps, horizon)
    x = np.array([t.value for t in totals])
    detail = {"estimators": len(labels), "seeds": steps.shape[1]}
    whole = rank_correlation.correlation(x, median, (again, longer), level)
    found = [_correlation(f"correlation.target.steps.{rate}", whole, level, role, detail)]
    timed = [seconds for label in labels if (seconds := place.seconds(label))]
    if len(timed) == len(labels):
        each = [one.estimate for one in timed]
        clock = rank_correlation.lognormal(each, level, DRAWS, generator)
        s = np.array([one.value for one in each])
        taken, longer = _seconds(median, s, horizon), _seconds(longer, clock, horizon)
        whole = rank_correlation.correlation(x * s, taken, (again * clock, longer), level)
        found.append(_correlation(f"correlation.target.seconds.{rate}", whole, level, role, detail))
    return found


def _seconds(steps: Rows, each: Rows, horizon: float) -> Rows:
    """Seconds, all that are beyond the shortest censored one as that: their order is not known.

    Args:
        steps: Medians, (…, k), those of censored ones at the horizon.
        each: Seconds of a step, (…, k).
        horizon: Most steps.
    """
    seconds = steps * each
    open_ones = np.where(steps >= horizon, seconds, math.inf)
    return np.asarray(np.minimum(seconds, open_ones.min(-1, keepdims=True)), dtype=np.float64)


def _correlation(
    metric: str, estimate: Estimate, level: float, role: str, detail: Mapping[str, Any]
) -> MetricValue:
    message = f"Spearman's, over {detail['estimators']} estimators and {detail['seeds']} seeds"
    return MetricValue(metric, estimate, level, "1", role=role, message=message, detail=detail)
