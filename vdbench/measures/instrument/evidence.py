"""Coverage: the share of repetitions whose interval holds the truth, where the run stopped.

What could bias coverage upwards is looked at: how far the truth itself may be off (in half-widths of the intervals
tested), and how many intervals had no end. A figure that is exact in every repetition is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vdbench.measures.instrument.series import Address, Numbers, Series
from vdbench.statistics import Estimate
from vdbench.statistics.proportions import at_least, holm, share

FAMILY_WISE = 0.01
"""Rate at which any figure at all is called short of its level although none is."""

COARSE = 0.05
"""Most standard errors of the truth in a half-width: so much changes a coverage by 0.001 or so, and no more."""


@dataclass(frozen=True)
class Truth:
    """What intervals are to hold.

    Attributes:
        value: One value, or one a repetition, shape (R,).
        error: Its standard error; 0 where it is known.
        root: Whether it is the root of what was estimated, and the error that of its square.
    """

    value: float | Numbers
    error: float = 0.0
    root: bool = False


@dataclass(frozen=True)
class Judged:
    """One figure's coverage.

    Attributes:
        share: Of repetitions that gave a value, with Clopper and Pearson's interval.
        p: Adjusted p-value of "at least the nominal level".
        level: That level.
        coarseness: Standard error of the truth over the mean half-width.
        endless: Share of these whose interval has no end.
        undefined: Repetitions that gave no value, and so made no statement: they are not counted.
    """

    share: Estimate
    p: float
    level: float
    coarseness: float
    endless: float
    undefined: int

    @property
    def status(self) -> str:
        """``ok``, ``rejected``, or ``coarse`` where the truth is not known well enough to judge."""
        if not self.coarseness <= COARSE:
            return "coarse"
        return "rejected" if self.p <= FAMILY_WISE else "ok"


@dataclass(frozen=True)
class Evidence:
    """All repetitions at a place.

    Attributes:
        series: By figure.
        truths: By figure.
        level: Of the suite: that of coverage's own intervals.
        families: Places that share the error `FAMILY_WISE`.
        precision: Relative half-width that runs aimed at.
    """

    series: Mapping[Address, Series]
    truths: Mapping[Address, Truth]
    level: float
    families: int = 1
    precision: float = 0.0

    @cached_property
    def judged(self) -> dict[Address, Judged]:
        """Every figure that has a truth and an uncertainty, tested together with all the others."""
        found = {a: s.stated for a, s in self.series.items() if self._tested(a, s.stated)}
        hits = {a: int(s.holds(self.truths[a].value).sum()) for a, s in found.items()}
        p = holm(
            [at_least(hits[a], len(s.value), s.level) for a, s in found.items()], self.families
        )
        return {
            a: Judged(
                share(hits[a], len(s.value), self.level),
                value,
                s.level,
                coarseness(s, self.truths[a]),
                float(np.mean(~np.isfinite(s.high - s.low))),
                len(self.series[a].value) - len(s.value),
            )
            for (a, s), value in zip(found.items(), p, strict=True)
        }

    def _tested(self, address: Address, series: Series) -> bool:
        """Not what has no value, such as a ratio to zero, nor what is exact and right."""
        if address not in self.truths or not len(series.value):
            return False
        truth = self.truths[address].value
        return not np.isnan(truth).any() and not (series.exact and bool(series.holds(truth).all()))


def coarseness(series: Series, truth: Truth) -> float:
    """Standard error of the truth over the mean half-width of the intervals that have ends.

    Of a root, squares are compared: near zero the root of a small error is not small, and an interval holds the
    root just where it holds the square. The upper half-width is taken, because the lower end stops at zero.
    """
    if truth.error == 0:
        return 0.0
    squares = series.high**2 - series.value**2
    halves = squares if truth.root else (series.high - series.low) / 2
    halves = halves[np.isfinite(halves)]
    return truth.error / float(halves.mean()) if len(halves) and halves.any() else np.inf
