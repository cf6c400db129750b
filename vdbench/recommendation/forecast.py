"""What more time would settle: how long an open comparison would take, if the estimates stayed where they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vdbench.recommendation.contest import BYTES, Contest, Question, sizes
from vdbench.statistics.contrast import half_width


@dataclass(frozen=True)
class Step:
    """A point of the curve.

    Attributes:
        question: Which.
        minutes: Of measuring, from the beginning.
        left: Candidates that are left then.
        measured: Whether that was seen; else it is a forecast.
    """

    question: Question
    minutes: float
    left: int
    measured: bool


def ahead(contest: Contest, minutes: float, rate: dict[int, float]) -> list[Step]:
    """The steps to come.

    A comparison is settled where its half-width h is below the distance d of its estimate from 1, or where the estimate
    is within the zone by h; h falls as one over the root of the work. The part that comes from how bytes are counted
    does not fall: where that is too wide, no time settles it, and there is no step.

    Args:
        contest: As it stands.
        minutes: Spent.
        rate: Minutes that were spent on each candidate.
    """
    found = []
    for question in contest.open:
        left = contest.left[question]
        best = contest.leader(question)
        spent = sum(rate.get(i, 0.0) for i in left)
        when = sorted(
            minutes + (factor - 1) * spent
            for factor in (_factor(contest, question, best, i) for i in left if i != best)
            if math.isfinite(factor)
        )
        found += [
            Step(question, at, len(left) - count, False) for count, at in enumerate(when, start=1)
        ]
    return found


def _factor(contest: Contest, question: Question, best: int, other: int) -> float:
    """How many times the work so far settles a comparison; inf where none does."""
    found = contest.ratio(question, other, best)
    if not found.value > 0:
        return math.inf
    half, away, zone = half_width(found, True), math.log(found.value), math.log1p(contest.zone)
    most = zone + away  # then the lowest is within the zone of it, or better
    fixed = 0.0
    if question.cost == BYTES:
        fixed = half_width(sizes(contest.taken[other], contest.taken[best]), True)
    if not (math.isfinite(half) and most > fixed):
        return math.inf
    return max(1.0, (half**2 - fixed**2) / (most**2 - fixed**2))
