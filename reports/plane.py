"""The plane of variance against time, with its Pareto front."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.groups import Group
from reports.numbers import Estimate
from reports.style import (
    FAINT,
    INK,
    bounds,
    canvas,
    colours,
    finish,
    log_ticks,
    markers,
    time_unit,
)
from reports.terms import role_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[Estimate, Estimate]
"""Seconds per gradient, total variance."""


def plane_figure(group: Group) -> Figure | None:
    """Draw seconds per gradient against total variance, role by role; None without both."""
    roles = [role for role in group.roles() if points(group, role)]
    if not roles:
        return None
    figure = canvas(1.0 + 2.9 * max(len(roles), 2), 3.7)
    shown: list[str] = []
    for axes, role in zip(figure.subplots(1, len(roles), squeeze=False)[0], roles, strict=True):
        found = points(group, role)
        draw_plane(axes, group, found)
        axes.set_title(f"{role_name(role)} · all layers")
        shown += [label for label in found if label not in shown]
    plane_legend(figure, group, [label for label in group.labels if label in shown])
    return figure


def points(group: Group, role: str) -> dict[str, Point]:
    """Return the estimators that have both a time and a variance."""
    found = {}
    for label in group.labels:
        seconds = group.get(label, "time.seconds_per_gradient")
        variance = group.get(label, "variance.total", "all", role)
        if seconds and variance and seconds.measured and variance.measured:
            found[label] = (seconds, variance)
    return found


def pareto(group: Group, found: dict[str, Point]) -> list[str]:
    """Return the ranked estimators that no other is both faster and less noisy than."""
    ranked = sorted(
        (label for label in found if group.ranked(label)),
        key=lambda label: (found[label][0].value, found[label][1].value),
    )
    front: list[str] = []
    for label in ranked:
        if not front or found[label][1].value < found[front[-1]][1].value:
            front.append(label)
    return front


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
                  color=FAINT, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1)  # fmt: skip
    for label, point in found.items():
        draw_point(axes, group, label, *point)
    factor, unit = time_unit(x for x, _ in found.values())
    axes.set_xlabel(f"time per gradient ({unit})")
    axes.set_ylabel("total variance (gradient²)")
    log_ticks(axes.xaxis, factor)
    log_ticks(axes.yaxis)
    finish(axes)


def draw_point(axes: Axes, group: Group, label: str, x: Estimate, y: Estimate) -> None:
    """Draw one estimator with error bars both ways; on the lower edge if its variance is zero."""
    colour, marker = colours(group.known)[label], markers(group.known)[label]
    floor = axes.get_ylim()[0]
    height = max(y.value, floor)
    if math.isfinite(x.low) and math.isfinite(x.high):
        axes.plot([max(x.low, 1e-300), x.high], [height, height], color=colour, linewidth=1.2)
    if y.value > 0 and math.isfinite(y.low) and math.isfinite(y.high):
        axes.plot([x.value, x.value], [max(y.low, floor), y.high], color=colour, linewidth=1.2)
    axes.plot([x.value], [height], marker, color=colour, markersize=6.5, clip_on=False, zorder=3,
              markerfacecolor=colour if group.ranked(label) else "white")  # fmt: skip
    if y.value <= 0:
        note = "0 (exact)" if y.zero else "≤ 0"
        axes.annotate(note, (x.value, height), xytext=(6, 5), textcoords="offset points",
                      fontsize=7, color=colour)  # fmt: skip


def plane_legend(figure: Figure, group: Group, shown: list[str]) -> None:
    """Name the estimators under the figure; hollow markers are not ranked."""
    palette, signs = colours(group.known), markers(group.known)
    handles = [
        Line2D([], [], linestyle="", marker=signs[label], color=palette[label], markersize=6,
               markerfacecolor=palette[label] if group.ranked(label) else "white",
               label=label if group.ranked(label) else f"{label} (not ranked)")
        for label in shown
    ]  # fmt: skip
    handles.append(Line2D([], [], color=FAINT, linestyle=(0, (4, 2)), label="Pareto front"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, labelcolor=INK)
