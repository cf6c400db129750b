"""Claims of a suite, and what our intervals say of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from reports.results.estimate import Estimate
from reports.results.load import Results, Run
from vdbench.statistics import ranges
from vdbench.statistics.verdicts import adjusted_level

NOTHING = 1e-9
"""Up to here a figure is 0 but for rounding, and is left out of a picture."""


class Held(StrEnum):
    """What an interval says of a claim; the value is the wording for a reader."""

    YES = "holds"
    NO = "does not hold"
    OPEN = "inconclusive"
    UNMEASURED = "not measured in this run"


@dataclass(frozen=True)
class Claim:
    """A claim, as a suite gives it: see ``vdbench.suite.schema.ClaimSpec``."""

    says: str
    metric: str
    estimator: str
    low: float | None = None
    high: float | None = None
    source: str = ""
    verified: bool = True
    problem: str = ""
    checkpoint: str = ""
    layer: str = "all"
    role: str = "all"
    batch_size: int | None = None
    against: str = ""
    over: dict[str, Any] = field(default_factory=dict)

    def judge(self, found: Estimate) -> Held:
        """Compare an interval with the claim's: within it, apart from it, or neither."""
        least = -math.inf if self.low is None else self.low
        most = math.inf if self.high is None else self.high
        if not (math.isfinite(found.value) and found.low <= found.high):
            return Held.OPEN
        if least <= found.low and found.high <= most:
            return Held.YES
        return Held.NO if found.high < least or found.low > most else Held.OPEN


@dataclass(frozen=True)
class Answer:
    """A claim with our figure, at a level at which all answers of a run hold together."""

    claim: Claim
    ours: Estimate | None
    held: Held

    @property
    def correlation(self) -> bool:
        """Whether it is of a correlation, which lies between -1 and 1 and is drawn on a linear axis."""
        return self.claim.metric.startswith("correlation.") and not self.claim.over

    @property
    def drawable(self) -> bool:
        """Whether our figure has an interval; if it is none of correlations, one above 0 by more than rounding."""
        ours = self.ours
        least = -math.inf if self.correlation else NOTHING
        return ours is not None and least < ours.low <= ours.value <= ours.high


def claims_of(run: Run) -> list[Claim]:
    """Read the claims of a run's suite."""
    known = {one.name for one in fields(Claim)}
    suite: Any = run.info.get("suite") or {}
    found = [
        {key: value for key, value in item.items() if key in known}
        for item in suite.get("claims") or []
    ]
    return [Claim(**item) for item in found]


def answers(results: Results, run: str) -> list[Answer]:
    """Judge the claims of a run by its figures.

    Args:
        results: All rows.
        run: Name of the run.

    Returns:
        An answer to each claim, in the suite's order. Their intervals are widened so that all hold together at the
        run's level (Bonferroni).
    """
    claims = claims_of(results.runs[run])
    rows = results.frame[results.frame["run"] == run]
    measured = [_figure(claim, rows) for claim in claims]
    count = sum(one is not None for one in measured)
    found = []
    for claim, one in zip(claims, measured, strict=True):
        if one is None:
            found.append(Answer(claim, None, Held.UNMEASURED))
            continue
        wide = _possible(claim, _together(one, results.runs[run].level, count))
        found.append(Answer(claim, wide, claim.judge(wide)))
    return found


def _together(one: Estimate, level: float, count: int) -> Estimate:
    asked = adjusted_level(level, count)
    own = one.level if math.isfinite(one.level) else level
    low, high = (one.low, one.high) if own >= asked else _wider(one, own, asked)
    return replace(one, low=low, high=high, level=max(own, asked))


def _possible(claim: Claim, wide: Estimate) -> Estimate:
    """Without what the figure cannot be: a rank correlation above 1; of a quotient of two, nothing is known."""
    if claim.over:
        return wide
    low, high = ranges.clip(claim.metric, wide.value, wide.low, wide.high)
    return replace(wide, low=low, high=high)


def _wider(one: Estimate, own: float, asked: float) -> tuple[float, float]:
    """The ends of an interval at a higher level: the widest on the scales that intervals are symmetric on.

    These are the figure itself, its logarithm (variances and their ratios) and its reciprocal (ratios to a mean that is
    near 0); of a positive figure the first always reaches lowest and the last highest. Half-widths grow as quantiles of
    Student's t, whose degrees of freedom are few where the figure is a mean over seeds. An interval without an end, or
    apart from its figure, is widened to none.
    """
    value, low, high = one.value, one.low, one.high
    if not (-math.inf < low <= value <= high < math.inf):
        return -math.inf, math.inf
    freedom = max(1, one.n - 1)
    factor = float(stdtrit(freedom, (1 + asked) / 2) / stdtrit(freedom, (1 + own) / 2))
    least = value + factor * (low - value)
    if low <= 0:
        return least, value + factor * (high - value)
    left = 1 / value - factor * (1 / value - 1 / high)
    return max(0.0, least), 1 / left if left > 0 else math.inf


def _figure(claim: Claim, rows: pd.DataFrame) -> Estimate | None:
    """The figure of a claim; None where the run has not exactly one of its name."""
    where = {name: getattr(claim, name) for name in ("problem", "checkpoint", "batch_size")}
    where |= {"label": claim.estimator, "metric": claim.metric, "layer": claim.layer,
              "role": claim.role, "against": claim.against}  # fmt: skip
    found = _one(rows, where)
    if not claim.over or found is None:
        return found
    moved = {"label" if name == "estimator" else name: value for name, value in claim.over.items()}
    under = _one(rows, {**where, **moved})
    elsewhere = {"problem", "checkpoint", "batch_size"} & set(claim.over)  # with draws of its own
    return None if under is None else _quotient(found, under, bool(elsewhere))


def _one(rows: pd.DataFrame, where: dict[str, Any]) -> Estimate | None:
    kept = rows
    for name, value in where.items():
        if name == "against" and not value and not str(where["metric"]).startswith("pairwise."):
            continue
        if value not in ("", None):
            kept = kept[kept[name] == value]
    if len(kept) != 1:
        return None
    row = kept.iloc[0]
    value, low, high, level = (float(row[x]) for x in ("value", "ci_low", "ci_high", "level"))
    said = (int(row["n"]), str(row["unit"]), str(row["status"]))
    found = Estimate(value, low, high, *said, level=level)
    return found if found.measured else None


def _quotient(over: Estimate, under: Estimate, apart: bool) -> Estimate | None:
    """Of two figures: half-widths of the logarithms add in squares where they have no draw in common, else as they are.

    None where one is not above 0.
    """
    ends = (over.low, over.high, under.low, under.high)
    if not all(0 < x < math.inf for x in (over.value, under.value, *ends)):
        return None
    down = _add((over.value / over.low, under.high / under.value), apart)
    up = _add((over.high / over.value, under.value / under.low), apart)
    value = over.value / under.value
    level = min(over.level, under.level)
    if not apart and level <= 0.5:
        return None  # end to end both must hold, and at such levels nothing is promised of two
    level = level if apart else 1 - 2 * (1 - level)  # end to end both intervals must hold
    return Estimate(value, value / down, value * up, min(over.n, under.n), "1", level=level)


def _add(factors: Iterable[float], apart: bool) -> float:
    logs = [math.log(one) for one in factors]
    return math.exp(math.hypot(*logs) if apart else sum(logs))
