"""Candidates that are left over the minutes of a recommendation, seen and forecast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures.medium import FAINT, canvas, scaled
from reports.figures.style import finish, legend_below, series_colours, series_markers
from reports.words.recommendation import question

if TYPE_CHECKING:
    from vdbench.recommendation.forecast import Step


def left_figure(steps: Sequence[Step]) -> Figure:
    """Draw the number of candidates left over time, one line a question; a forecast is dashed."""
    names = list(dict.fromkeys(question(step.question) for step in steps))
    colours, markers = series_colours(names), series_markers(names)
    figure = canvas(5.6, 3.2, narrow=True)
    axes = figure.subplots()
    for name in names:
        mine = [s for s in steps if question(s.question) == name]
        seen = [s for s in mine if s.measured]
        coming = [*seen[-1:], *sorted((s for s in mine if not s.measured), key=lambda s: s.minutes)]
        for part, dashed in ((seen, False), (coming, True)):
            axes.plot(
                [s.minutes for s in part],
                [s.left for s in part],
                drawstyle="steps-post",
                linestyle="--" if dashed else "-",
                color=colours[name],
                marker=markers[name],
                markersize=scaled(4),
                linewidth=scaled(1.6),
                markerfacecolor="white" if dashed else colours[name],
            )
    last = max((s.minutes for s in steps if s.measured), default=0)
    axes.axvline(last, color=FAINT, linewidth=scaled(1), linestyle=":")
    axes.set_xlabel("minutes of measuring")
    axes.set_ylabel("candidates left")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes)
    legend_below(
        figure,
        [
            Line2D([], [], color=colours[n], marker=markers[n], markersize=scaled(4), label=n)
            for n in names
        ],
    )
    return figure
