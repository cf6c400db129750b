"""Dot plots with error bars: an estimator a line, a metric a marker, a logarithmic axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.groups import Group
from reports.numbers import Estimate, show
from reports.style import FAINT, INK, bounds, canvas, colours, finish, log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Series:
    """A metric drawn in a dot plot.

    Attributes:
        metric: Its name in the results.
        name: Its name in the legend.
        marker: Its marker.
        filled: Whether the marker is filled.
    """

    metric: str
    name: str
    marker: str = "o"
    filled: bool = True


@dataclass(frozen=True)
class Panel:
    """One pair of axes: which layer and role it shows, of which series, under which title.

    With ``values``, each figure and its interval are written beside their marker; figures on the
    axis are multiplied by ``factor``.
    """

    title: str
    layer: str
    role: str
    series: tuple[Series, ...]
    label: str
    values: bool = False
    factor: float = 1


def dot_figure(
    group: Group,
    rows: list[list[Panel]],
    reference: float | None = None,
    width: float = 2.35,
    labels: list[str] | None = None,
) -> Figure:
    """Draw panels of dots with error bars.

    Args:
        group: The estimators and their figures.
        rows: Panels, row by row, each row as long as the first.
        reference: Where to draw a line, such as 1 for ratios.
        width: Width of a panel in inches.
        labels: Estimators from top to bottom; in the suite's order by default.

    Returns:
        The figure; panels of one row share nothing but their estimators.
    """
    places = labels or group.labels
    shown = [x for x in places if any(has(group, panel, x) for row in rows for panel in row)]
    lines = max(len(panel.series) for row in rows for panel in row)
    step = 0.23 if any(panel.values for row in rows for panel in row) else 0.17
    height = len(rows) * (0.8 + len(shown) * max(step * lines + 0.13, 0.42)) + 0.55
    figure = canvas(1.9 + width * max(len(rows[0]), 2), height, space=0.1)
    grid = figure.subplots(len(rows), len(rows[0]), squeeze=False, sharey=True)
    for panels, cells in zip(rows, grid, strict=True):
        for panel, axes in zip(panels, cells, strict=True):
            draw_panel(axes, group, panel, shown, reference, panels is rows[-1])
    legend(figure, rows)
    return figure


def has(group: Group, panel: Panel, label: str) -> bool:
    """Whether a panel has a figure of an estimator."""
    return any(
        (e := group.get(label, s.metric, panel.layer, panel.role)) is not None and e.measured
        for s in panel.series
    )


def draw_panel(
    axes: Axes, group: Group, panel: Panel, shown: list[str], reference: float | None, last: bool
) -> None:
    """Draw one panel: every estimator that the figure shows, at its own height."""
    palette = colours(group.known)
    found = [group.get(x, s.metric, panel.layer, panel.role) for x in shown for s in panel.series]
    axes.set_xscale("log")
    axes.set_xlim(
        bounds([e for e in found if e is not None and e.measured], reference) or (0.1, 10)
    )
    if reference is not None:
        axes.axvline(reference, color=FAINT, linewidth=1, zorder=1)
    for place, label in enumerate(shown):
        for line, series in enumerate(panel.series):
            estimate = group.get(label, series.metric, panel.layer, panel.role)
            height = place + (0.36 if panel.values else 0.22) * (line - (len(panel.series) - 1) / 2)
            if estimate is not None and estimate.measured:
                draw_dot(axes, estimate, height, series, palette[label])
                if panel.values and estimate.value > 0 and label != group.baseline:
                    write_value(axes, estimate, height)
    axes.set_yticks(range(len(shown)), [tick(group, label, panel.values) for label in shown])
    axes.set_ylim(len(shown) - 0.45, -0.55)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.label if last else "")
    axes.grid(visible=False, axis="y")
    log_ticks(axes.xaxis, panel.factor)
    finish(axes)


def draw_dot(axes: Axes, estimate: Estimate, y: float, series: Series, colour: Any) -> None:
    """Draw a figure and its interval; in words at the edge what a logarithmic axis cannot show."""
    left = axes.get_xlim()[0]
    if estimate.value <= 0:
        edge_note(axes, estimate, y, colour)
        return
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        ends = [max(estimate.low, left), max(estimate.high, left)]
        axes.plot(ends, [y, y], color=colour, linewidth=1.4, solid_capstyle="butt", zorder=2)
        if estimate.low < left:  # the interval goes on beyond the axis, perhaps to zero
            axes.plot([left], [y], marker="<", color=colour, markersize=4, clip_on=False, zorder=3)
    face = colour if series.filled else "white"
    axes.plot(
        [estimate.value],
        [y],
        series.marker,
        color=colour,
        markerfacecolor=face,
        markersize=4.6,
        zorder=4,
    )


def write_value(axes: Axes, estimate: Estimate, y: float) -> None:
    """Write a figure and its interval beside its marker, on the side with more room."""
    low, high = (math.log(x) for x in axes.get_xlim())
    left = math.log(estimate.value) > (low + high) / 2
    ends = [x for x in (estimate.value, estimate.low, estimate.high) if x > 0 and math.isfinite(x)]
    axes.annotate(
        show(estimate, 1), (min(ends) if left else max(ends), y),
        xytext=(-6 if left else 6, 0), textcoords="offset points", color=INK,
        ha="right" if left else "left", va="center_baseline", fontsize=7, zorder=5,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip


def edge_note(axes: Axes, estimate: Estimate, y: float, colour: Any) -> None:
    """Say at the left edge that a figure is zero, or not above it."""
    text = "0 (exact)" if estimate.zero else show(estimate)
    axes.annotate(
        text, (0, y), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
        va="center", fontsize=7, color=colour,
    )  # fmt: skip


def legend(figure: Figure, rows: list[list[Panel]]) -> None:
    """Explain the markers under the figure, where there is more than one."""
    series = {s.metric: s for row in rows for panel in row for s in panel.series}
    if len(series) < 2 or all(len(panel.series) < 2 for row in rows for panel in row):
        return
    handles = [
        Line2D([], [], linestyle="", color=INK, marker=s.marker, markersize=5,
               markerfacecolor=INK if s.filled else "white", label=s.name)
        for s in series.values()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def tick(group: Group, label: str, alone: bool) -> str:
    """Name an estimator beside its line; in a figure to stand alone, also if it is not ranked."""
    return wrap(label) + ("\n(not ranked)" if alone and not group.ranked(label) else "")


def wrap(label: str) -> str:
    """Break a long label after its name and at commas."""
    if len(label) <= 18:
        return label
    return label.replace("(", "\n(", 1).replace(", ", ",\n ")
