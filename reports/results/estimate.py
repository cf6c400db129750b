"""A figure with its interval, as a run recorded it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: The point estimate; NaN where there is none.
        low: Lower end of the interval; NaN where there is none.
        high: Upper end of the interval.
        n: Number of units (or timing samples, or training seeds) it rests on.
        unit: Its unit, as in the results.
        status: ``ok``, ``converged``, ``bounded``, ``undefined`` or ``failed``.
        message: What the run had to say about it, for readers.
        level: Level of its interval; NaN where it is not known.
        detail: Facts about it, by the keys that runs write.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    unit: str = ""
    status: str = "ok"
    message: str = ""
    level: float = math.nan
    detail: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def measured(self) -> bool:
        """Whether there is a figure."""
        return math.isfinite(self.value)

    @property
    def zero(self) -> bool:
        """Whether it is zero without uncertainty."""
        return self.value == 0 and self.low in (0, self.value) and self.high == 0

    def scaled(self, factor: float) -> Estimate:
        """Return the same estimate in a unit that is 1 / factor as large."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.n)

    @property
    def inverse(self) -> Estimate:
        """Return one over it, for a ratio the other way round."""
        value, low, high = (1 / x if x > 0 else math.inf for x in (self.value, self.high, self.low))
        return replace(self, value=value, low=low, high=high)
