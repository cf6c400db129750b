"""Variances and biases, compared unit by unit where the units are shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from vdbench.comparison.rows import Candidate, Where
from vdbench.measures.metrics import APART, SQUARED, LookSchedule, UnitRows
from vdbench.problems.problem import Group
from vdbench.statistics import Estimate
from vdbench.statistics.contrast import Contrast
from vdbench.statistics.contrasts import (
    Critical,
    difference_of_ratios,
    ratio_of_independent_means,
    ratio_of_means,
)

QUANTITIES = {"variance.total": "total", "variance.noise": "noise"}
"""Metrics of variance, and the column of the unit rows that each is the mean of."""

DUST = 1e-11
"""Share of a gradient's square below which a variance is nothing but rounding."""

ROUNDING = {"float32": 1e-4, "float64": 1e-9, "tf32": 1e-3, "bf16": 1e-2}
"""Relative difference of two variances that rounding alone may make, by precision."""


@lru_cache(maxsize=4096)
def _critical(schedule: LookSchedule, n: int, adjusted: int, alpha: float) -> float:
    return replace(schedule, level=1 - alpha).z(n, adjusted)


def critical(schedule: LookSchedule, n: int, apart: bool) -> Critical:
    """The critical value of a cell that stopped at a look, as a function of the error rate.

    Args:
        schedule: Its looks.
        n: Units at which it stopped.
        apart: Whether the cell that it is compared with stopped at another look.
    """
    return partial(_critical, schedule, n, APART if apart and schedule.anytime else 1)


def variances(
    where: Where,
    new: tuple[UnitRows, LookSchedule],
    base: tuple[UnitRows, LookSchedule],
    metric: str,
    paired: bool,
    precision: str,
) -> Iterator[Candidate]:
    """One metric of variance, in every layer and role, and in every role over all layers.

    Args:
        where: What is compared.
        new: Unit rows, and when they were looked at.
        base: Likewise.
        metric: ``variance.total`` or ``variance.noise``.
        paired: Whether units of one number share minibatches and noise.
        precision: Floating-point type of both.
    """
    (mine, after), (theirs, before) = new, base
    quantity = QUANTITIES[metric]
    apart = mine.n != theirs.n or after.looks != before.looks
    signed = mine.signed or theirs.signed
    z = critical(after, mine.n, apart), critical(before, theirs.n, apart)
    roles = Counter(group.role for group in mine.sizes)
    for group in mine.groups():
        if group not in theirs.groups() or (group.layer != "all" and roles[group.role] == 1):
            continue
        a, b = mine.of(group, quantity), theirs.of(group, quantity)
        yield Candidate(
            where,
            "variance",
            metric,
            _contrast(a, b, z, paired, signed, (_size(mine, group), _size(theirs, group))),
            (float(np.mean(b)), float(np.mean(a))),
            SQUARED,
            group.layer,
            group.role,
            min(mine.n, theirs.n),
            paired,
            rounding=ROUNDING.get(precision, 0.0),
            why=mine.message or theirs.message,
        )


def _contrast(
    a: np.ndarray,
    b: np.ndarray,
    z: tuple[Critical, Critical],
    paired: bool,
    signed: bool,
    sizes: tuple[float, float],
) -> Contrast:
    each = zip((a, b), sizes, strict=True)
    none, before = (float(np.abs(rows).mean()) <= DUST * size for rows, size in each)
    if none or before:
        return _with_zeros(none, before, len(a))
    if paired:
        widest: Critical = lambda alpha: max(one(alpha) for one in z)  # noqa: E731
        return ratio_of_means(a, b, widest, signed)
    return ratio_of_independent_means(a, b, z, signed)


def _with_zeros(new: bool, base: bool, n: int) -> Contrast:
    """A ratio of which one or both are 0 up to rounding: equal, or without bound, or 0."""
    value = 1.0 if new and base else 0.0 if new else float("inf")
    found = Estimate(value, value, value, n)
    return Contrast(True, lambda alpha: found)


def _size(rows: UnitRows, group: Group) -> float:
    """The size of a squared gradient in a group: its variance, or its mean squared."""
    return max(abs(float(np.mean(rows.of(group, q)))) for q in ("total", "signal"))


def biases(where: Where, new: UnitRows, base: UnitRows, paired: bool) -> Iterator[Candidate]:
    """Relative bias in every role over all layers, compared as its square: the root of one may be imaginary."""
    for group in new.groups():
        if group.layer != "all" or group not in base.groups():
            continue
        each = [(rows.of(group, "bias2"), rows.of(group, "reference2")) for rows in (new, base)]
        contrast = difference_of_ratios(each[0], each[1], paired)
        same = all(np.array_equal(a, b) for a, b in zip(*each, strict=True))
        yield Candidate(
            where,
            "bias",
            "relative_bias",
            replace(contrast, identical=same),
            (_root(*each[1]), _root(*each[0])),
            "1",
            group.layer,
            group.role,
            min(new.n, base.n),
            paired,
            margin=lambda tolerance: tolerance**2,
        )


def _root(top: np.ndarray, bottom: np.ndarray) -> float:
    below = float(np.mean(bottom))
    return float(np.sqrt(max(0.0, float(np.mean(top)) / below))) if below > 0 else float("nan")
