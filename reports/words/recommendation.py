"""What a recommendation says, in words: one sentence, and the cells of its table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports.results.estimate import Estimate
from reports.words.numbers import (
    MISSING,
    format_interval,
    format_number,
    percent,
    show_bytes,
    show_seconds,
)
from reports.words.verdicts import NAMED

if TYPE_CHECKING:
    from vdbench.recommendation import Recommendation
    from vdbench.recommendation.contest import Question
    from vdbench.recommendation.result import Answer, Row
    from vdbench.statistics import Estimate as Interval

COSTS = {"seconds": "time", "bytes": "memory"}
"""What costs are called."""

AT = " at M = "
"""Between an estimator and its minibatch size, in the name of a candidate."""

NOTHING = 1e-6
"""An end of a ratio's interval below this, or above one over it, says nothing: it is written as 0 or ∞."""


def headline(found: Recommendation) -> str:
    """Say in one sentence what to use, for which cost and role, how surely, and where it is too close to call."""
    if not found.answers:
        return "Nothing could be compared."
    groups: dict[tuple[object, ...], list[Answer]] = {}
    for answer in found.answers:
        # Roles share a part only where all that it says holds of each: one left for the means may be beaten for the
        # scales, and a bound belongs to one role.
        same = (answer.left, share(answer.regret)) if answer.verdict == "too close to call" else ()
        key = (answer.question.cost, answer.verdict, answer.pick, *same)
        groups.setdefault(key, []).append(answer)
    parts = [_part(found, answers) for answers in groups.values()]
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _part(found: Recommendation, answers: list[Answer]) -> str:
    first = answers[0]
    # memory may have been measured of some candidates alone
    among = sum(first.question in row.ratios for row in found.rows.values())
    those = "" if among == len(found.rows) else f" whose {COSTS[first.question.cost]} was measured"
    where = f"for variance × {COSTS[first.question.cost]} of the {_and([a.question.role for a in answers])} parameters"
    pick, base = found.name(first.pick), found.name(0)
    times = _and([f"{ratio(a.ratio)} times" for a in answers])
    if among == 1:
        return f"{where}, nothing but {base} could be measured"
    if first.verdict == "stay":
        most = max(a.gain for a in answers)
        gains = (
            f"the best candidate{those} gains at most {share(most)}"
            if most
            else f"no candidate{those} is better"
        )
        return f"{where}, stay with {base}: {gains}"
    if first.verdict == "too close to call":
        left = sorted(found.name(i) for i in first.left)
        others = _and(left) if len(left) <= NAMED else f"{len(left)} candidates"
        worse = max(a.regret for a in answers)
        bound = (
            f", and may be up to {share(worse)} worse than the best" if math.isfinite(worse) else ""
        )
        return f"{where}, it is too close to call between {others}; {pick} is the best guess{bound}"
    others = "the other candidate" if among == 2 else f"all {among - 1} other candidates"
    said = (
        f"significantly lower than {others}{those}"
        if first.verdict == "best"
        else f"within {percent(found.zone)} of the lowest of {among} candidates{those}"
    )
    against = "" if first.pick == 0 else f", {times} that of {base}"
    return f"{where}, use {pick}: {said}{against}"


def share(x: float) -> str:
    """Write a share as percent, rounded up: it is a bound."""
    if not math.isfinite(x):
        return "any amount"
    hundreds = 100 * x
    place = 1 if hundreds < 10 or 90 < hundreds < 100 else 0
    return f"{math.ceil(hundreds * 10**place - 1e-9) / 10**place:g} %"


def _and(items: list[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def ratio(found: Interval) -> str:
    """Write a ratio to the baseline with its interval."""
    if math.isnan(found.value):
        return MISSING
    low, high = (
        0.0 if x < NOTHING else math.inf if x > 1 / NOTHING else x for x in (found.low, found.high)
    )
    return format_interval(found.value, low, high, 1)


def by_reason(left_out: Mapping[str, str]) -> dict[str, str]:
    """Join estimators that were left out for one reason.

    Args:
        left_out: Why, by estimator. A reason may name its estimator, and end with what was expected in its place.

    Returns:
        The names by reason, in the order of the first of each.
    """
    found: dict[str, list[str]] = {}
    for name, why in left_out.items():
        shorter = why.split("; expected ")[0].replace(f"estimator '{name}'", "it")
        found.setdefault(shorter, []).append(name)
    return {why: ", ".join(names) for why, names in found.items()}


def by_estimator(candidates: Sequence[str]) -> str:
    """List candidates, an estimator's minibatch sizes together."""
    found: dict[str, list[str]] = {}
    for one in candidates:
        name, _, size = one.partition(AT)
        found.setdefault(name, []).append(size)
    sizes = list(dict.fromkeys(tuple(of) for of in found.values()))
    return "; ".join(
        f"{', '.join(name for name, of in found.items() if tuple(of) == these)}{AT}{_and(list(these))}"
        for these in sizes
    )


def question(asked: Question) -> str:
    """Name what is compared."""
    return f"variance × {COSTS[asked.cost]}, {asked.role}"


def seconds(row: Row) -> str:
    """Write the time of a gradient."""
    return show_seconds(Estimate(row.seconds.value, row.seconds.low, row.seconds.high, row.rounds))


def peak(row: Row) -> str:
    """Write the memory of a gradient."""
    peaks = row.peak_bytes
    if math.isnan(peaks.value):
        return MISSING
    return show_bytes(Estimate(peaks.value, peaks.low, peaks.high, peaks.n))


def verdict(found: Recommendation, answer: Answer) -> str:
    """Write the verdict of a question, with the name it is about."""
    name = found.name(answer.pick)
    said = {
        "best": f"{name} is best",
        "within the zone": f"{name} is within {percent(found.zone)} of the best",
        "stay": f"stay with {name}",
    }
    return said.get(answer.verdict, answer.verdict)


def basis(found: Recommendation) -> str:
    """Say what the answers rest on."""
    return (
        f"Measured in {format_number(found.spent, 2)} of {format_number(found.minutes, 3)} minutes on {found.machine}. "
        f"The intervals of ratios hold together, at every look, with an error rate of at most {percent(found.error)}. "
        "Each interval of a time is at 95 % over all looks; that of memory is the range over processes. "
        f"Differences below {percent(found.zone)} do not count. Ratios are to {found.name(0)}. "
        "A lower variance × time means a lower variance if gradients are averaged for the same time."
    )
