"""The plane of variance against time, with its Pareto front."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.axes import bounds, log_ticks
from reports.figures.medium import FAINT, NOTE, canvas, scaled
from reports.figures.style import colours, finish, legend_below, markers
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.pareto import Point, pareto, points, roles_of
from reports.words.glossary import role_name
from reports.words.numbers import format_number, time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plane_figure(group: Group) -> Figure:
    """Draw seconds per gradient against total variance, role by role."""
    roles = roles_of(group)
    figure = canvas(1.0 + 2.9 * max(len(roles), 2), 3.7, narrow=len(roles) == 1)
    shown: list[str] = []
    for axes, role in zip(figure.subplots(1, len(roles), squeeze=False)[0], roles, strict=True):
        found = points(group, role)
        draw_plane(axes, group, found)
        axes.set_title(f"{role_name(role)} · all layers")
        shown += [label for label in found if label not in shown]
    plane_legend(figure, group, [label for label in group.labels if label in shown])
    return figure


def draw_plane(axes: Axes, group: Group, found: dict[str, Point]) -> None:
    """Draw the points of one role, their intervals and the front."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(bounds([x for x, _ in found.values()]) or (0.1, 10))
    low, high = bounds([y for _, y in found.values()]) or (0.1, 10)
    zeros = any(y.value <= 0 for _, y in found.values())  # drawn on the lower edge: make room
    axes.set_ylim(low / (high / low) ** 0.12 if zeros else low, high)
    front = [found[label] for label in pareto(group, found) if found[label][1].value > 0]
    if len(front) > 1:
        axes.step([x.value for x, _ in front], [y.value for _, y in front], where="post",
                  color=FAINT, linewidth=scaled(1.1), linestyle=(0, (4, 2)), zorder=1)  # fmt: skip
    for label, point in found.items():
        draw_point(axes, group, label, *point)
    above = [x for x in found if found[x][1].value > axes.get_ylim()[1]]
    for line, label in enumerate(above):
        name_edge(axes, group, label, found[label], line)
    factor, unit = time_unit(x for x, _ in found.values())
    axes.set_xlabel(f"time per gradient ({unit})")
    axes.set_ylabel("total variance (gradient²)")
    log_ticks(axes.xaxis, factor)
    log_ticks(axes.yaxis)
    finish(axes)


def draw_point(axes: Axes, group: Group, label: str, x: Estimate, y: Estimate) -> None:
    """Draw one estimator with error bars both ways; on the edge if its variance is off the axis."""
    colour, marker = colours(group.known)[label], markers(group.known)[label]
    floor, ceiling = axes.get_ylim()
    height = min(max(y.value, floor), ceiling)
    if math.isfinite(x.low) and math.isfinite(x.high):
        ends = [max(x.low, 1e-300), x.high]
        axes.plot(ends, [height, height], color=colour, linewidth=scaled(1.2))
    if floor < y.value < ceiling and math.isfinite(y.low) and math.isfinite(y.high):
        ends = [max(y.low, floor), min(y.high, ceiling)]
        axes.plot([x.value, x.value], ends, color=colour, linewidth=scaled(1.2))
    axes.plot([x.value], [height], marker, color=colour, markersize=scaled(6.5), clip_on=False,
              zorder=3, markerfacecolor=colour if group.ranked(label) else "white")  # fmt: skip
    if y.value <= 0:
        note = "0 (exact)" if y.zero else "≤ 0"
        axes.annotate(note, (x.value, height), xytext=(6, 5), textcoords="offset points",
                      fontsize=NOTE, color=colour)  # fmt: skip


def name_edge(axes: Axes, group: Group, label: str, point: Point, line: int) -> None:
    """Say by the marker on the upper edge how far above it an estimator is, line under line."""
    x, y = point
    left = x.value > math.sqrt(math.prod(axes.get_xlim()))  # towards the middle
    axes.annotate(f"↑ {format_number(y.value, 2)}", (x.value, axes.get_ylim()[1]),
                  xytext=(-5 if left else 5, -9 - 1.3 * NOTE * line), textcoords="offset points",
                  ha="right" if left else "left", fontsize=NOTE,
                  color=colours(group.known)[label])  # fmt: skip


def plane_legend(figure: Figure, group: Group, shown: list[str]) -> None:
    """Name the estimators under the figure; hollow markers are not ranked."""
    palette, signs = colours(group.known), markers(group.known)
    handles = [
        Line2D([], [], linestyle="", marker=signs[label], color=palette[label],
               markersize=scaled(6),
               markerfacecolor=palette[label] if group.ranked(label) else "white",
               label=label if group.ranked(label) else f"{label} (not ranked)")
        for label in shown
    ]  # fmt: skip
    handles.append(Line2D([], [], color=FAINT, linestyle=(0, (4, 2)), label="Pareto front"))
    legend_below(figure, handles)
