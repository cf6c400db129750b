"""The figure of claims: where each says that a figure lies, and our interval."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from reports.figures.axes import log_ticks
from reports.figures.medium import FAINT, canvas, scaled
from reports.figures.style import finish, legend_below, series_colours
from reports.results.claims import Answer, Held
from vdbench.statistics.ranges import possible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTERS = 40
"""Of a line of a claim's words."""
MARGIN = 0.15
"""Inches beside the words, whose width the layout underestimates."""
EXPECTED = "0.85"
"""Grey of the range that a claim names."""
MARKS = dict(zip(Held, "oXsD", strict=True))
"""Markers of verdicts, so that colour is never the only sign."""


def claims_figure(every: list[Answer]) -> Figure:
    """Draw each measured claim in a line: the range that it names, and our interval.

    Args:
        every: Answers, in order; those that have no interval, or none above 0, are left out.

    Returns:
        The figure. Correlations are on a linear axis of their own, from -1 to 1; the others on a logarithmic one.
    """
    shown = [answer for answer in every if answer.drawable]
    parts = [[a for a in shown if a.correlation is linear] for linear in (False, True)]
    parts = [part for part in parts if part]
    heights = [0.45 + sum(height(answer) for answer in part) for part in parts]
    figure = canvas(9, 0.75 + sum(heights), beside=MARGIN)
    grid = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)
    for axes, part in zip(grid[:, 0], parts, strict=True):
        draw_part(axes, part)
    verdicts = [held for held in Held if any(answer.held is held for answer in shown)]
    handles: list[Line2D | Patch] = [
        Line2D([], [], marker=MARKS[held], color=colour(held), label=held.value)
        for held in verdicts
    ]
    legend_below(figure, [*handles, Patch(color=EXPECTED, label="where the claim says it lies")])
    return figure


def words(answer: Answer) -> str:
    """Break a claim's words into lines."""
    return "\n".join(textwrap.wrap(answer.claim.says, LETTERS))


def height(answer: Answer) -> float:
    """Return the inches that a claim takes."""
    return 0.2 + 0.12 * (words(answer).count("\n") + 1)


def colour(held: Held) -> Any:
    """Return the colour of a verdict."""
    return series_colours([one.value for one in Held])[held.value]


def draw_part(axes: Axes, part: list[Answer]) -> None:
    """Draw claims that share an axis: correlations, or none."""
    linear = part[0].correlation
    low, high = possible(part[0].claim.metric) if linear else limits(part)
    for place, answer in enumerate(part):
        assert answer.ours is not None
        draw_claim(axes, answer, place, (low, high))
        ends = [max(answer.ours.low, low), min(answer.ours.high, high)]
        axes.plot(ends, [place, place], color=colour(answer.held), linewidth=scaled(1.6), zorder=3)
        axes.plot([answer.ours.value], [place], MARKS[answer.held], color=colour(answer.held),
                  markersize=scaled(5), zorder=4, clip_on=False)  # fmt: skip
    axes.set_yticks(range(len(part)), [words(answer) for answer in part])
    axes.set_ylim(len(part) - 0.4, -0.6)
    if not linear:
        axes.set_xscale("log")
    axes.set_xlim(low, high)
    if linear:
        axes.axvline(0, color=FAINT, linewidth=scaled(1), zorder=1)
    else:
        log_ticks(axes.xaxis)
    what = "our correlation" if linear else "our figure (log)"
    axes.set_xlabel(f"{what}, with simultaneous intervals")
    axes.grid(visible=False, axis="y")
    finish(axes)


def limits(shown: list[Answer]) -> tuple[float, float]:
    """Ends of a logarithmic axis: all intervals, and the ends of what claims name."""
    ours = [x for a in shown if a.ours for x in (a.ours.low, a.ours.high) if x < float("inf")]
    theirs = [x for a in shown for x in (a.claim.low, a.claim.high) if x and x > 0]
    every = [*ours, *theirs]
    return min(every) / 1.6, max(every) * 1.6


def draw_claim(axes: Axes, answer: Answer, place: int, ends: tuple[float, float]) -> None:
    """Shade where a claim says that the figure lies; open ends go to the edge."""
    low, high = answer.claim.low, answer.claim.high
    start = ends[0] if low is None else max(low, ends[0])
    stop = ends[1] if high is None else min(high, ends[1])
    axes.add_patch(Rectangle((start, place - 0.32), stop - start, 0.64, color=EXPECTED, zorder=1))
