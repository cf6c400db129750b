"""Figures against a size, both axes logarithmic: an estimator a line, with its intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from reports.figures.axes import bounds, log_ticks
from reports.figures.medium import FAINT, INK, NOTE, canvas, scaled
from reports.figures.style import colours, finish, legend_below, markers
from reports.results.estimate import Estimate
from reports.results.size_lines import MEMORY, TIME, Frame, Points
from reports.results.sweeps import MINIBATCH, OPTION, Sweep
from reports.words.glossary import role_name
from reports.words.numbers import format_number, time_unit

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
            draw_frame(axes, sweep, frame)
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


def draw_frame(axes: Axes, sweep: Sweep, frame: Frame) -> None:
    """Draw the lines of one frame, those far above the rest at its upper edge."""
    names = list(sweep.places)
    palette, signs = colours(names_of(sweep)), markers(names_of(sweep))
    axes.set_yscale("log")
    every = [e for points in frame.lines.values() for e in points.values()]
    axes.set_ylim(bounds(every) or (0.1, 10))
    size_axis(axes, sweep.sizes, sweep.axis == OPTION)
    if frame.guide:
        draw_guide(axes, every)
    off = 0
    for place, (label, points) in enumerate(frame.lines.items()):
        shift = names.index(label) - (len(names) - 1) / 2
        inside = {x: e for x, e in points.items() if e.value <= axes.get_ylim()[1]}
        style = {"color": palette[label], "zorder": 3 + place}
        if inside:
            draw_line(axes, inside, shift, signs[label], sweep.ranked(label), style)
        if len(inside) < len(points):
            above = [e.value for x, e in points.items() if x not in inside]
            name_above(axes, above, 0.95 - 0.075 * off, signs[label], palette[label])
            off += 1
    for label, values in frame.exact.items():
        shift = names.index(label) - (len(names) - 1) / 2
        shown = {x: v for x, v in values.items() if v > 0}
        axes.plot(shifted(axes, shown, shift), list(shown.values()), "x", color=INK, zorder=20 + len(names),
                  markersize=scaled(4.2), markeredgewidth=scaled(0.9))  # fmt: skip
    axes.set_title(title_of(frame))
    log_ticks(axes.yaxis, scale_of(frame)[1])
    finish(axes)


def draw_line(axes: Axes, points: Points, shift: float, sign: str, ranked: bool,
              style: dict[str, Any]) -> None:  # fmt: skip
    """Draw one estimator: its line, intervals and markers."""
    at = shifted(axes, points, shift)
    axes.plot(at, [e.value for e in points.values()], sign, linestyle="-" if ranked else (0, (4, 2)),
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


def name_above(axes: Axes, values: list[float], height: float, sign: str, colour: Any) -> None:
    """Say at the upper edge how far above the rest an estimator is, beside its marker."""
    ends = dict.fromkeys(format_number(x, 2) for x in (values[0], values[-1]))
    axes.plot([0.04], [height], sign, transform=axes.transAxes, color=colour,
              markersize=scaled(4.8))  # fmt: skip
    axes.annotate(f"↑ {' to '.join(ends)}", (0.07, height), xycoords="axes fraction",
                  va="center_baseline", fontsize=NOTE, color=colour)  # fmt: skip


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


def names_of(sweep: Sweep) -> list[str]:
    """Return the estimators in the order of their colours: the report's, over M."""
    return sweep.first.known if sweep.axis == MINIBATCH else sweep.labels


def explain(figure: Figure, sweep: Sweep, rows: list[list[Frame]]) -> None:
    """Name the estimators under the figure; hollow markers are not ranked."""
    palette, signs = colours(names_of(sweep)), markers(names_of(sweep))
    drawn = {label for row in rows for frame in row for label in frame.lines}
    handles = [
        Line2D([], [], marker=signs[x], color=palette[x], markersize=scaled(5),
               linewidth=scaled(1.1), linestyle="-" if sweep.ranked(x) else (0, (4, 2)),
               markerfacecolor=palette[x] if sweep.ranked(x) else "white",
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
