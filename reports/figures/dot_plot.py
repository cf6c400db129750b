"""Dot plots with error bars: an estimator a line, a metric a marker, a logarithmic axis."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.axes import bounds, log_ticks
from reports.figures.identity import sign
from reports.figures.medium import EDGE, FAINT, INK, NOTE, canvas, on_paper, scaled
from reports.figures.style import finish
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.ranking import ratio
from reports.words.numbers import format_number, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE, WIDER = 20, 38
"""Letters of a label beside a figure, from which on it is broken: as usual, and where estimators are many."""
MANY = 12
"""Estimators from which on a figure to stand alone is wider, and its lines are closer."""
BESIDE = 0.15
"""Inches beside a figure to stand alone, whose words the layout underestimates."""
WORDS = 1e6
"""How far, as a ratio, the ends of an interval may be apart so that the digits of one are those of the other."""


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
    axis are multiplied by ``factor``. With ``together`` intervals of ratios hold together, as verdicts and the
    headline table have them; otherwise each is at the level of the run.
    """

    title: str
    layer: str
    role: str
    series: tuple[Series, ...]
    label: str
    values: bool = False
    factor: float = 1
    together: bool = False

    def estimate(self, group: Group, series: Series, label: str) -> Estimate | None:
        """Return what is drawn of an estimator, or None."""
        own = group.get(label, series.metric, self.layer, self.role)
        if not self.together or own is None or not own.measured:
            return own
        metric = series.metric.removeprefix("ratio.")
        found, of = (
            ratio(group, metric, label, self.role),
            group.get(label, metric, "all", self.role),
        )
        return own if found is None else replace(found, status=of.status if of else own.status)


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
    alone = any(panel.values for row in rows for panel in row)
    wide = 2.6 + 1.2 * width * max(across, 2) if alone and crowded(shown) else 0
    figure = canvas(
        max(wide, 1.9 + width * max(across, 2)), height, 0.1, across == 1, BESIDE if alone else EDGE
    )
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
    if alone and crowded(labels):
        words = max(wrap(label, WIDER).count("\n") + 1 for label in labels)
        return 0.8 + len(labels) * max(0.16 * lines + 0.06, 0.16 * words + 0.05)
    step = 0.23 if alone else 0.17
    words = max((wrap(label).count("\n") + 1 + alone for label in labels), default=1)
    return 0.8 + len(labels) * max(step * lines + 0.13, 0.17 * words + 0.04, 0.42)


def crowded(labels: list[str]) -> bool:
    """Whether estimators are so many that lines are set closer; paper has no room for longer labels."""
    return len(labels) > MANY and not on_paper()


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
    found = [panel.estimate(group, s, x) for panel in panels for x in shown for s in panel.series]
    return bounds([e for e in found if e is not None and e.measured], reference) or (0.1, 10)


def has(group: Group, panel: Panel, label: str) -> bool:
    """Whether a panel has a figure of an estimator."""
    return any(
        (e := panel.estimate(group, s, label)) is not None and e.measured for s in panel.series
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
    close = panel.values and crowded(shown)
    apart = 0.36 if panel.values or (on_paper() and len(panel.series) < 3) else 0.22
    for place, label in enumerate(shown):
        for line, series in enumerate(panel.series):
            estimate = panel.estimate(group, series, label)
            height = place + apart * (line - (len(panel.series) - 1) / 2)
            if estimate is not None and estimate.measured:
                if estimate.value > 0 or not panel.values:
                    draw_dot(axes, estimate, height, label, size(series, close), series.face)
                if panel.values and label != group.baseline:
                    write_value(axes, estimate, height)
    names = [tick(group, label, panel.values, WIDER if close else WIDE) for label in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.45, -0.55)
    axes.set_title(panel.title)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    log_ticks(axes.xaxis, panel.factor, 0.55 if panel.values else 1)
    finish(axes)


def size(series: Series, close: bool) -> float:
    """Return the size of a series' markers in points; where lines are close, intervals are short."""
    return 3.0 if series.face == "small" or close else 4.8


def draw_dot(
    axes: Axes, estimate: Estimate, y: float, label: str, points: float, filled: str
) -> None:
    """Draw a figure and its interval; in words at the left edge what a logarithmic axis cannot show."""
    colour = sign(label).colour
    left, right = axes.get_xlim()
    if estimate.value <= 0:
        zero_note(axes, estimate, y)
        return
    if not (math.isnan(estimate.low) or math.isnan(estimate.high)):
        ends = [min(max(x, left), right) for x in (estimate.low, estimate.high)]
        axes.plot(
            ends, [y, y], color=colour, linewidth=scaled(1.4), solid_capstyle="butt", zorder=2
        )
        if estimate.low < left:  # the interval goes on beyond the axis, perhaps to zero
            draw_marker(axes, left, y, "<", colour, colour)
        if estimate.high > right:
            draw_marker(axes, right, y, ">", colour, colour)
    face = "white" if filled == "hollow" else colour
    draw_marker(axes, estimate.value, y, sign(label).marker, colour, face, points)


def draw_marker(
    axes: Axes, x: float, y: float, marker: Any, colour: str, face: str, size: float = 4.2
) -> None:
    """Draw one marker, whole even on the edge."""
    axes.plot([x], [y], marker=marker, linestyle="", color=colour, markerfacecolor=face,
              markersize=scaled(size), clip_on=False, zorder=4)  # fmt: skip


def write_value(axes: Axes, estimate: Estimate, y: float) -> None:
    """Write a figure and its interval right of the panel, where no line crosses it."""
    far = estimate.low > 0 and estimate.high > WORDS * estimate.low
    axes.annotate(show(estimate, None if far else 1), (1.04, y), xycoords=("axes fraction", "data"), color=INK,
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


def tick(group: Group, label: str, alone: bool, wide: int = WIDE) -> str:
    """Name an estimator beside its line; in a figure to stand alone, also if it is not ranked."""
    if not alone or group.ranked(label):
        return wrap(label, wide)
    return wrap(label, wide) + (" " if wide == WIDER else "\n") + "(not ranked)"


def wrap(label: str, wide: int = WIDE) -> str:
    """Break a long label at commas, and after its name where that is not enough."""
    name, bracket, options = label.partition("(")
    lines = textwrap.wrap(label, wide, break_long_words=False, break_on_hyphens=False)
    if bracket and any(len(line) > wide for line in lines):
        rest = textwrap.wrap(
            bracket + options, wide, break_long_words=False, break_on_hyphens=False
        )
        lines = [name, *rest]
    return "\n".join(lines)
