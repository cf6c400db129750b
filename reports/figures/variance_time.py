"""The plane of variance against time, with its Pareto front."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.axes import bounds, log_ticks
from reports.figures.identity import sign
from reports.figures.medium import FAINT, INK, NOTE, canvas, scaled
from reports.figures.style import finish, legend_below
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.pareto import Point, front, points, roles_of, stairs
from reports.words.glossary import role_name
from reports.words.numbers import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plane_figure(group: Group) -> Figure:
    """Draw seconds per gradient against total variance, role by role."""
    roles = roles_of(group)
    figure = canvas(1.0 + 2.9 * max(len(roles), 2), 3.7, narrow=len(roles) == 1)
    shown: list[str] = []
    every = {role: points(group, role) for role in roles}
    heights = upright([y for found in every.values() for _, y in found.values()])
    for axes, role in zip(figure.subplots(1, len(roles), squeeze=False)[0], roles, strict=True):
        draw_plane(axes, group, role, heights)
        axes.set_title(f"{role_name(role)} · all layers")
        shown += [label for label in every[role] if label not in shown]
    plane_legend(figure, group, [label for label in group.labels if label in shown])
    return figure


def upright(variances: list[Estimate]) -> tuple[float, float]:
    """Return the range of the upright axis that all roles share, with room below for zeros."""
    low, high = bounds(variances) or (0.1, 10)
    zeros = any(y.value <= 0 for y in variances)  # drawn on the lower edge
    return (low / (high / low) ** 0.12 if zeros else low), high


def draw_plane(axes: Axes, group: Group, role: str, heights: tuple[float, float]) -> None:
    """Draw the points of one role, their intervals, the front, and lines of equal variance × time."""
    found = points(group, role)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(bounds([x for x, _ in found.values()]) or (0.1, 10))
    axes.set_ylim(heights)
    equal_cost(axes, {label: point for label, point in found.items() if group.ranked(label)})
    steps = [found[label] for label in stairs(group, role) if found[label][1].value > 0]
    if len(steps) > 1:
        axes.step([x.value for x, _ in steps], [y.value for _, y in steps], where="post",
                  color=FAINT, linewidth=scaled(1.1), linestyle=(0, (4, 2)), zorder=1)  # fmt: skip
    for label, point in found.items():
        draw_point(axes, group, label, *point)
    best = [found[label] for label in front(group, role)]
    axes.plot([x.value for x, _ in best], [max(y.value, heights[0]) for _, y in best], "o",
              markerfacecolor="none", color=INK, markersize=scaled(11), clip_on=False)  # fmt: skip
    factor, unit = time_unit(x for x, _ in found.values())
    axes.set_xlabel(f"time per gradient ({unit})")
    axes.set_ylabel("total variance (gradient²)")
    log_ticks(axes.xaxis, factor)
    log_ticks(axes.yaxis)
    finish(axes)


def equal_cost(axes: Axes, found: dict[str, Point]) -> None:
    """Draw lines on which variance × time is the same: that of the lowest ranked one, and powers of ten of it."""
    products = [x.value * y.value for x, y in found.values() if x.value * y.value > 0]
    if not products:
        return
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    lowest = min(products)
    first, last = (math.log10(x * y / lowest) for x, y in ((left, bottom), (right, top)))
    for power in range(math.ceil(first), math.floor(last) + 1):
        product = lowest * 10.0**power
        ends = [max(left, product / top), min(right, product / bottom)]
        axes.plot(ends, [product / x for x in ends], color=FAINT, linewidth=scaled(0.8),
                  linestyle=(0, (1, 3)), zorder=0)  # fmt: skip


def draw_point(axes: Axes, group: Group, label: str, x: Estimate, y: Estimate) -> None:
    """Draw one estimator with error bars both ways; on the lower edge if its variance is not above 0."""
    colour, floor = sign(label).colour, axes.get_ylim()[0]
    height = max(y.value, floor)
    bar: dict[str, Any] = {"color": colour, "linewidth": scaled(1.2)}
    if math.isfinite(x.low) and math.isfinite(x.high):
        axes.plot([max(x.low, 1e-300), x.high], [height, height], **bar)
    if y.value > floor and math.isfinite(y.low) and math.isfinite(y.high):
        axes.plot([x.value, x.value], [max(y.low, floor), y.high], **bar)
    axes.plot([x.value], [height], marker=sign(label).marker, linestyle="", color=colour,
              markersize=scaled(6.5), clip_on=False, zorder=3,
              markerfacecolor=colour if group.ranked(label) else "white")  # fmt: skip
    if y.value <= 0:
        note = "0 (exact)" if y.zero else "≤ 0"
        axes.annotate(note, (x.value, height), xytext=(6, 5), textcoords="offset points",
                      fontsize=NOTE, color=INK)  # fmt: skip


def plane_legend(figure: Figure, group: Group, shown: list[str]) -> None:
    """Name the estimators under the figure; hollow markers are not ranked."""
    handles = [
        Line2D([], [], linestyle="", marker=sign(label).marker, color=sign(label).colour,
               markersize=scaled(6),
               markerfacecolor=sign(label).colour if group.ranked(label) else "white",
               label=label if group.ranked(label) else f"{label} (not ranked)")
        for label in shown
    ]  # fmt: skip
    handles.append(
        Line2D(
            [],
            [],
            color=FAINT,
            linestyle=(0, (4, 2)),
            marker="o",
            markersize=scaled(9),
            markerfacecolor="none",
            markeredgecolor=INK,
            label="Pareto front",
        )
    )
    handles.append(
        Line2D([], [], color=FAINT, linestyle=(0, (1, 3)), label="equal variance × time")
    )
    legend_below(figure, handles)
