"""Curves of whole trainings over epochs, with bands over seeds; and histograms of log α."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures.medium import canvas, scaled
from reports.figures.style import finish, legend_below, series_colours
from reports.results.log_alpha import DIGITS
from reports.results.trainings import COURSES, Key, Trainings
from reports.words.numbers import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    "test.error": "test error, samples (%)",
    "test.error.mean_weights": "test error, mean weights (%)",
    "test.nll": "test NLL, samples (nats)",
    "training.elbo": "ELBO (nats, whole training set)",
}
"""Names of the axes."""
STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1, 1.5)))
"""Dashes, so that colour is never the only sign."""
INNER = (-12.0, 12.0, 0.5)
"""First and last edge of the bins of log α, and their width."""


def course_figure(found: Trainings) -> Figure:
    """Draw each metric over epochs, a line a training."""
    shown = [metric for metric in COURSES if found.course(metric)]
    figure = canvas(8.2, 3.1 * ((len(shown) + 1) // 2) + 0.8)
    cells = figure.subplots((len(shown) + 1) // 2, 2, squeeze=False).flat
    for axes, metric in zip(cells, shown, strict=False):
        draw_course(axes, found, metric)
        axes.set_ylabel(NAMES[metric])
    for axes in list(cells)[len(shown) :]:
        axes.set_axis_off()
    legend_below(figure, handles(found))
    return figure


def draw_course(axes: Axes, found: Trainings, metric: str) -> None:
    """Draw one metric's lines and bands."""
    palette = series_colours(names(found))
    for key, points in found.course(metric).items():
        at, colour = list(points), palette[found.name(key)]
        low, high = ([getattr(e, end) for e in points.values()] for end in ("low", "high"))
        axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(at, [e.value for e in points.values()], color=colour,
                  linewidth=scaled(1.6), linestyle=style(found, key))  # fmt: skip
    ends = found.window(metric)
    if ends:
        axes.set_ylim(max(ends[0], 0) if metric.startswith("test.") else ends[0], ends[1])
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(lambda y, _: format_number(y, 6))
    finish(axes)


def names(found: Trainings) -> list[str]:
    """Name all trainings, in order."""
    return [found.name(key) for key in found.keys]


def style(found: Trainings, key: Key) -> Any:
    """Return the dashes of a training's line."""
    return STYLES[found.keys.index(key) % len(STYLES)]


def handles(found: Trainings) -> list[Line2D]:
    """Explain the lines."""
    palette = series_colours(names(found))
    return [
        Line2D([], [], color=palette[found.name(key)], linewidth=scaled(1.6),
               linestyle=style(found, key), label=found.name(key))
        for key in found.keys
    ]  # fmt: skip


def histogram_figure(found: Trainings) -> Figure:
    """Draw the histogram of log α of each layer, a panel a training."""
    rows = found.histogram()
    spread = [key for key in found.keys if many(rows, key)]
    across = min(len(spread), 3)
    down = math.ceil(len(spread) / across)
    figure = canvas(1.6 + 2.9 * across, 0.9 + 3.0 * down, narrow=across == 1)
    cells = list(figure.subplots(down, across, squeeze=False).flat)
    layers = list(dict.fromkeys(rows["layer"]))
    palette = series_colours(layers)
    for axes, key in zip(cells, spread, strict=False):
        mine = rows[(rows["problem"] == key[0]) & (rows["estimator"] == key[1])]
        for place, layer in enumerate(layers):
            at, shares = shares_of(mine[mine["layer"] == layer])
            if len(at):
                axes.step(at, shares, where="mid", color=palette[layer], linewidth=scaled(1.3),
                          linestyle=STYLES[place % len(STYLES)])  # fmt: skip
        axes.set_title(found.name(key))
        axes.set_xlabel("log α")
        axes.set_ylabel("share of weights (%)")
        above = axes.secondary_xaxis("top", functions=(lambda x: DIGITS * x, lambda d: d / DIGITS))
        above.set_xlabel("significant digits")
        axes.set_ylim(bottom=0)
        finish(axes)
    for axes in cells[len(spread) :]:
        axes.set_axis_off()
    legend_below(figure, [
        Line2D([], [], color=palette[layer], linewidth=scaled(1.3), linestyle=STYLES[i % len(STYLES)],
               label=layer)
        for i, layer in enumerate(layers)
    ])  # fmt: skip
    return figure


def many(rows: Any, key: Key) -> bool:
    """Whether a training has a layer with more than one value of log α."""
    mine = rows[(rows["problem"] == key[0]) & (rows["estimator"] == key[1])]
    return bool((mine.groupby(["layer", "seed"]).size() > 1).any())


def shares_of(rows: Any) -> tuple[list[float], list[float]]:
    """Return the middles of the bins of one layer and the shares in them, over all seeds, with empty bins."""
    first, last, width = INNER
    count = round((last - first) / width) + 2
    sums = np.zeros(count)
    for place, value in zip(rows["bin"], rows["value"], strict=True):
        sums[int(place)] += value
    if not sums.sum():
        return [], []
    used = np.flatnonzero(sums)
    places = range(max(used[0] - 1, 0), min(used[-1] + 2, count))
    middles = [first + width * (place - 0.5) for place in places]
    return middles, [100 * float(sums[place] / sums.sum()) for place in places]
