"""Dot plots with error bars: an estimator a line, a metric a marker, a logarithmic axis."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.axes import bounds, log_ticks
from reports.figures.identity import sign
from reports.figures.medium import FAINT, INK, NOTE, canvas, on_paper, scaled
from reports.figures.style import finish
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.words.numbers import format_number, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 20
"""Letters of a label beside a figure, from which on it is broken."""


@dataclass(frozen=True)
class Series:
    """A metric drawn in a dot plot.

    Attributes:
        metric: Its name in the results.
        name: Its name in the legend.
        face: How markers are filled, whose shape and colour are the estimator's: ``full``, ``hollow`` or ``small``.
    """

    metric: str
    name: str
    face: str = "full"


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
        The figure; panels of one row share their estimators, and their axis where it is of the same metrics.
    """
    places = labels or group.labels
    shown = [x for x in places if any(has(group, panel, x) for row in rows for panel in row)]
    height = sum(row_height(row, shown) for row in rows) + 0.55
    across = len(rows[0])
    figure = canvas(1.9 + width * max(across, 2), height, space=0.1, narrow=across == 1)
    grid = figure.subplots(len(rows), len(rows[0]), squeeze=False, sharey=True)
    for panels, cells in zip(rows, grid, strict=True):
        for panel, axes in zip(panels, cells, strict=True):
            alike = [other for other in panels if other.series == panel.series]
            draw_panel(
                axes, group, panel, shown, (reference, limits(group, alike, shown, reference))
            )
    name_axes(list(grid[-1]), [panel.label for panel in rows[-1]])
    legend(figure, rows)
    return figure


def row_height(row: list[Panel], labels: list[str]) -> float:
    """Return the height in inches that a row of panels takes on a page."""
    lines = max(len(panel.series) for panel in row)
    alone = any(panel.values for panel in row)
    step = 0.23 if alone else 0.17
    words = max((wrap(label).count("\n") + 1 + alone for label in labels), default=1)
    return 0.8 + len(labels) * max(step * lines + 0.13, 0.17 * words + 0.04, 0.42)


def name_axes(last: list[Axes], names: list[str]) -> None:
    """Name the axes of the last row; on paper once where all have one name."""
    once = on_paper() and len(set(names)) == 1
    for axes, name in zip(last, names, strict=True):
        if not once or axes is last[0]:
            axes.set_xlabel(name, loc="left" if once else "center")


def limits(
    group: Group, panels: list[Panel], shown: list[str], reference: float | None
) -> tuple[float, float]:
    """Return the range of the axis that some panels share."""
    found = [group.get(x, s.metric, panel.layer, panel.role)
             for panel in panels for x in shown for s in panel.series]  # fmt: skip
    return bounds([e for e in found if e is not None and e.measured], reference) or (0.1, 10)


def has(group: Group, panel: Panel, label: str) -> bool:
    """Whether a panel has a figure of an estimator."""
    return any(
        (e := group.get(label, s.metric, panel.layer, panel.role)) is not None and e.measured
        for s in panel.series
    )


def draw_panel(
    axes: Axes, group: Group, panel: Panel, shown: list[str],
    axis: tuple[float | None, tuple[float, float]],
) -> None:  # fmt: skip
    """Draw one panel: every estimator that the figure shows, at its own height; the axis has a line and a range."""
    reference, ends = axis
    axes.set_xscale("log")
    axes.set_xlim(ends)
    if reference is not None:
        axes.axvline(reference, color=FAINT, linewidth=scaled(1), zorder=1)
    apart = 0.36 if panel.values or (on_paper() and len(panel.series) < 3) else 0.22
    for place, label in enumerate(shown):
        for line, series in enumerate(panel.series):
            estimate = group.get(label, series.metric, panel.layer, panel.role)
            height = place + apart * (line - (len(panel.series) - 1) / 2)
            if estimate is not None and estimate.measured:
                if estimate.value > 0 or not panel.values:
                    draw_dot(axes, estimate, height, series, label)
                if panel.values and label != group.baseline:
                    write_value(axes, estimate, height)
    axes.set_yticks(range(len(shown)), [tick(group, label, panel.values) for label in shown])
    axes.set_ylim(len(shown) - 0.45, -0.55)
    axes.set_title(panel.title)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    log_ticks(axes.xaxis, panel.factor)
    finish(axes)


