"""Which of several figures is best, said only where it is sure: the selection is part of what the level covers.

The smallest of several estimates is chosen because it came out small. Intervals that hold for all figures together
hold for the chosen one too. So the best is named where its interval lies beyond those of all others, each interval at
a level adjusted for the number of figures (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vdbench.statistics.verdicts import adjusted_level, widened

Interval = tuple[float, float, float]
"""A figure, the lower and the upper end of its interval."""


@dataclass(frozen=True)
class Selection:
    """The outcome.

    Attributes:
        best: Name of the best estimate.
        rivals: Those of which it is not sure that the best is better.
        level: Of each interval.
        widened: Whether the intervals were known at a lower level, and were widened.
    """

    best: str
    rivals: tuple[str, ...]
    level: float
    widened: bool

    @property
    def sure(self) -> bool:
        """Whether the best is better than all others."""
        return not self.rivals

    @property
    def names(self) -> list[str]:
        """The best and its rivals."""
        return [self.best, *self.rivals]


def select(
    figures: Mapping[str, Interval],
    own: float,
    level: float,
    highest: bool = False,
    log: bool = False,
) -> Selection:
    """Choose the lowest of several figures, or the highest.

    Args:
        figures: By name, at least one; an interval that is not known has ends that are NaN.
        own: Level of the intervals.
        level: Level at which they are to hold together.
        highest: Whether the highest is best.
        log: Whether intervals are symmetric on the logarithmic scale.
    """
    asked = adjusted_level(level, len(figures))
    wide = {name: widened(each, own, asked, log) for name, each in figures.items()}
    sign = -1 if highest else 1
    best = min(figures, key=lambda name: sign * figures[name][0])
    rivals = tuple(
        name for name in figures if name != best and not _beyond(wide[name], wide[best], sign)
    )
    return Selection(best, rivals, max(own, asked), own < asked)


def _beyond(other: tuple[float, float], best: tuple[float, float], sign: int) -> bool:
    if any(math.isnan(end) for end in (*other, *best)):
        return False
    return other[0] > best[1] if sign > 0 else other[1] < best[0]
