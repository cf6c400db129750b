"""What whole trainings give over an option of the problem: a line a group, with bands and published figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.line_plot import size_axis
from reports.figures.medium import FAINT, canvas, scaled
from reports.figures.style import finish, legend_below, series_colours, series_markers
from reports.results.training_sweeps import METRICS, Swept
from reports.words.numbers import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    "test.error.mean_weights": "test error, mean weights (%)",
    "test.error": "test error, samples (%)",
}
"""Names of the axes."""


def sweep_figure(swept: Swept) -> Figure:
    """Draw each metric over the option."""
    shown = [metric for metric in METRICS if swept.lines(metric)]
    figure = canvas(1.2 + 3.5 * max(len(shown), 2), 3.9, narrow=len(shown) == 1)
    for axes, metric in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True):
        draw(axes, swept, metric)
        axes.set_ylabel(NAMES[metric])
    legend_below(figure, handles(swept, shown))
    return figure


def draw(axes: Axes, swept: Swept, metric: str) -> None:
    """Draw one metric: lines and bands of ours, hollow markers of what was published."""
    palette, signs = series_colours(swept.groups), series_markers(swept.groups)
    for name, points in swept.lines(metric).items():
        at, style = list(points), {"color": palette[name]}
        low, high = ([getattr(e, end) for e in points.values()] for end in ("low", "high"))
        axes.fill_between(at, low, high, alpha=0.13, linewidth=0, **style)
        axes.plot(at, [e.value for e in points.values()], signs[name], linestyle="-",
                  linewidth=scaled(1.4), markersize=scaled(4.8), **style)  # fmt: skip
    for name, figures in swept.published(metric).items():
        axes.plot(list(figures), [f.value for f in figures.values()], signs[name], linestyle="none",
                  markersize=scaled(6.5), markerfacecolor="none", color=palette[name])  # fmt: skip
    size_axis(axes, swept.sizes, True)
    axes.set_ylim(*window(swept, metric))
    axes.set_xlabel(swept.axis)
    axes.yaxis.set_major_formatter(lambda y, _: format_number(y, 6))
    finish(axes)


def window(swept: Swept, metric: str) -> tuple[float, float]:
    """Return an axis's range: every figure, and bands as far as they are no wider than the figures' spread."""
    every = [e for points in swept.lines(metric).values() for e in points.values()]
    values = [e.value for e in every]
    values += [f.value for figures in swept.published(metric).values() for f in figures.values()]
    room = max(max(values) - min(values), 0.1)
    low = max(min([e.low for e in every] + values), min(values) - room, 0.0)
    high = min(max([e.high for e in every] + values), max(values) + room)
    return max(low - 0.05 * (high - low), 0.0), high + 0.05 * (high - low)


def handles(swept: Swept, metrics: list[str]) -> list[Line2D]:
    """Explain the lines."""
    palette, signs = series_colours(swept.groups), series_markers(swept.groups)
    style: dict[str, Any] = {"linewidth": scaled(1.4), "markersize": scaled(5)}
    found = [
        Line2D([], [], marker=signs[name], color=palette[name], label=name, **style)
        for name in swept.groups
    ]
    if any(swept.published(metric) for metric in metrics):
        found.append(Line2D([], [], marker="o", color=FAINT, markerfacecolor="none", linestyle="none",
                            markersize=scaled(6.5), label="published"))  # fmt: skip
    return found
