"""Variance as values: total, noise part, data part, signal-to-noise ratio, and paired ratios between estimators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from vdbench import statistics
from vdbench.measures.metrics import (
    FIGURE,
    RATIO,
    SQUARED,
    VERDICT,
    LookSchedule,
    MetricValue,
    UnitRows,
)
from vdbench.measures.together import Together
from vdbench.problems.problem import Group
from vdbench.statistics import Estimate
from vdbench.suite.schema import Suite

T = TypeVar("T")


class Widest(NamedTuple):
    """The interval that lacks most.

    Attributes:
        width: Its relative half-width.
        where: Whose it is.
        aim: The half-width that is aimed at for it.
    """

    width: float
    where: str
    aim: float


class Wanted(NamedTuple):
    """An interval that is to be narrow.

    Attributes:
        estimate: The figure with it.
        where: Whose it is.
        aim: The half-width that is aimed at.
    """

    estimate: Estimate
    where: str
    aim: float


def widest(rows: UnitRows, schedule: LookSchedule) -> Widest:
    """The interval that lacks most, beside what is aimed at for it."""
    return lacking(wanted(rows, schedule))


def lacking(found: Sequence[Wanted]) -> Widest:
    """The same, of intervals that are known."""
    each = (Widest(one.estimate.relative_half_width, one.where, one.aim) for one in found)
    return max(each, key=lambda one: (one.width / one.aim, one.where))


def wanted(rows: UnitRows, schedule: LookSchedule) -> list[Wanted]:
    """Every interval that is to be known to a precision; none where all targets are ratios, and there is no other."""
    # without targets, averages over layers follow from the layers
    groups = rows.groups() if schedule.targets else list(rows.sizes)
    found = []
    for group in groups:
        for quantity in ("noise", "total"):
            for interval in (FIGURE, RATIO, VERDICT):
                aim = schedule.aim(group, quantity, interval)
                made = None if aim is None else _interval(rows, schedule, group, quantity, interval)
                if made and aim is not None:
                    found.append(Wanted(*made, aim))
    return found


def _interval(
    rows: UnitRows, schedule: LookSchedule, group: Group, quantity: str, interval: str
) -> tuple[Estimate, str] | None:
    """A figure or its ratio to the baseline's, and its name; None where the baseline has no such figure."""
    where = f"{quantity} of {group.layer} {group.role}"
    if interval == FIGURE:
        return rows.positive(group, quantity, schedule.z(rows.n)), where
    if rows.beside is None or group not in rows.beside.rows.groups():
        return None
    base, count = rows.beside.rows, 1
    if interval == VERDICT:
        layers = 1 if group.layer == "all" else len({one.layer for one in rows.sizes})
        count = rows.beside.comparisons * layers
    z = schedule.between(rows.n, base.n, count)
    mine, theirs = rows.of(group, quantity), base.of(group, quantity)
    estimate = statistics.ratio(mine, theirs, z, signed=rows.signed or base.signed)
    if not estimate.value > 0:  # of a figure that is 0 no ratio has a width
        return None
    at = f" at the level of {count} comparisons" if interval == VERDICT else ""
    return estimate, f"ratio to {rows.beside.label} of {where}{at}"


def longest(units: Mapping[str, UnitRows], baseline: str) -> dict[str, UnitRows]:
    """Units of all estimators for their ratios: of the baseline's the most that any cell has taken."""
    found = dict(units)
    more = [u.beside.rows for u in units.values() if u.beside and u.beside.label == baseline]
    if baseline in found and more:
        found[baseline] = max([found[baseline], *more], key=lambda rows: rows.n)
    return found


