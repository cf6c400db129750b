"""What all plots share: signs of estimators, stored intervals, whole decades, equal axes, styles, and files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from reports.figures.axes import power
from reports.figures.identity import sign
from reports.figures.medium import PAPER, Medium, canvas, scaled
from reports.figures.style import save_pdf, save_png, svg_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SLIDES = Medium(
    1.4,
    (10.0, 10.0),
    {
        "font.size": 18, "axes.titlesize": 20, "axes.labelsize": 18, "xtick.labelsize": 16,
        "ytick.labelsize": 16, "legend.fontsize": 16, "axes.linewidth": 1.2, "pdf.fonttype": 42,
    },
)  # fmt: skip
"""For a projector: 10 inches wide, text of at least 16 points."""

SCREEN = Medium(1.0, (7.0, 7.0), {"font.size": 11})
"""For a screen or a notebook."""

COLUMN = Medium(PAPER.factor, (PAPER.widths[0],) * 2, PAPER.rc)
"""For a paper: one column of two, 3.25 inches."""

STYLES = {"paper": COLUMN, "slides": SLIDES, "screen": SCREEN}
LINE = 18
"""Letters of a line of a label."""

FORMATS = ("pdf", "png", "svg")


def panels(count: int, height: float, upright: bool = True) -> tuple[Figure, list[Axes]]:
    """A row of axes that are equal in both directions, or only upright."""
    figure = canvas(7.0, height)
    axes = figure.subplots(1, count, sharex=upright, sharey=True, squeeze=False)[0]
    return figure, list(axes)


def signs(labels: Sequence[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Colour and marker of each estimator, as in every report."""
    return {x: sign(x).colour for x in labels}, {x: sign(x).marker for x in labels}


def order(rows: pd.DataFrame) -> list[str]:
    """Labels of estimators, by their smallest value."""
    return [str(x) for x in rows.groupby("label")["value"].min().sort_values(kind="stable").index]


def intervals(
    axes: Axes, rows: pd.DataFrame, along: str, at: Sequence[Any], colours: Sequence[str]
) -> None:
    """Draw stored intervals, one line each; ends that are not finite, or not on a logarithmic axis, at the edge.

    Args:
        axes: Whose limits are final.
        rows: With ``ci_low`` and ``ci_high``.
        along: ``x`` for horizontal lines, ``y`` for vertical ones.
        at: Where on the other axis.
        colours: Of each.
    """
    edges = axes.get_xlim() if along == "x" else axes.get_ylim()
    draw = axes.hlines if along == "x" else axes.vlines
    for place, low, high, colour in zip(at, rows["ci_low"], rows["ci_high"], colours, strict=True):
        if math.isnan(low) or math.isnan(high):
            continue
        draw(
            place,
            max(low, edges[0]),
            min(high, edges[1]),
            color=colour,
            linewidth=scaled(1.6),
            zorder=2,
        )


def decades(values: pd.DataFrame, *columns: str) -> tuple[float, float]:
    """Whole decades that hold all positive, finite values and ends of intervals; an end far away is left out."""
    points = [float(x) for x in values[columns[0]] if 0 < x < math.inf] or [1.0]
    far = (min(points) / 100, max(points) * 100)
    ends = [float(x) for c in columns for x in values[c] if far[0] <= x <= far[1]]
    low = math.floor(math.log10(min(ends)) + 1e-9)
    high = math.ceil(math.log10(max(ends)) - 1e-9)
    return 10.0**low, 10.0 ** max(high, low + 1)


def marks(axes: Axes, rows: pd.DataFrame, x: str, y: str, names: Sequence[str]) -> None:
    """Draw the estimates with the signs of their estimators; hollow where they are of another objective."""
    colours, markers = signs(names)
    own = rows["serves"] == rows["own"]
    sns.scatterplot(
        data=rows[own], x=x, y=y, hue="label", hue_order=names, style="label", style_order=names,
        palette=colours, markers=[markers[n] for n in names], s=scaled(46), legend=False, ax=axes,
        zorder=3, clip_on=False,
    )  # fmt: skip
    for row in rows[~own].to_dict("records"):
        axes.scatter(row[x], row[y], s=scaled(30), marker=markers[row["label"]], facecolors="white",
                     edgecolors=colours[row["label"]], linewidths=scaled(1.6), zorder=3, clip_on=False)  # fmt: skip


def wrapped(name: str) -> str:
    """A label in lines of a moderate length."""
    return (
        "\n".join(textwrap.wrap(name, LINE, break_long_words=False)) if len(name) > LINE else name
    )


def tick(figure: Figure) -> None:
    """Put ticks at powers of ten of logarithmic axes, as many as there is room for once all else is placed."""
    engine = figure.get_layout_engine()
    for here in figure.axes:
        for axis in (here.xaxis, here.yaxis):
            if axis.get_scale() == "log" and not isinstance(axis.get_minor_locator(), NullLocator):
                _logarithmic(axis, 3)
    if engine is not None:
        engine.execute(figure)
    for here in figure.axes:
        place = here.get_position()
        for axis, inches, letters in (
            (here.xaxis, place.width * figure.get_figwidth(), 3.4),
            (here.yaxis, place.height * figure.get_figheight(), 2.0),
        ):
            if axis.get_scale() == "log" and not isinstance(axis.get_minor_locator(), NullLocator):
                size = float(axis.label.get_fontsize()) / 72
                _logarithmic(axis, max(1, int(inches / size / letters)))


def _logarithmic(axis: Any, most: int) -> None:
    """Ticks at powers of ten, at most so many parts of the axis; its ends have one if possible."""
    low, high = sorted(axis.get_view_interval())
    first, last = round(math.log10(low)), round(math.log10(high))
    length = last - first
    least = max(1, math.ceil(length / most))
    stride = next((s for s in range(least, length + 1) if not length % s), least)
    stride = stride if stride <= 2 * least else least
    axis.set_major_locator(FixedLocator([10.0**k for k in range(first, last + 1, stride)]))
    axis.set_major_formatter(lambda x, _: power(x))
    axis.set_minor_locator(LogLocator(subs=range(2, 10)) if length <= 4 else FixedLocator([]))
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's ending: pdf, png or svg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pdf":
        save_pdf(figure, path)
    elif path.suffix == ".png":
        save_png(figure, path)
    else:
        path.write_text(svg_text(figure), encoding="utf-8", newline="\n")
