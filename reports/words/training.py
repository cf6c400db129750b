"""What training says: who has the highest ELBO at equal steps, and who reaches the target first."""

from __future__ import annotations

from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.words.numbers import format_number, percent, show, show_seconds
from reports.words.verdicts import ADJUSTED, both
from vdbench.statistics.selection import select
from vdbench.statistics.verdicts import Verdict

ELBO = "convergence.final_elbo"
TARGET = "convergence.seconds_to_target"
INCONCLUSIVE = Verdict.INCONCLUSIVE.words()


def training_words(group: Group) -> tuple[str, list[set[str]]]:
    """Say which of the ranked estimators trains best.

    Args:
        group: The group.

    Returns:
        Sentences, empty where training was not measured; and the best estimators by ELBO and
        by time, several where their intervals overlap.
    """
    said: list[str] = []
    best: list[set[str]] = []
    finals, times = ranked(group, ELBO), ranked(group, TARGET)
    if finals:
        names = leaders(finals, group.run.level, True)
        best.append(set(names))
        said.append(elbo_words(finals, names))
    if times:
        names = leaders(times, group.run.level, False)
        best.append(set(names))
        said.append(target_words(times, names))
    level = percent(group.run.level)
    note = f"Ranked estimators only; intervals at {level}, verdicts {ADJUSTED}."
    return (" ".join([*said, note]) if said else ""), best


def elbo_words(found: dict[str, Estimate], names: list[str]) -> str:
    """Say who has the highest ELBO after equal numbers of steps, or between whom it is inconclusive."""
    sizes = both(show(found[x]) for x in names)
    if len(names) == 1:
        return f"After equal numbers of steps, {names[0]} has the highest ELBO, {sizes} nats."
    return f"After equal numbers of steps, the highest ELBO is {INCONCLUSIVE} between {both(names)} ({sizes} nats)."


def target_words(found: dict[str, Estimate], names: list[str]) -> str:
    """Say who reaches the target first, or between whom it is inconclusive."""
    target, sizes = target_of(found[names[0]]), both(show_seconds(found[x]) for x in names)
    if len(names) == 1:
        return f"{names[0]} reaches {target} first, after {sizes}."
    return f"Who reaches {target} first is {INCONCLUSIVE} between {both(names)} ({sizes})."


def ranked(group: Group, metric: str) -> dict[str, Estimate]:
    """Return the measured figures of the ranked estimators, where there are at least two."""
    found = {label: group.get(label, metric) for label in group.labels if group.ranked(label)}
    known = {label: e for label, e in found.items() if e is not None and e.measured}
    return known if len(found) > 1 else {}


def leaders(found: dict[str, Estimate], level: float, highest: bool) -> list[str]:
    """Name the best and those that it is not surely better than, by intervals that hold together at the level."""
    figures = {label: (e.value, e.low, e.high) for label, e in found.items()}
    return select(figures, level, level, highest=highest, log=not highest).names


def target_of(estimate: Estimate) -> str:
    """Name the target ELBO, as far as the results give it."""
    target = estimate.detail.get("target")
    return "the target" if target is None else f"the target of {format_number(target)} nats"
