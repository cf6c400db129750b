"""The figure of claims: where each says that a figure lies, and our interval."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from reports.figures.axes import log_ticks
from reports.figures.medium import canvas, scaled
from reports.figures.style import finish, legend_below, series_colours
from reports.results.claims import Answer, Held

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTERS = 40
"""Of a line of a claim's words."""
MARGIN = 0.15
"""Inches beside the words, whose width the layout underestimates."""
EXPECTED = "0.85"
"""Grey of the range that a claim names."""


def claims_figure(every: list[Answer]) -> Figure:
    """Draw each measured claim in a line: the range that it names, and our interval.

    Args:
        every: Answers with a figure above 0, in order.
    """
    shown = [answer for answer in every if answer.drawable]
    words = ["\n".join(textwrap.wrap(answer.claim.says, LETTERS)) for answer in shown]
    lines = sum(text.count("\n") + 1 for text in words)
    figure = canvas(9, 1.2 + 0.12 * lines + 0.2 * len(shown))
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(w_pad=MARGIN)  # type: ignore[call-arg]
    axes = figure.subplots()
    low, high = limits(shown)
    verdicts = [held for held in Held if any(answer.held is held for answer in shown)]
    colours = series_colours([held.value for held in Held])
    markers = dict(zip(Held, "oXsD", strict=False))
    for place, answer in enumerate(shown):
        draw_claim(axes, answer, place, (low, high))
        assert answer.ours is not None
        colour = colours[answer.held.value]
        ends = [max(answer.ours.low, low), min(answer.ours.high, high)]
        axes.plot(ends, [place, place], color=colour, linewidth=scaled(1.6), zorder=3)
        axes.plot([answer.ours.value], [place], markers[answer.held], color=colour,
                  markersize=scaled(5), zorder=4)  # fmt: skip
    axes.set_yticks(range(len(shown)), words)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    log_ticks(axes.xaxis)
    axes.set_xlabel("our figure, with simultaneous intervals")
    axes.grid(visible=False, axis="y")
    finish(axes)
    handles: list[Line2D | Patch] = [
        Line2D([], [], marker=markers[held], color=colours[held.value], label=held.value)
        for held in verdicts
    ]
    legend_below(figure, [*handles, Patch(color=EXPECTED, label="where the claim says it lies")])
    return figure


def limits(shown: list[Answer]) -> tuple[float, float]:
    """Ends of the axis: all intervals, and the ends of what claims name."""
    ours = [x for a in shown if a.ours for x in (a.ours.low, a.ours.high) if x < float("inf")]
    theirs = [x for a in shown for x in (a.claim.low, a.claim.high) if x and x > 0]
    every = [*ours, *theirs]
    return min(every) / 1.6, max(every) * 1.6


def draw_claim(axes: Axes, answer: Answer, place: int, ends: tuple[float, float]) -> None:
    """Shade where a claim says that the figure lies; open ends go to the edge."""
    start = max(answer.claim.low or ends[0], ends[0])
    stop = min(answer.claim.high or ends[1], ends[1])
    axes.add_patch(Rectangle((start, place - 0.32), stop - start, 0.64, color=EXPECTED, zorder=1))
