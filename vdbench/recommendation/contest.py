"""The best of several candidates: eliminated one after the other, each as soon as it is sure that another is better.

A *question* is a cost (seconds or bytes) and a role of parameters: which candidate has the least variance × cost there?
Candidates are compared in pairs, on the logarithmic scale. The interval of a pair's ratio is made of

- the ratio of the variances: paired unit by unit at one minibatch size (same minibatches, and noise where shapes
  agree), of two independent samples otherwise; with a boundary at which it holds at every planned look together
  (`vdbench.statistics.sequential`);
- the ratio of the times: the median over the rounds that both were timed in, at a level adjusted for the looks; or the
  ratio of the bytes, whose interval is the range over processes, widened by what Linux counts in.

The error rate is divided by the number of questions and of all pairs of candidates. So with probability 1 − error, up
to the normal approximation of the intervals, no interval of any pair is wrong at any look, whoever is compared with
whom, and whenever it ends. Then no best candidate is eliminated, and one that is named sure is the best.

The *indifference zone*: a question is settled, too, where the lowest candidate is surely within a relative ``zone`` of
every one that is left. Which of these is best does not matter then.

Sources: Paulson 1964 (Ann. Math. Stat. 35, elimination with an indifference zone); Even-Dar, Mannor & Mansour 2006
(JMLR 7, successive elimination); Jennison & Turnbull 2000, ch. 9 (repeated intervals).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from vdbench import statistics
from vdbench.statistics import Estimate
from vdbench.statistics.contrasts import (
    ratio_of_independent_means,
    ratio_of_means,
    ratio_of_medians,
)

SECONDS, BYTES = "seconds", "bytes"
GROWTH = 1.25
"""From look to look."""

FAST = 8
"""Rounds grow as fast as units, until there are so many times more; as their root from there on."""


class Question(NamedTuple):
    """Which candidate has the least variance × cost?

    Attributes:
        cost: ``seconds`` or ``bytes``.
        role: Of the parameters whose variance it is.
    """

    cost: str
    role: str


@dataclass(frozen=True)
class Plan:
    """When is looked; fixed before anything is measured.

    Attributes:
        block: Units in a block.
        looks: Numbers of units, increasing.
        rounds: Rounds of timing at each look.
    """

    block: int
    looks: tuple[int, ...]
    rounds: tuple[int, ...]

    @classmethod
    def of(cls, block: int, first: int, most: int, rounds: int) -> Plan:
        """Looks at whole blocks, each about a quarter more than the last; rounds grow with the units, at first as fast.

        Args:
            block: Units in a block.
            first: Units at the first look.
            most: Units at the last look, about.
            rounds: At the first look.
        """
        found = [first // block]
        while found[-1] * block < most:
            found.append(max(found[-1] + 1, round(found[-1] * GROWTH)))
        sizes = [n * block / first for n in found]
        counts = [math.ceil(rounds * min(x, math.sqrt(FAST * x))) for x in sizes]
        return cls(block, tuple(block * n for n in found), tuple(counts))

    def critical(self, n: int, alpha: float) -> float:
        """The critical value at the look at n units."""
        return statistics.critical_values(self.looks, 1 - alpha)[self.looks.index(n)]


@dataclass
class Taken:
    """What was measured of a candidate.

    Attributes:
        batch_size: M.
        rows: Variance over all parameters of a role, one value a unit.
        seconds: Per gradient, one value a round.
        peaks: Peak bytes of a gradient, one value a process.
        step: Bytes that a peak is counted in.
    """

    batch_size: int
    rows: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    seconds: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(0))
    peaks: Sequence[int] = ()
    step: int = 0

    @property
    def n(self) -> int:
        """Units."""
        return len(next(iter(self.rows.values()), ()))

    def value(self, question: Question) -> float:
        """Variance × cost."""
        cost = self.seconds if question.cost == SECONDS else np.asarray(self.peaks, dtype=float)
        return float(np.mean(self.rows[question.role])) * float(np.median(cost))


@dataclass
class Contest:
    """Who is left, question by question.

    Attributes:
        plan: When is looked.
        taken: What was measured, by number of the candidate; the baseline is number 0.
        questions: What is asked.
        error: Probability that anything said is wrong, at most.
        zone: Relative difference that does not matter.
        entered: Candidates that were planned: what the error rate is divided for.
    """

    plan: Plan
    taken: dict[int, Taken]
    questions: tuple[Question, ...]
    error: float
    zone: float
    entered: int
    left: dict[Question, list[int]] = field(default_factory=dict)
    beaten: dict[Question, dict[int, tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """All are left."""
        self.left = {
            q: [i for i, t in self.taken.items() if q.cost == SECONDS or t.peaks]
            for q in self.questions
        }
        self.beaten = {q: {} for q in self.questions}

    @cached_property
    def alpha(self) -> float:
        """Error rate of one interval, over all looks."""
        pairs = max(1, self.entered * (self.entered - 1) // 2)
        return self.error / (pairs * max(1, len(self.questions)))

    def ratio(self, question: Question, a: int, b: int) -> Estimate:
        """Variance × cost of one candidate over another's, on what both have, with an interval that holds."""
        if a == b:
            return Estimate(1.0, 1.0, 1.0, self.taken[a].n)
        one, two = self.taken[a], self.taken[b]
        n = min(one.n, two.n)
        rows = [t.rows[question.role][:n] for t in (one, two)]
        critical = lambda alpha: self.plan.critical(n, alpha)  # noqa: E731
        if one.batch_size == two.batch_size:
            variance = ratio_of_means(rows[0], rows[1], critical).at(self.alpha)
        else:
            contrast = ratio_of_independent_means(rows[0], rows[1], (critical, critical))
            variance = contrast.at(self.alpha)
        cost = (
            times(one.seconds, two.seconds, self.alpha / len(self.plan.looks))
            if question.cost == SECONDS
            else sizes(one, two)
        )
        return statistics.product(variance, cost)

    def leader(self, question: Question) -> int:
        """The lowest of those that are left."""
        return min(self.left[question], key=lambda a: self.taken[a].value(question))

    def lost(self, candidate: int) -> None:
        """One that failed is out, and those that it beat are left again: one that cannot be used beats nobody."""
        for question in self.questions:
            if candidate in self.left[question]:
                self.left[question].remove(candidate)
            beaten = self.beaten[question]
            beaten.pop(candidate, None)
            for other in [i for i, (by, _) in beaten.items() if by == candidate]:
                del beaten[other]
                self.left[question].append(other)

    def look(self) -> None:
        """Eliminate those that are surely worse than the lowest."""
        for question in self.questions:
            best = self.leader(question)
            n = self.taken[best].n
            for other in list(self.left[question]):
                if other != best and self.ratio(question, other, best).low > 1:
                    self.left[question].remove(other)
                    self.beaten[question][other] = (best, n)

    @property
    def open(self) -> list[Question]:
        """Questions that are not settled."""
        return [q for q in self.questions if not self.settled(q)]

    def settled(self, question: Question) -> bool:
        """Whether one is left, or the lowest is surely within the zone of all that are."""
        return len(self.left[question]) == 1 or self.regret(question) <= self.zone

    def regret(self, question: Question) -> float:
        """By what share the lowest may be worse than the best of those that are left, at most; inf if not known."""
        best = self.leader(question)
        worst = [self.ratio(question, best, i).high - 1 for i in self.left[question] if i != best]
        return max(0.0, *worst, 0.0) if not any(map(math.isnan, worst)) else math.inf

    @property
    def active(self) -> list[int]:
        """Those that are measured on: who is left in an open question, and the baseline."""
        wanted = {i for q in self.open for i in self.left[q]}
        return sorted(wanted | {0}) if wanted else []


def times(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any], alpha: float) -> Estimate:
    """Ratio of seconds over the rounds that both were timed in."""
    r = min(len(one), len(two))
    return ratio_of_medians(one[:r], two[:r], True).at(alpha)


def sizes(one: Taken, two: Taken) -> Estimate:
    """Ratio of peak bytes: a size that does not vary but for how it is counted, so that its range bounds it."""
    value = float(np.median(one.peaks) / max(1.0, float(np.median(two.peaks))))
    low = max(0.0, min(one.peaks) - one.step) / (max(two.peaks) + two.step)
    least = min(two.peaks) - two.step
    high = (max(one.peaks) + one.step) / least if least > 0 else math.inf
    return Estimate(value, min(low, value), max(high, value), min(len(one.peaks), len(two.peaks)))
