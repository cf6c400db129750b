"""How many draws a comparison of means needs, and along which direction a common factor shows first: from pilot draws.

Both are decided before the draws that are compared, so that neither depends on what the comparison finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vdbench.certificate.finding import MARGIN, SEEN
from vdbench.certificate.reference_problems import Stage
from vdbench.certificate.two_looks import CARRIED, Rows, Sample

STEPS = 6.3
"""Standard errors from 0 at which a bias is seen: the limit of a look, 4.5, and the 1.8 of its power."""

SHRINK = 0.05
"""Share of each variance by which a pilot's covariances are shrunk: they are estimates."""

ROUNDS = 4
"""How often draws are added, at most: a pilot may have missed the tails."""


Directions = tuple[Rows, Rows]
"""Weights by the covariance, and by the variances alone."""


def directions(pilot: Sequence[Sample]) -> list[Directions]:
    """For each sample the weights w for which ⟨g, w⟩/⟨t, w⟩ varies least: w = C⁻¹t, C the covariance of g.

    And those for which it would if the coordinates were independent: what is no common factor may show in either.
    """
    return [_directions(sample) for sample in pilot]


def _directions(sample: Sample) -> Directions:
    variance = sample.rows.var(0)
    floor = 1e-6 * variance.max() + sample.scale**2 * 1e-18
    plain = np.asarray(sample.truth / np.maximum(variance, floor), dtype=np.float64)
    covariance = np.atleast_2d(np.cov(sample.rows, rowvar=False)) + np.diag(
        SHRINK * variance + floor
    )
    if not np.isfinite(covariance).all():
        return sample.truth, sample.truth
    return np.asarray(np.linalg.solve(covariance, sample.truth), dtype=np.float64), plain


def weighted(samples: Sequence[Sample], weights: Sequence[Directions]) -> list[Sample]:
    """The samples with their directions."""
    return [
        replace(s, weights=best, plain=plain)
        for s, (best, plain) in zip(samples, weights, strict=True)
    ]


def needed(samples: Sequence[Sample]) -> float:
    """Draws with which every sample would show a relative bias of `SEEN`."""
    spreads = [sample.along for sample in samples]
    return for_spread(max((float(a.std()) for a in spreads if a is not None), default=0.0))


def needed_of(
    at: Stage, rows: Mapping[str, Rows], truth: Mapping[str, Rows] | None = None
) -> float:
    """The same of draws in every layer and role; their own mean stands for the truth where none is given.

    Where it is given, the directions are those of the first half, and the spread along them is that of the second.
    """
    parts = []
    for group in dict.fromkeys(at.problem.groups[name] for name in rows):
        names = [n for n in rows if at.problem.groups[n] == group]
        part = np.concatenate([rows[n] for n in names], 1)
        mean = part.mean(0) if truth is None else np.concatenate([truth[n] for n in names])
        parts.append(Sample(str(group), part, mean))
    if truth is None:
        return needed(weighted(parts, directions(parts)))
    halves = list(zip(*(_halves(sample) for sample in parts), strict=True))
    return needed(weighted(halves[1], directions(halves[0])))


def _halves(sample: Sample) -> list[Sample]:
    return [replace(sample, rows=rows) for rows in np.array_split(sample.rows, 2)]


Bound = Callable[[float], int]
"""Most draws, where so many are needed: where more decide, there may be more."""


def carrying(samples: Sequence[Sample], most: Bound) -> float:
    """Draws with which `CARRIED` of them should carry every spread that is judged; 0 where more than there may be."""
    lacking = [
        len(s.rows) * CARRIED * MARGIN / s.judged_by
        for s in samples
        if s.judged_by is not None and s.judged_by < CARRIED
    ]
    return max((count for count in lacking if count <= most(count)), default=0.0)


def for_spread(spread: float) -> float:
    """Draws with which `SEEN` is seen in a mean whose draws have this standard deviation."""
    return (STEPS * spread / SEEN) ** 2


def enough(
    draw: Callable[[str, int], list[Sample]], first: int, most: Bound, unit: int
) -> list[Sample]:
    """Draws for a first look: as many as a pilot asked for, and more where their own spread or tails ask for more.

    Args:
        draw: ``draw(address, count)``.
        first: How many a pilot asked for.
        most: Gives the bound, for as many as are needed: a pilot that has missed the tails asks for too few.
        unit: Numbers of draws are multiples of it, up to the bound.
    """
    found = draw("first", first)
    for k in range(ROUNDS):
        have = max(len(s.rows) for s in found)
        want = max(needed(found), carrying(found, most))
        if not have < want < math.inf or have < first or have >= most(want):
            break
        more = min(most(want) - have, math.ceil((want - have) / unit) * unit)
        found = [joined(a, b) for a, b in zip(found, draw(f"first, more {k}", more), strict=True)]
    return found


def joined(a: Sample, b: Sample) -> Sample:
    """All draws of two samples of the same."""
    return replace(a, rows=np.concatenate([a.rows, b.rows]))
