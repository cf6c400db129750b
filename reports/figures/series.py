"""Figures over the steps of a training, as a monitor measured them: an estimator a line, its intervals as a band."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures.axes import bounds, log_ticks
from reports.figures.identity import sign
from reports.figures.medium import canvas, scaled
from reports.figures.style import finish, legend_below
from reports.results.estimate import Estimate
from reports.words.glossary import role_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Points = dict[int, Estimate]
"""Figures by step."""
NAMES = {
    "variance.total": "variance (gradient²)", "variance.noise": "variance, noise part (gradient²)",
    "variance.data": "variance, data part (gradient²)", "snr": "signal-to-noise ratio",
    "ratio.variance.total": "variance (× {against})",
    "ratio.variance.noise": "variance, noise part (× {against})",
}  # fmt: skip
"""What metrics are called on an axis."""
LINEAR = ("variance.data", "snr")
"""Metrics whose intervals may reach below zero."""


def series_figure(rows: pd.DataFrame) -> Figure:
    """Draw one metric of one layer.

    Args:
        rows: Rows of a monitor's frame: one metric, one layer, some roles, labels and steps.

    Returns:
        A panel for each role. Of estimates of 0 only those on a linear axis are drawn.
    """
    roles = list(dict.fromkeys(rows["role"]))
    labels = list(dict.fromkeys(rows["label"]))
    metric = str(rows["metric"].iloc[0])
    figure = canvas(1.0 + 3.2 * len(roles), 3.4, 0.06, narrow=len(roles) == 1)
    grid = figure.subplots(1, len(roles), squeeze=False, sharex=True)[0]
    for axes, role in zip(grid, roles, strict=True):
        here = rows[rows["role"] == role]
        lines = {label: points_of(here[here["label"] == label]) for label in labels}
        draw_panel(axes, lines, metric)
        axes.set_title(role_name(str(role)))
        axes.set_xlabel("training step")
    grid[0].set_ylabel(NAMES.get(metric, metric).format(against=str(rows["against"].iloc[0])))
    legend_below(figure, [handle(label) for label in labels])
    return figure


def points_of(rows: pd.DataFrame) -> Points:
    """Read the figures of one line, in the order of steps."""
    columns = (rows[name] for name in ("step", "value", "ci_low", "ci_high", "n"))
    found = {
        int(step): Estimate(value, low, high, int(n))
        for step, value, low, high, n in zip(*columns, strict=True)
    }
    return dict(sorted(found.items()))


def draw_panel(axes: Axes, lines: dict[str, Points], metric: str) -> None:
    """Draw the lines of one role."""
    every = [e for points in lines.values() for e in points.values() if e.measured]
    ends = None if metric in LINEAR else bounds(every)
    if ends is not None:
        axes.set_yscale("log")
        axes.set_ylim(ends)
    for label, points in lines.items():
        shown = {x: e for x, e in points.items() if e.measured and (ends is None or e.value > 0)}
        if not shown:
            continue
        low, high = ([getattr(e, end) for e in shown.values()] for end in ("low", "high"))
        floor = ends[0] if ends is not None else None
        low = low if floor is None else [max(x, floor) for x in low]
        colour = sign(label).colour
        axes.fill_between(list(shown), low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(list(shown), [e.value for e in shown.values()], color=colour,
                  marker=sign(label).marker, linewidth=scaled(1.3), markersize=scaled(4.5))  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if ends is not None:
        log_ticks(axes.yaxis)
    finish(axes)


def handle(label: str) -> Line2D:
    """Make an estimator's entry of the legend."""
    return Line2D([], [], color=sign(label).colour, marker=sign(label).marker, label=label)
