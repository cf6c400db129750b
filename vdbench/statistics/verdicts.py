"""One table of verdicts: what the interval of a ratio or of a difference says of two things compared.

=======================  ===============================  ==================  ==============
verdict                  interval of a ratio              of a difference     ``compare``
=======================  ===============================  ==================  ==============
significantly lower      wholly below 1                   wholly below 0      BETTER, WORSE
significantly higher     wholly above 1                   wholly above 0      WORSE, BETTER
equivalent within ±t     within [1 / (1 + t), 1 + t]      within [-t, t]      SAME
inconclusive             none of these                    none of these       INCONCLUSIVE
=======================  ===============================  ==================  ==============

The first line that fits counts: a difference that is sure but small is significant, not equivalent. Limits of
a ratio are symmetric on the logarithmic scale, so that a / b and b / a get opposite verdicts.

Several comparisons are judged together at one level by Bonferroni's correction, unless their intervals hold together
already (`vdbench.statistics.simultaneous`). An interval that is known only at a lower level is widened first, on the
scale on which it is symmetric, by the quotient of the normal quantiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

TOLERANCE = 0.05
"""The relative difference within which two figures count as equivalent, where nothing else is asked for."""


class Verdict(StrEnum):
    """What an interval says; the value is the wording for a reader."""

    LOWER = "significantly lower"
    HIGHER = "significantly higher"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"

    @property
    def opposite(self) -> Verdict:
        """The verdict on the same two things, compared the other way round."""
        turned = {Verdict.LOWER: Verdict.HIGHER, Verdict.HIGHER: Verdict.LOWER}
        return turned.get(self, self)

    def words(self, tolerance: float = TOLERANCE) -> str:
        """Write the verdict, an equivalence with its tolerance: ``equivalent within ±5 %``."""
        within = f" within ±{100 * tolerance:g} %" if self is Verdict.EQUIVALENT else ""
        return f"{self.value}{within}"

    def compared(self, less_is_better: bool = True) -> str:
        """Write the verdict on a new figure against an old one: BETTER, WORSE, SAME or INCONCLUSIVE."""
        if self in (Verdict.LOWER, Verdict.HIGHER):
            return "BETTER" if (self is Verdict.LOWER) == less_is_better else "WORSE"
        return "SAME" if self is Verdict.EQUIVALENT else "INCONCLUSIVE"


@dataclass(frozen=True)
class Judgement:
    """A verdict with the interval that it rests on.

    Attributes:
        verdict: The verdict.
        low: Lower end of the interval at the adjusted level.
        high: Upper end.
        level: That level, or the interval's own where this is higher.
        widened: Whether the interval was known at a lower level only.
    """

    verdict: Verdict
    low: float
    high: float
    level: float
    widened: bool = False


def ratio_verdict(low: float, high: float, tolerance: float = TOLERANCE) -> Verdict:
    """Judge by an interval of a ratio.

    Args:
        low: Lower end; NaN where there is none.
        high: Upper end.
        tolerance: Relative difference that counts as none; 0 for no equivalence.

    Returns:
        The verdict on the numerator.
    """
    if high < 1:
        return Verdict.LOWER
    if low > 1:
        return Verdict.HIGHER
    same = tolerance > 0 and 1 / (1 + tolerance) <= low <= high <= 1 + tolerance
    return Verdict.EQUIVALENT if same else Verdict.INCONCLUSIVE


def difference_verdict(low: float, high: float, tolerance: float = 0.0) -> Verdict:
    """Judge by an interval of a difference.

    Args:
        low: Lower end; NaN where there is none.
        high: Upper end.
        tolerance: Difference that counts as none, in the unit of the difference; 0 for no equivalence.

    Returns:
        The verdict on what is subtracted from.
    """
    if high < 0:
        return Verdict.LOWER
    if low > 0:
        return Verdict.HIGHER
    same = tolerance > 0 and -tolerance <= low <= high <= tolerance
    return Verdict.EQUIVALENT if same else Verdict.INCONCLUSIVE


def adjusted_level(level: float, comparisons: int) -> float:
    """Return the level of each of several intervals that hold together at a level (Bonferroni)."""
    return 1 - (1 - level) / max(1, comparisons)


def widened(
    interval: tuple[float, float, float], own: float, asked: float, log: bool = False
) -> tuple[float, float]:
    """Widen an interval to a higher level, by the quotient of the normal quantiles.

    Args:
        interval: A figure, and the lower and upper end of its interval.
        own: Level of that interval.
        asked: Level that it is to have.
        log: Whether it is symmetric on the logarithmic scale.

    Returns:
        Its ends; as they are where the level is high enough, or where they are not finite (and positive, if ``log``).
    """
    value, low, high = interval
    least = 0.0 if log else -math.inf
    if own >= asked or not least < low <= value <= high < math.inf:
        return low, high
    factor = _half_width(asked) / _half_width(own)
    if log:
        return value * (low / value) ** factor, value * (high / value) ** factor
    return value + factor * (low - value), value + factor * (high - value)


def judge_ratio(
    interval: tuple[float, float, float],
    own: float,
    level: float,
    comparisons: int = 1,
    tolerance: float = TOLERANCE,
) -> Judgement:
    """Judge a ratio among several comparisons.

    Args:
        interval: The ratio, and the lower and upper end of its interval.
        own: Level of that interval, between 0 and 1.
        level: Level at which all comparisons hold together.
        comparisons: How many are made.
        tolerance: As for `ratio_verdict`.

    Returns:
        The verdict and its interval. An interval whose ends are not positive and finite is left as it is.
    """
    asked = adjusted_level(level, comparisons)
    low, high = widened(interval, own, asked, log=True)
    changed = (low, high) != interval[1:]
    verdict = ratio_verdict(low, high, tolerance)
    return Judgement(verdict, low, high, asked if changed else own, widened=changed)


def judge_difference(
    interval: tuple[float, float, float],
    own: float,
    level: float,
    comparisons: int = 1,
    tolerance: float = 0.0,
) -> Judgement:
    """Judge a difference among several comparisons.

    Args:
        interval: The difference, and the lower and upper end of its interval.
        own: Level of that interval, between 0 and 1.
        level: Level at which all comparisons hold together.
        comparisons: How many are made.
        tolerance: As for `difference_verdict`.

    Returns:
        The verdict and its interval. An interval without finite ends is left as it is.
    """
    asked = adjusted_level(level, comparisons)
    low, high = widened(interval, own, asked)
    changed = (low, high) != interval[1:]
    verdict = difference_verdict(low, high, tolerance)
    return Judgement(verdict, low, high, asked if changed else own, widened=changed)


def _half_width(level: float) -> float:
    """Return the half-width of a normal interval at a level, in standard deviations."""
    return NormalDist().inv_cdf((1 + level) / 2)
