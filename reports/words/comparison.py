"""What a comparison found, in words: one sentence, and the cells of its table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.results.estimate import Estimate
from reports.words.numbers import (
    MINUS,
    MISSING,
    format_interval,
    format_number,
    percent,
    show_bytes,
    show_seconds,
)

if TYPE_CHECKING:
    from vdbench.comparison import Comparison, Row

FIGURES = {
    "variance.total": "variance",
    "variance.noise": "variance, noise part",
    "efficiency.variance_seconds": "variance × time",
    "time.seconds_per_gradient": "time per gradient",
    "memory.peak_bytes": "peak memory",
    "relative_bias": "relative bias",
    "convergence.final_elbo": "final ELBO",
    "training.elbo": "ELBO after training",
    "test.error": "test error",
    "test.nll": "test negative log-likelihood",
    "test.ece": "test calibration error",
}
"""What metrics are called."""

COUNTED = {"rounds": "rounds", "repetitions": "processes", "seeds": "seeds"}
"""What the keys of a suite count; the others count units."""

NOTHING = 1e-6
"""An end of a ratio's interval below this, or above one over it, says nothing: it is written as 0 or ∞."""

SMALL = 1e-9
"""p-values below this are given as that."""


def headline(found: Comparison) -> str:
    """Say in one sentence how the new run stands to the base."""
    count = len(found.rows)
    mine = [row for row in found.rows if row.verdict == found.verdict]
    left = (
        f"; {_many(len(found.refused), 'measurement')} could not be compared"
        if found.refused
        else ""
    )
    said = {
        "WORSE": f"{len(mine)} of {_many(count, 'figure')} {_be(mine)} significantly worse",
        "BETTER": f"{len(mine)} of {_many(count, 'figure')} {_be(mine)} significantly better and none is worse",
        "INCONCLUSIVE": f"no figure is significantly worse, but {len(mine)} of {count} {_be(mine)} too uncertain",
        "SAME": f"all {_many(count, 'figure')} are equivalent within ±{percent(found.tolerance)}",
    }[found.verdict]
    more = f", most of all the {largest(mine)}" if found.verdict in ("WORSE", "BETTER") else ""
    if found.verdict == "INCONCLUSIVE" and found.needed:
        more = f"; {counts(found.needed)} would settle {'it' if len(mine) == 1 else 'them'}"
        unsettled = sum(not row.needed for row in mine)
        more += f", but for {unsettled}" if unsettled else ""
    return f"{found.verdict}: {said}{more}{left}."


def _be(rows: list[Row]) -> str:
    return "is" if len(rows) == 1 else "are"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def largest(rows: list[Row]) -> str:
    """Name the row with the largest ratio either way, with its size; the first where there are differences alone."""
    ratios = [row for row in rows if row.kind == "ratio" and row.value > 0]
    row = max(ratios, key=lambda r: abs(math.log(r.value)), default=rows[0])
    whose = row.new if row.base == row.new else f"{row.new} against {row.base}"
    return f"{FIGURES[row.metric]} of {whose}{_part(row, ' in ')} on {row.problem}, {change(row)}"


def _part(row: Row, joint: str) -> str:
    """Say which parameters a row is about; empty for one that is about none."""
    if row.role == "all":
        return ""
    return joint + (row.role if row.layer == "all" else f"{row.layer} {row.role}")


def figure(row: Row) -> str:
    """Name a row's figure, with layer and role."""
    squares = " (change: of its square)" if row.metric == "relative_bias" else ""
    return f"{FIGURES[row.metric]}{_part(row, ', ')}{squares}"


def place(row: Row) -> str:
    """Say where a row was measured."""
    return f"{row.problem}, {row.checkpoint}, M\u00a0=\u00a0{row.batch_size}"


def estimators(row: Row) -> str:
    """Name the estimators of a row."""
    return row.new if row.base == row.new else f"{row.base} → {row.new}"


def value(row: Row, number: float) -> str:
    """Write the figure of one run, with its unit where that is one of time or memory."""
    alone = Estimate(number, number, number, row.n)
    if row.unit == "s":
        return show_seconds(alone)
    if row.unit == "bytes":
        return show_bytes(alone)
    return format_number(number)


def change(row: Row) -> str:
    """Write the ratio or difference with its interval."""
    if row.value == math.inf:
        return "∞ × (from 0)"
    if math.isnan(row.value):
        return MISSING
    if row.kind == "ratio":
        low, high = (
            0.0 if x < NOTHING else math.inf if x > 1 / NOTHING else x for x in (row.low, row.high)
        )
        return f"{format_interval(row.value, low, high, 1)} ×"
    if row.value == row.low == row.high == 0:
        return "0"
    if row.metric == "relative_bias":
        return format_interval(row.value, row.low, row.high, 0)
    sign = "+" if row.value > 0 else ""
    return f"{sign}{format_interval(row.value, row.low, row.high, 0)} {row.unit}".strip()


def p_value(row: Row) -> str:
    """Write an adjusted p-value; nothing where there is no test."""
    if math.isnan(row.value) or row.low == row.value == row.high:
        return MISSING
    return f"<1e{MINUS}9" if row.p < SMALL else format_number(row.p, 2)


def counts(needed: dict[str, int]) -> str:
    """Write how many units, rounds and seeds some settings of a suite mean."""
    found: dict[str, int] = {}
    for key, n in needed.items():
        name = COUNTED.get(key.rpartition(".")[2], "units")
        measure = key.split(".")[1]
        name = f"{name} of {measure}" if measure in ("bias", "training", "convergence") else name
        found[name] = n
    return ", ".join(f"{n:,} {name}" for name, n in found.items())


def basis(found: Comparison) -> str:
    """Say what the verdicts rest on."""
    from vdbench.comparison.rows import ADJUSTMENT

    paired = sum(row.paired for row in found.rows)
    share = {0: "none", len(found.rows): "all"}.get(paired, f"{paired} of {len(found.rows)}")
    adjusted = f"adjusted for {_many(found.family, 'comparison')} ({ADJUSTMENT})"
    return (
        f"Intervals and p-values are {adjusted if found.family else 'not needed'}: "
        f"all verdicts hold together at {percent(found.level)}. SAME is within ±{percent(found.tolerance)}. "
        f"Figures that are paired (same minibatches and noise, seeds or rounds): {share}."
    )
