"""The figures of a report as columns, for the page's charts and its table of all figures.

Texts are numbers into lists of different texts, and figures have six digits, so that 10,000 rows take half a megabyte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from reports.charts.metrics import METRICS
from reports.charts.sweeps import sweep_data
from reports.charts.texts import Texts
from reports.figures.identity import sign
from reports.results.elbo import curves_of
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.pareto import front, roles_of
from reports.results.ranking import failures
from reports.results.sweeps import Sweep
from reports.words.glossary import parameters, role_name

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 6
NONE = -1
"""The number of a text that there is none of."""
KEYS = ("place", "label", "metric", "layer", "role", "against", "status")
FIGURES = ("value", "low", "high", "n")
CURVES = ("set", "label", "step", "seconds", "value", "low", "high")


class Columns:
    """Rows of figures as columns."""

    def __init__(self, labels: Iterable[str]) -> None:
        self.labels = Texts(labels)
        self.texts = {name: Texts() for name in ("metric", "layer", "role", "status")}
        self.rows: dict[str, list[Any]] = {name: [] for name in (*KEYS, *FIGURES)}

    def add(
        self, place: int, label: str, metric: str, layer: str, role: str, against: str, e: Estimate
    ) -> None:
        """Add the row of one figure."""
        numbers = (self.labels.number(label), self.texts["metric"].number(metric),
                   self.texts["layer"].number(layer), self.texts["role"].number(role),
                   self.labels.number(against) if against else NONE,
                   self.texts["status"].number(e.status))  # fmt: skip
        row = (place, *numbers, *(plain(x) for x in (e.value, e.low, e.high)), e.n)
        for name, item in zip((*KEYS, *FIGURES), row, strict=True):
            self.rows[name].append(item)

    def add_group(self, place: int, group: Group) -> None:
        """Add all figures and paired ratios of a group."""
        for (label, metric, layer, role), e in group.figures.items():
            against = group.baseline if metric.startswith("ratio.") else ""
            self.add(place, label, metric, layer, role, against, e)
        for (metric, layer, role, label, against), e in group.pairs.items():
            self.add(place, label, metric, layer, role, against, e)


def plain(x: float) -> float | None:
    """Return a figure to six digits; None for one that is not finite."""
    return float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None


def chart_data(groups: list[Group], sweeps: list[Sweep]) -> dict[str, Any]:
    """Return all that the page's charts show.

    Args:
        groups: The places of the report.
        sweeps: What was measured at several sizes.

    Returns:
        Lists and columns of numbers and texts, to be written as JSON; empty where there is nothing to draw.
    """
    if not any(group.figures or len(group.curves) for group in groups):
        return {}
    labels = list(dict.fromkeys(label for group in groups for label in group.known))
    columns = Columns(labels)
    sets = Curves(columns.labels)
    places = []
    for number, group in enumerate(groups):
        columns.add_group(number, group)
        places.append(place_of(group, columns.labels, sets.number(group), groups))
    swept = [sweep_data(sweep, groups, columns.labels) for sweep in sweeps]
    every = columns.labels.every
    roles = columns.texts["role"].every
    names = [METRICS.get(metric, (metric, "")) for metric in columns.texts["metric"].every]
    return {
        "labels": every,
        "signs": [[sign(label).colour, sign(label).shape] for label in every],
        "metric": columns.texts["metric"].every,
        "metricNames": [name for name, _ in names],
        "units": [unit for _, unit in names],
        "layer": columns.texts["layer"].every,
        "role": roles,
        "roleNames": [parameters(role) if role != "all" else "all parameters" for role in roles],
        "roleShort": [role_name(role) for role in roles],
        "status": columns.texts["status"].every,
        "places": places,
        "rows": columns.rows,
        "curves": sets.rows,
        "sweeps": [sweep for sweep in swept if sweep["lines"]],
    }


def place_of(group: Group, labels: Texts, curves: int, groups: list[Group]) -> dict[str, Any]:
    """Describe a place: what is chosen by, and how its estimators stand."""
    alike = [g for g in groups if facets(g) == facets(group)]
    return {
        "title": group.title,
        **facets(group),
        "variant": group.title if len(alike) > 1 else "",
        "level": group.run.level,
        "baseline": labels.number(group.baseline) if group.baseline else NONE,
        "unranked": {
            labels.number(x): why for x in group.labels if (why := group.why_not_ranked(x))
        },
        "fronts": {
            role: [labels.number(x) for x in front(group, role)] for role in roles_of(group)
        },
        "failed": failures(group),
        "curves": curves,
    }


def facets(group: Group) -> dict[str, Any]:
    """Return what a place is chosen by."""
    return {
        "run": group.run.name,
        "problem": group.problem,
        "checkpoint": group.checkpoint,
        "batch": group.batch_size,
    }


class Curves:
    """Curves of the ELBO, once for all places that share them."""

    def __init__(self, labels: Texts) -> None:
        self.labels = labels
        self.rows: dict[str, list[Any]] = {name: [] for name in CURVES}
        self._known: dict[tuple[Any, ...], int] = {}

    def number(self, group: Group) -> int:
        """Return the number of a group's set of curves; `NONE` without any."""
        found = curves_of(group)
        if found.empty:
            return NONE
        key = (group.run.name, group.problem, tuple(found.index))
        if key not in self._known:
            self._known[key] = len(self._known)
            self._add(self._known[key], found)
        return self._known[key]

    def _add(self, number: int, found: pd.DataFrame) -> None:
        for row in found.sort_values(["label", "step"]).itertuples(index=False):
            got: Any = row
            figures = (got.step, got.seconds, got.value, got.ci_low, got.ci_high)
            item = (number, self.labels.number(got.label), *(plain(x) for x in figures))
            for name, value in zip(CURVES, item, strict=True):
                self.rows[name].append(value)
