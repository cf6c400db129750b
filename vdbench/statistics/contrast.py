"""Two things compared: an interval at any level, a p-value, and the number of units that would settle it.

A `Contrast` is a ratio or a difference of two things, with its interval as a function of the error rate α. All else
follows from such functions. The p-value is the smallest α at which the interval excludes "no difference" (1, or 0):
p-value and interval never disagree, whatever the interval is made of (means of units, medians of rounds, looks at which
a cell could have stopped).

**How many units settle it.** With T the tolerance on the scale on which the interval is symmetric (log(1 + t) of a
ratio), an interval of half-width T/2 or less always gives a verdict: an estimate farther than T/2 from "no difference"
excludes it, and the interval of a nearer one lies within the tolerance. `Contrast.needed` is the number of units at
which the half-width is T/2, for units that are looked at once. The half-width at N units is that of the units at hand,
repeated until they are N: it has their spread and their tails. Their spread is itself an estimate: its upper 95 % limit
is used, from a chi-square law with the degrees of freedom that the kurtosis of the units allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import chdtri

from vdbench.statistics import Estimate

SMALLEST = 12
"""p-values below 10 to the minus this are given as that."""

STEPS = 16
"""Error rates tried a decade, between which a p-value is interpolated."""

SURE = 0.95
"""How sure the number of units is to be large enough, as far as the spread of a unit is known."""

LEAST = 3
"""Degrees of freedom below which a spread is too little known for a number of units."""

MOST = 10**6
"""Units beyond which no number is given."""


@dataclass(frozen=True)
class Part:
    """One source of the interval's width.

    Attributes:
        unit: What is counted: ``units``, ``rounds``, ``processes`` or ``seeds``.
        n: How many there are.
        at: The estimate from N that are like those at hand, looked at once, at error rate α.
        freedom: Degrees of freedom that their spread is known with; 0 where no number of them would help.
    """

    unit: str
    n: int
    at: Callable[[int, float], Estimate]
    freedom: float

    def needed(self, alpha: float, half: float, log: bool) -> int | None:
        """The number at which the half-width is at most ``half``; None where there is none below `MOST`."""
        if not (self.freedom >= LEAST and half > 0):
            return None
        sure = math.sqrt(self.freedom / float(chdtri(self.freedom, SURE)))
        n = self.n
        for _ in range(20):  # the half-width falls nearly as 1/√n: the number settles quickly
            wide = sure * half_width(self.at(n, alpha), log) / half
            after = 4.0 * n if math.isinf(wide) else n * wide**2
            if not after <= MOST:
                return None
            after = max(2, math.ceil(after))
            if after == n or (wide <= 1 and after > 0.98 * n):
                return n
            n = after
        return n


def half_width(found: Estimate, log: bool) -> float:
    """Half the width of an interval, on the logarithmic scale for a ratio; inf where it has no end."""
    low, high = found.low, found.high
    if not (low > (0 if log else -math.inf) and high < math.inf):
        return math.inf
    return (math.log(high / low) if log else high - low) / 2


@dataclass(frozen=True)
class Contrast:
    """A ratio or a difference of two things, new against base.

    Attributes:
        ratio: Whether it is a ratio; else a difference.
        at: The estimate with its interval at level 1 − α, for an error rate α.
        parts: Where its width comes from.
        identical: Whether the two are the same numbers, so that nothing is uncertain.
    """

    ratio: bool
    at: Callable[[float], Estimate]
    parts: tuple[Part, ...] = ()
    identical: bool = False

    @property
    def null(self) -> float:
        """The value of no difference."""
        return 1.0 if self.ratio else 0.0

    def p(self) -> float:
        """The smallest α at which the interval excludes no difference; 1 where none below 1 does."""
        last = SMALLEST * STEPS
        if self.identical or self._gap(1) <= 0:
            return 1.0
        if self._gap(last) > 0:
            return float(10.0**-SMALLEST)
        outside, inside = (
            1,
            last,
        )  # error rates 10^(-k / STEPS): excluded at the first, not at the second
        while inside - outside > 1:
            middle = (inside + outside) // 2
            outside, inside = (middle, inside) if self._gap(middle) > 0 else (outside, middle)
        near, far = self._gap(outside), -self._gap(inside)
        share = near / (near + far) if math.isfinite(far) and near + far > 0 else 0.0
        return float(10.0 ** -((outside + share) / STEPS))

    def _gap(self, place: int) -> float:
        """How far the interval stays away from no difference, on its symmetric scale; negative if it holds it."""
        found = self.at(10.0 ** -(place / STEPS))
        low, high = found.low, found.high
        if math.isnan(found.value):
            return -math.inf
        if not self.ratio:
            return max(low, -high)
        below = -math.log(high) if high > 0 else math.inf
        return max(math.log(low) if low > 0 else -math.inf, below)

    def needed(self, alpha: float, tolerance: float) -> dict[str, int] | None:
        """How many units, rounds or seeds give a verdict whatever the truth is, with one look at error rate α.

        Args:
            alpha: Error rate of the interval.
            tolerance: Relative for a ratio, absolute for a difference.

        Returns:
            A number for each part; None where no number is known to be enough.
        """
        if tolerance <= 0 or not self.parts:
            return None
        most = math.log1p(tolerance) if self.ratio else tolerance
        half = most / 2 / math.sqrt(len(self.parts))
        found = {part.unit: part.needed(alpha, half, self.ratio) for part in self.parts}
        known = {unit: n for unit, n in found.items() if n is not None}
        return known if len(known) == len(found) else None
