"""Variance × time against the time of a training to a target ELBO."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.axes import bounds, log_ticks
from reports.figures.identity import sign
from reports.figures.medium import INK, NOTE, canvas, scaled
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
        draw_point(axes, group, label, x, y)
    factor, unit = time_unit(heights)
    axes.set_xlabel("variance × time (gradient² · s)")
    axes.set_ylabel(f"time to the target ({unit})")
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis, factor)
    rank = group.get(group.baseline, CORRELATION, "all", role)
    said = f"\nrank correlation {show(rank)}" if rank and rank.measured else ""
    axes.set_title(f"{role_name(role)}{said}")
    finish(axes)


def draw_point(axes: Axes, group: Group, label: str, x: Estimate, y: Estimate) -> None:
    """Draw one estimator with its intervals; an arrow from the lower end where its time is not known."""
    colour = sign(label).colour
    height = y.value if y.measured else y.low
    bar: dict[str, Any] = {"color": colour, "linewidth": scaled(1.2)}
    if math.isfinite(x.high) and x.low > 0:
        axes.plot([x.low, x.high], [height, height], **bar)
    if y.measured and math.isfinite(y.high) and y.low > 0:
        axes.plot([x.value, x.value], [y.low, y.high], **bar)
    if not y.measured or not math.isfinite(y.high):
        axes.annotate("", (x.value, height), xytext=(0, 22), textcoords="offset points",
                      arrowprops={"arrowstyle": "<-", "color": INK}, fontsize=NOTE)  # fmt: skip
    axes.plot([x.value], [height], marker=sign(label).marker, linestyle="", color=colour,
              markersize=scaled(6.5), clip_on=False, zorder=3,
              markerfacecolor=face(group, label))  # fmt: skip


def face(group: Group, label: str) -> Any:
    """Fill a marker, or leave it hollow where the estimator is not ranked."""
    return sign(label).colour if group.ranked(label) else "white"
