"""What training says: who has the highest ELBO at equal steps, and who reaches the target first."""

from __future__ import annotations

import re

from reports.groups import Group
from reports.numbers import Estimate, format_number, percent, show, show_seconds
from reports.wording import both

ELBO = "convergence.final_elbo"
TARGET = "convergence.seconds_to_target"


def training_words(group: Group) -> tuple[str, set[str]]:
    """Say in one sentence who trains best.

    Args:
        group: The group.

    Returns:
        The sentence, empty where training was not measured; and the estimators it names first.
    """
    said, first = [], set()
    finals, times = ranked(group, ELBO), ranked(group, TARGET)
    if finals:
        best = max(finals, key=lambda x: finals[x].value)
        first.add(best)
        rivals = overlapping(finals, best)
        said.append(
            f"after equal steps {best} has the highest ELBO ({show(finals[best])} nats){rivals}"
        )
    if times:
        fast = min(times, key=lambda x: times[x].value)
        rivals = overlapping(times, fast)
        target = target_of(times[fast])
        who = "it also" if fast in first else fast
        first.add(fast)
        said.append(f"{who} reaches {target} first ({show_seconds(times[fast])}){rivals}")
    level = percent(group.run.level)
    return (f"{'; '.join(said)} (intervals at {level}, not adjusted)." if said else ""), first


def ranked(group: Group, metric: str) -> dict[str, Estimate]:
    """Return the measured figures of the ranked estimators, where there are at least two."""
    found = {label: group.get(label, metric) for label in group.labels if group.ranked(label)}
    known = {label: e for label, e in found.items() if e is not None and e.measured}
    return known if len(found) > 1 else {}


def overlapping(found: dict[str, Estimate], best: str) -> str:
    """Say whose interval is not apart from the best one's; without an interval none is."""
    mine = found[best]
    rivals = [
        label
        for label, e in found.items()
        if label != best and not (e.high < mine.low or e.low > mine.high)
    ]
    return f", UNCLEAR against {both(rivals)}" if rivals else ""


def target_of(estimate: Estimate) -> str:
    """Name the target ELBO, as far as the results give it."""
    hit = re.match(r"target (-?[\d.e+]+) nats", estimate.message)
    return f"the target of {format_number(float(hit[1]))} nats" if hit else "the target"
