"""From figures with their intervals to verdicts that hold together.

All comparisons that rest on an interval are one family at one level (Bonferroni): each has its interval at
1 − (1 − level)/m, m their number, and its p-value times m. Rows that are the same numbers in both runs, as an
unchanged estimator's are under the same seed, are no member: nothing about them is uncertain.

A row without an interval is INCONCLUSIVE, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from vdbench.comparison.rows import (
    INCONCLUSIVE,
    LESS_IS_BETTER,
    ORDER,
    SAME,
    SETTINGS,
    Candidate,
    Row,
)
from vdbench.statistics import Estimate
from vdbench.statistics.contrast import MOST, Contrast
from vdbench.statistics.verdicts import difference_verdict, ratio_verdict

IDENTICAL = "the same numbers in both"
ROUNDED = "equal up to rounding"
UNKNOWN = f"no number up to {MOST:,} is known to settle it"


def judged(
    candidates: Sequence[Candidate], level: float, tolerance: float
) -> tuple[list[Row], int]:
    """Judge figures together.

    Args:
        candidates: The figures.
        level: At which all intervals hold together, between 0 and 1.
        tolerance: Relative difference that counts as none.

    Returns:
        A row for each, WORSE first, and the number of comparisons that the level is adjusted for.
    """
    family = sum(c.contrast is not None and not c.contrast.identical for c in candidates)
    alpha = (1 - level) / max(1, family)
    rows = [_row(c, alpha, tolerance, family) for c in candidates]
    return sorted(rows, key=lambda row: ORDER.index(row.verdict)), family


def _row(c: Candidate, alpha: float, tolerance: float, family: int) -> Row:
    if c.contrast is None:
        return _made(c, "ratio", Estimate(math.nan, math.nan, math.nan, c.n), 1.0, INCONCLUSIVE)
    contrast, kind = c.contrast, "ratio" if c.contrast.ratio else "difference"
    found = contrast.at(alpha)
    if contrast.identical:
        found = Estimate(contrast.null, contrast.null, contrast.null, c.n)
        return _made(c, kind, found, 1.0, SAME, IDENTICAL)
    margin = tolerance if contrast.ratio else c.margin(tolerance)
    verdict, why = _verdict(c, contrast, found, margin)
    p = min(1.0, family * contrast.p())
    needed: dict[str, int] = {}
    if verdict == INCONCLUSIVE:
        counts = contrast.needed(alpha, margin) or {}
        keys = SETTINGS[c.measure]
        needed = {key: n for unit, n in counts.items() for key in keys[unit]}
        why = why or ("" if counts or not tolerance else UNKNOWN)
    return _made(c, kind, found, p, verdict, why, needed)


def _verdict(c: Candidate, contrast: Contrast, found: Estimate, margin: float) -> tuple[str, str]:
    """The verdict, and what else a reader should know."""
    low, high = found.low, found.high
    if math.isnan(found.value):
        return INCONCLUSIVE, "no value: what it is divided by is not significantly above zero"
    near = 1 + c.rounding
    if (contrast.ratio and 1 / near <= low <= high <= near) or low == high == contrast.null:
        return SAME, ROUNDED
    judge = ratio_verdict if contrast.ratio else difference_verdict
    return judge(low, high, margin).compared(LESS_IS_BETTER[c.metric]), ""


def _made(
    c: Candidate,
    kind: str,
    found: Estimate,
    p: float,
    verdict: str,
    why: str = "",
    needed: dict[str, int] | None = None,
) -> Row:
    said = "; ".join(text for text in (why, c.why) if text)
    return Row(
        *c.where,
        c.metric,
        c.layer,
        c.role,
        c.unit,
        *c.values,
        kind,
        found.value,
        found.low,
        found.high,
        p,
        verdict,
        said,
        c.paired,
        c.n,
        needed or {},
    )