def draw_dot(axes: Axes, estimate: Estimate, y: float, series: Series, label: str) -> None:
    """Draw a figure and its interval; in words at the left edge what a logarithmic axis cannot show."""
    colour = sign(label).colour
    left, right = axes.get_xlim()
    if estimate.value <= 0:
        zero_note(axes, estimate, y)
        return
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        ends = [min(max(x, left), right) for x in (estimate.low, estimate.high)]
        axes.plot(
            ends, [y, y], color=colour, linewidth=scaled(1.4), solid_capstyle="butt", zorder=2
        )
        if estimate.low < left:  # the interval goes on beyond the axis, perhaps to zero
            draw_marker(axes, left, y, "<", colour, colour)
        if estimate.high > right:
            draw_marker(axes, right, y, ">", colour, colour)
    face = "white" if series.face == "hollow" else colour
    size = 3.0 if series.face == "small" else 4.8
    draw_marker(axes, estimate.value, y, sign(label).marker, colour, face, size)


def draw_marker(
    axes: Axes, x: float, y: float, marker: Any, colour: str, face: str, size: float = 4.2
) -> None:
    """Draw one marker, whole even on the edge."""
    axes.plot([x], [y], marker=marker, linestyle="", color=colour, markerfacecolor=face,
              markersize=scaled(size), clip_on=False, zorder=4)  # fmt: skip


def write_value(axes: Axes, estimate: Estimate, y: float) -> None:
    """Write a figure and its interval right of the panel, where no line crosses it."""
    axes.annotate(show(estimate, 1), (1.01, y), xycoords=("axes fraction", "data"), color=INK,
                  ha="left", va="center_baseline", fontsize=NOTE)  # fmt: skip


def zero_note(axes: Axes, estimate: Estimate, y: float) -> None:
    """Say at the left edge that a figure is zero or below, which a logarithmic axis cannot show."""
    text = format_number(estimate.value, 2) if on_paper() else show(estimate, 1)
    note = axes.annotate(
        "0 (exact)" if estimate.zero else text, (0, y), xycoords=("axes fraction", "data"),
        xytext=(3, 0), textcoords="offset points", va="center_baseline",
        ha="left", fontsize=NOTE, color=INK, zorder=5,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip
    note.set_in_layout(False)  # it may stand out of its panel, which need not shrink for it


def legend(figure: Figure, rows: list[list[Panel]]) -> None:
    """Explain the markers under the figure, where there is more than one."""
    series = {s.metric: s for row in rows for panel in row for s in panel.series}
    if len(series) < 2 or all(len(panel.series) < 2 for row in rows for panel in row):
        return
    handles = [
        Line2D([], [], linestyle="", color=INK, marker="o", label=s.name,
               markersize=scaled(3.2 if s.face == "small" else 5),
               markerfacecolor="white" if s.face == "hollow" else INK)
        for s in series.values()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def tick(group: Group, label: str, alone: bool) -> str:
    """Name an estimator beside its line; in a figure to stand alone, also if it is not ranked."""
    return wrap(label) + ("\n(not ranked)" if alone and not group.ranked(label) else "")


def wrap(label: str) -> str:
    """Break a long label at commas, and after its name where that is not enough."""
    name, bracket, options = label.partition("(")
    lines = textwrap.wrap(label, WIDE, break_long_words=False, break_on_hyphens=False)
    if bracket and any(len(line) > WIDE for line in lines):
        rest = textwrap.wrap(
            bracket + options, WIDE, break_long_words=False, break_on_hyphens=False
        )
        lines = [name, *rest]
    return "\n".join(lines)
