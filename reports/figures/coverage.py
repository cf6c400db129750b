"""The figure of coverage: shares with their intervals, by metric and estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.identity import sign
from reports.figures.medium import INK, canvas, scaled
from reports.figures.style import finish, legend_below
from reports.results.instrument import Dot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST = 0.9
"""Where the axis of shares begins, if none is lower."""


def coverage_figure(dots: list[Dot]) -> Figure:
    """Draw shares as dots with intervals: a metric a block of lines, an estimator a line.

    Args:
        dots: The shares, in order.
    """
    metrics = list(dict.fromkeys(dot.metric for dot in dots))
    labels = list(dict.fromkeys(dot.label for dot in dots))
    figure = canvas(9, 1.2 + len(metrics) * (0.2 + 0.1 * len(labels)))
    axes = figure.subplots()
    palette = {label: sign(label).colour for label in labels}
    for dot in dots:
        place = metrics.index(dot.metric) + 0.7 * (labels.index(dot.label) + 0.5) / len(labels)
        draw_share(axes, dot, place + 0.15, palette[dot.label])
    for place, metric in enumerate(metrics):
        for level in {dot.level for dot in dots if dot.metric == metric}:
            axes.plot([level, level], [place + 0.08, place + 0.92], color=INK,
                      linewidth=scaled(1.2), zorder=5)  # fmt: skip
    axes.set_yticks([place + 0.5 for place in range(len(metrics))], metrics)
    axes.set_ylim(len(metrics), 0)
    low = min([LOWEST, *(dot.share.low for dot in dots if dot.share.low >= 0)])
    axes.set_xlim(max(0, low - 0.01), 1.002)
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
    axes.set_xlabel("coverage")
    axes.grid(visible=False, axis="y")
    finish(axes)
    explain(figure, labels, palette)
    return figure


def draw_share(axes: Axes, dot: Dot, y: float, colour: Any) -> None:
    """Draw one share and its interval."""
    axes.plot([dot.share.low, dot.share.high], [y, y], color=colour, linewidth=scaled(1),
              alpha=0.45, zorder=2)  # fmt: skip
    axes.plot([dot.share.value], [y], "o", color=colour, markersize=scaled(3.6),
              markerfacecolor=colour if dot.whole else "white", zorder=3, clip_on=False)  # fmt: skip


def explain(figure: Figure, labels: list[str], palette: dict[str, Any]) -> None:
    """Name the estimators and the line under the figure."""
    handles = [Line2D([], [], linestyle="", marker="o", markersize=scaled(5), color=palette[x],
                      label=x) for x in labels]  # fmt: skip
    handles.append(Line2D([], [], color=INK, linewidth=scaled(1.2), label="level claimed"))
    legend_below(figure, handles)
