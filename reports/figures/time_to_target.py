"""Variance × time against the time of a training to a target ELBO."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.axes import bounds, log_ticks
from reports.figures.identity import sign
from reports.figures.medium import NOTE, canvas, scaled
from reports.figures.style import finish, legend_below
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.ranking import EFFICIENCY
from reports.words.glossary import role_name
from reports.words.numbers import show, time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECONDS = "target.seconds.own"
CORRELATION = f"correlation.{SECONDS}"
MARK, LARGER = 7.0, 1.7
"""Size of a mark in points, and by how much one is larger that another covers."""


def target_figure(group: Group) -> Figure:
    """Draw seconds to the target over variance × seconds, a kind of parameter a panel."""
    roles = [role for role in group.headline_roles() if points(group, role)]
    figure = canvas(1.0 + 2.9 * max(len(roles), 2), 3.7, narrow=len(roles) == 1)
    shown: list[str] = []
    for axes, role in zip(figure.subplots(1, len(roles), squeeze=False)[0], roles, strict=True):
        draw_panel(axes, group, role)
        shown += [label for label in points(group, role) if label not in shown]
    handles = [
        Line2D([], [], linestyle="", marker=sign(label).marker, color=sign(label).colour,
               markersize=scaled(6), markerfacecolor=face(group, label),
               label=label if group.ranked(label) else f"{label} (not ranked)")
        for label in group.labels if label in shown
    ]  # fmt: skip
    legend_below(figure, handles)
    return figure


def points(group: Group, role: str) -> dict[str, tuple[Estimate, Estimate]]:
    """Return variance × seconds and seconds to the target of the estimators that have both, or a lower end."""
    found = {}
    for label in group.labels:
        x, y = group.get(label, EFFICIENCY, "all", role), group.get(label, SECONDS)
        if x and y and x.measured and x.value > 0 and (y.measured or y.low > 0):
            found[label] = (x, y)
    return found


def draw_panel(axes: Axes, group: Group, role: str) -> None:
    """Draw the points of a role, and say their rank correlation above."""
    found = points(group, role)
    heights = [y if y.measured else Estimate(y.low, y.low, y.low) for _, y in found.values()]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(bounds([x for x, _ in found.values()]) or (0.1, 10))
    axes.set_ylim(bounds(heights) or (0.1, 10))
    for label, (x, y) in found.items():
        draw_bars(axes, label, x, y)
    draw_marks(axes, group, found)
    factor, unit = time_unit(heights)
    axes.set_xlabel("variance × time (gradient² · s)")
    axes.set_ylabel(f"time to the target ({unit})")
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis, factor)
    rank = group.get(group.baseline, CORRELATION, "all", role)
    said = f"\nrank correlation {show(rank)}" if rank and rank.measured else ""
    axes.set_title(f"{role_name(role)}{said}")
    finish(axes)


def height(y: Estimate) -> float:
    """Where a mark stands: at the time, or at its lower end where it is not known."""
    return y.value if y.measured else y.low


def draw_bars(axes: Axes, label: str, x: Estimate, y: Estimate) -> None:
    """Draw an estimator's intervals in its colour; an arrow, in it too, where its time has no upper end."""
    colour, middle = sign(label).colour, height(y)
    bar: dict[str, Any] = {"color": colour, "linewidth": scaled(1.2)}
    if math.isfinite(x.high) and x.low > 0:
        axes.plot([x.low, x.high], [middle, middle], **bar)
    above = y.high if y.measured and math.isfinite(y.high) else middle
    if y.low > 0:
        axes.plot([x.value, x.value], [y.low, above], **bar)
    if above == middle:
        axes.annotate("", (x.value, middle), xytext=(0, 22), textcoords="offset points",
                      arrowprops={"arrowstyle": "<-", "color": colour}, fontsize=NOTE)  # fmt: skip


def draw_marks(axes: Axes, group: Group, found: dict[str, tuple[Estimate, Estimate]]) -> None:
    """Draw the marks of estimators, each with a rim; one that a later mark covers is larger, so that it shows."""
    labels = list(found)
    places = [
        axes.transData.transform((found[label][0].value, height(found[label][1])))
        for label in labels
    ]
    near = scaled(MARK) * axes.figure.dpi / 72
    for k, label in enumerate(labels):
        covered = any(math.dist(places[k], place) < near for place in places[k + 1 :])
        rim = "white" if group.ranked(label) else sign(label).colour
        axes.plot(*([value] for value in (found[label][0].value, height(found[label][1]))),
                  marker=sign(label).marker, linestyle="", color=sign(label).colour, markeredgecolor=rim,
                  markeredgewidth=scaled(0.7), markersize=scaled(MARK * (LARGER if covered else 1)),
                  markerfacecolor=face(group, label), clip_on=False, zorder=3)  # fmt: skip


def face(group: Group, label: str) -> Any:
    """Fill a marker, or leave it hollow where the estimator is not ranked."""
    return sign(label).colour if group.ranked(label) else "white"
