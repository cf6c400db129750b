"""What the chart of scaling shows: at which place each line has a point at which size, and its slopes."""

from __future__ import annotations

import math
from typing import Any

from reports.charts.texts import Texts
from reports.figures.identity import sign
from reports.results.groups import Group
from reports.results.sweeps import OPTION, Sweep


def sweep_data(sweep: Sweep, groups: list[Group], labels: Texts) -> dict[str, Any]:
    """Describe a sweep: figures stay in the columns, and lines name where they are.

    Args:
        sweep: What was measured at several sizes.
        groups: The places, in their order.
        labels: The numbers of labels.
    """
    numbers = {id(group): number for number, group in enumerate(groups)}
    lines: list[dict[str, Any]] = []
    for label, places in sweep.places.items():
        found = sign(label)
        points = [[x, numbers[id(group)], labels.number(name)]
                  for x, (group, name) in sorted(places.items())]  # fmt: skip
        lines.append({
            "name": label, "sign": [found.colour, found.shape], "ranked": sweep.ranked(label),
            "points": points, "slopes": slopes(sweep, label),
        })  # fmt: skip
    return {
        "title": f"{sweep.title}, over {sweep.over}",
        "over": sweep.over,
        "option": sweep.axis == OPTION,
        "lines": [line for line in lines if len(line["points"]) > 1],
    }


def slopes(sweep: Sweep, label: str) -> list[list[Any]]:
    """Return the fitted slopes of an estimator: metric, layer, role, slope and its interval."""
    return [
        [
            metric.removeprefix("slope."),
            layer,
            role,
            *(round(x, 4) for x in (e.value, e.low, e.high)),
        ]
        for (name, metric, layer, role), e in sweep.fits.items()
        if name == label and metric.startswith("slope.")
        if all(math.isfinite(x) for x in (e.value, e.low, e.high))
    ]
