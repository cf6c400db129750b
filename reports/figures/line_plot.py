"""Figures against a size, both axes logarithmic: an estimator a line, with its intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from reports.figures.axes import bounds, log_ticks
from reports.figures.identity import sign
from reports.figures.medium import FAINT, INK, canvas, scaled
from reports.figures.style import finish, legend_below
from reports.results.estimate import Estimate
from reports.results.size_lines import MEMORY, TIME, Frame, Points
from reports.results.sweeps import OPTION, Sweep
from reports.words.glossary import role_name
from reports.words.numbers import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"variance.noise": "noise part", "variance.total": "total", TIME: "time per gradient",
         MEMORY: "peak memory"}  # fmt: skip
"""What the metrics are called in titles."""
SPREAD = 1.015
"""The ratio by which estimators stand apart at one size, so that whiskers do not hide each other."""
WIDE = 20
"""The ratio of an option's largest value to the smallest from which on their axis is logarithmic."""


def line_figure(sweep: Sweep, rows: list[list[Frame]]) -> Figure:
    """Draw figures against a size, one pair of axes a frame.

    Args:
        sweep: What is drawn, for the estimators' colours.
        rows: Frames, row by row; a shorter row leaves its last places empty.
    """
    across = max(len(row) for row in rows)
    figure = canvas(1.2 + 3.1 * max(across, 2), 0.9 + 2.9 * len(rows), 0.08, narrow=across == 1)
    grid = figure.subplots(len(rows), across, squeeze=False)
    for cells, row in zip(grid, rows, strict=True):
        for axes in cells[len(row) :]:
            axes.set_axis_off()
        for axes, frame in zip(cells, row, strict=False):
            draw_frame(axes, sweep, frame, limits([x for x in row if x.metric == frame.metric]))
            axes.set_xlabel(sweep.over if row is rows[-1] else "")
            name = scale_of(frame)[0]
            axes.set_ylabel(name if axes is cells[0] or name != scale_of(row[0])[0] else "")
    explain(figure, sweep, rows)
    return figure


def title_of(frame: Frame) -> str:
    """Name what a frame shows."""
    name = NAMES[frame.metric]
    return name if frame.role == "all" else f"{role_name(frame.role)} · {name}"


def scale_of(frame: Frame) -> tuple[str, float]:
    """Return the name of a frame's upright axis, and what its figures are multiplied by when written."""
    if frame.metric == TIME:
        factor, unit = time_unit(e for points in frame.lines.values() for e in points.values())
        return f"time ({unit})", factor
    return ("memory (MiB)", 2**-20) if frame.metric == MEMORY else ("variance (gradient²)", 1)


def limits(frames: list[Frame]) -> tuple[float, float]:
    """Return the range of the upright axis that frames of one metric share."""
    return bounds([e for x in frames for points in x.lines.values() for e in points.values()]) or (
        0.1,
        10,
    )


def draw_frame(axes: Axes, sweep: Sweep, frame: Frame, ends: tuple[float, float]) -> None:
    """Draw the lines of one frame."""
    names = list(sweep.places)
    axes.set_yscale("log")
    every = [e for points in frame.lines.values() for e in points.values()]
    axes.set_ylim(ends)
    size_axis(axes, sweep.sizes, sweep.axis == OPTION)
    if frame.guide:
        draw_guide(axes, every)
    for place, (label, points) in enumerate(frame.lines.items()):
        shift = names.index(label) - (len(names) - 1) / 2
        style = {"color": sign(label).colour, "zorder": 3 + place}
        draw_line(axes, points, shift, sign(label).marker, sweep.ranked(label), style)
    for label, values in frame.exact.items():
        shift = names.index(label) - (len(names) - 1) / 2
        shown = {x: v for x, v in values.items() if v > 0}
        axes.plot(shifted(axes, shown, shift), list(shown.values()), "x", color=INK, zorder=20 + len(names),
                  markersize=scaled(4.2), markeredgewidth=scaled(0.9))  # fmt: skip
    axes.set_title(title_of(frame))
    log_ticks(axes.yaxis, scale_of(frame)[1])
    finish(axes)


def draw_line(axes: Axes, points: Points, shift: float, marker: Any, ranked: bool,
              style: dict[str, Any]) -> None:  # fmt: skip
    """Draw one estimator: its line, intervals and markers."""
    at = shifted(axes, points, shift)
    axes.plot(at, [e.value for e in points.values()], marker=marker, linestyle="-" if ranked else (0, (4, 2)),
              linewidth=scaled(1.1), markersize=scaled(4.8), clip_on=False,
              markerfacecolor=style["color"] if ranked else "white", **style)  # fmt: skip
    bottom, top = axes.get_ylim()
    for x, e in zip(at, points.values(), strict=True):
        if math.isfinite(e.low) and math.isfinite(e.high):
            axes.plot(
                [x, x], [max(e.low, bottom), min(e.high, top)], linewidth=scaled(1.4), **style
            )


def draw_guide(axes: Axes, every: list[Estimate]) -> None:
    """Draw a line of slope −1 through the middle of the figures that are shown."""
    shown = [math.log(e.value) for e in every if e.value <= axes.get_ylim()[1]]
    if not shown:
        return
    left, right = axes.get_xlim()
    middle = math.exp(sum(shown) / len(shown)) * math.sqrt(left * right)
    axes.plot([left, right], [middle / left, middle / right], color=FAINT, linewidth=scaled(1),
              linestyle=(0, (1, 2)), zorder=1)  # fmt: skip


def size_axis(axes: Axes, sizes: list[float], option: bool) -> None:
    """Set an axis of sizes, with a tick at each that was measured; an option's is linear where it varies little."""
    low, high = min(sizes), max(sizes)
    if low > 0 and (not option or high >= WIDE * low):
        axes.set_xscale("log")
        axes.set_xlim(low / (high / low) ** 0.08, high * (high / low) ** 0.08)
    else:
        room = 0.08 * (high - low)
        axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x >= 10 else f"{x:g}")


def shifted(axes: Axes, points: Iterable[float], shift: float) -> list[float]:
    """Return sizes moved by so many steps to a side, so that whiskers at one size do not hide each other."""
    if axes.get_xscale() == "log":
        return [x * SPREAD**shift for x in points]
    low, high = axes.get_xlim()
    return [x + 0.006 * shift * (high - low) for x in points]


def explain(figure: Figure, sweep: Sweep, rows: list[list[Frame]]) -> None:
    """Name the estimators under the figure; hollow markers are not ranked."""
    drawn = {label for row in rows for frame in row for label in frame.lines}
    handles = [
        Line2D([], [], marker=sign(x).marker, color=sign(x).colour, markersize=scaled(5),
               linewidth=scaled(1.1), linestyle="-" if sweep.ranked(x) else (0, (4, 2)),
               markerfacecolor=sign(x).colour if sweep.ranked(x) else "white",
               label=x if sweep.ranked(x) else f"{x} (not ranked)")
        for x in sweep.places if x in drawn
    ]  # fmt: skip
    if any(frame.exact for row in rows for frame in row):
        handles.append(Line2D([], [], color=INK, linestyle="", marker="x", markersize=scaled(4.2),
                              markeredgewidth=scaled(0.9), label="exact"))  # fmt: skip
    if any(frame.guide for row in rows for frame in row):
        handles.append(Line2D([], [], color=FAINT, linewidth=scaled(1), linestyle=(0, (1, 2)),
                              label="slope −1"))  # fmt: skip
    legend_below(figure, handles)