def variance(rows: UnitRows, schedule: LookSchedule) -> list[MetricValue]:
    """Total, noise part, data part and signal-to-noise ratio of every layer and role."""
    z = schedule.z(rows.n)
    figures = []
    for group in rows.groups():
        for quantity in ("total", "noise"):
            estimate = rows.positive(group, quantity, z)
            aim = schedule.aim(group, quantity)
            reached = aim is not None and estimate.relative_half_width <= aim
            status = "ok" if aim is None else "converged" if reached else "bounded"
            figures.append(
                MetricValue(
                    f"variance.{quantity}",
                    estimate,
                    schedule.level,
                    SQUARED,
                    group.layer,
                    group.role,
                    status=status,
                    message=rows.message,
                    detail=rows.detail,
                )
            )
        data = statistics.mean(rows.of(group, "data"), z)
        snr = statistics.ratio_root(rows.of(group, "signal"), rows.of(group, "total"), z)
        figures += [
            MetricValue(
                name,
                estimate,
                schedule.level,
                unit,
                group.layer,
                group.role,
                message=rows.message,
                detail=rows.detail,
            )
            for name, estimate, unit in (("variance.data", data, SQUARED), ("snr", snr, "1"))
        ]
    return figures


def variance_ratios(
    rows: UnitRows,
    other: UnitRows,
    schedule: LookSchedule,
    against: str,
    comparisons: int = 0,
    together: Together | None = None,
) -> list[MetricValue]:
    """Paired ratios of total and noise to another estimator's.

    Args:
        rows: The numerator.
        other: The denominator.
        schedule: Of both.
        against: Label of the denominator.
        comparisons: 0 for the ratio to the baseline; else the number of pairs of estimators that the level is
            adjusted for, times the number of layers where a row is about one of them.
        together: The place whose pairs hold together, where its intervals are narrower; None for Bonferroni's.
    """
    layers = len({group.layer for group in rows.sizes})
    kind = "pairwise" if comparisons else "ratio"
    figures = []
    for group in rows.groups():
        if group not in other.groups():
            continue
        count = max(1, comparisons * (1 if group.layer == "all" else layers))
        level = 1 - (1 - schedule.level) / count
        bonferroni = schedule.between(rows.n, other.n, count)
        for quantity in ("total", "noise"):
            a, b = rows.of(group, quantity), other.of(group, quantity)
            z, each = bonferroni, None
            if together and comparisons:
                z, each = together.reach(group, quantity, bonferroni)
            more = {"comparisons": count} if comparisons else {}
            figures.append(
                MetricValue(
                    f"{kind}.variance.{quantity}",
                    statistics.ratio(a, b, z, signed=rows.signed or other.signed),
                    level if each is None else each,
                    "1",
                    layer=group.layer,
                    role=group.role,
                    message=rows.message or (other.message and f"{against}: {other.message}"),
                    against=against,
                    detail={
                        **rows.detail,
                        **more,
                        **({} if each is None else {"largest_error": z}),
                    },
                )
            )
    return figures


def compared(suite: Suite, label: str, outcomes: Mapping[str, T]) -> Iterator[tuple[str, T, int]]:
    """What an estimator is compared with: the baseline (0), then each other, with the number of pairs to adjust for.

    Args:
        suite: Whose baseline.
        label: Of the estimator.
        outcomes: Of all estimators of the place, by label.
    """
    if suite.baseline in outcomes:
        yield suite.baseline, outcomes[suite.baseline], 0
    count = len(outcomes)
    for other, outcome in outcomes.items():
        if other != label:
            yield other, outcome, max(1, count * (count - 1) // 2)


def variance_values(
    suite: Suite,
    label: str,
    units: Mapping[str, UnitRows],
    schedule: LookSchedule,
    together: Together | None = None,
) -> list[MetricValue]:
    """Values of one estimator's variance, and its ratios to the baseline and to every other estimator.

    Args:
        suite: Whose baseline.
        label: Of the estimator.
        units: Of all estimators of the place, by label.
        schedule: Of all of them.
        together: The pairs of the place; None for levels that are the same in every repetition (Bonferroni).
    """
    found = variance(units[label], schedule)
    pairs = longest(units, suite.baseline)
    for other, denominator, comparisons in compared(suite, label, pairs):
        rows = pairs[label]
        # a cell that has waited for its ratio stopped on these very units
        if rows.beside and rows.beside.label == other:
            denominator = rows.beside.rows
        elif denominator.beside and denominator.beside.label == label:
            rows = denominator.beside.rows
        found += variance_ratios(rows, denominator, schedule, other, comparisons, together)
    return found
