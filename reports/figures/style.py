"""How figures look: one colour and marker an estimator, everywhere; and how they are saved."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.font_manager
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from reports.figures.medium import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ORDER = (0, 1, 2, 4, 3, 9, 5, 7, 6, 8)
"""The colour-blind-safe palette's colours, those easiest to distinguish first."""
MARKERS = "osD^vPX<>p"
"""Markers of what is no estimator: groups of problems, whole trainings, layers."""
ROOMY = 2
"""Lines of a legend that the height of figures allows for."""
DPI = 192
"""Resolution of the PNG files: two pixels for each one of a page."""


def series_colours(labels: list[str]) -> dict[str, Any]:
    """Give each of some things that are no estimators a colour of the colour-blind-safe palette."""
    palette = sns.color_palette("colorblind")
    return {label: palette[ORDER[i % len(ORDER)]] for i, label in enumerate(labels)}


def series_markers(labels: list[str]) -> dict[str, str]:
    """Give each of them a marker, so that colour is never the only sign."""
    return {label: MARKERS[i % len(MARKERS)] for i, label in enumerate(labels)}


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG."""
    lay_out(figure)
    vector = io.StringIO()
    # the canvases themselves: savefig draws everything once more, for a layout that is done
    svg: Any = FigureCanvasSVG(figure)
    svg.print_svg(vector, metadata={"Date": None, "Creator": None})
    return vector.getvalue()


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    lay_out(figure)
    figure.set_dpi(DPI)
    png: Any = FigureCanvasAgg(figure)
    png.print_png(path, metadata={"Software": None})


def save_pdf(figure: Figure, path: Path) -> None:
    """Write a figure as PDF, of the size that it has, with its fonts inside."""
    lay_out(figure)
    unstamped = {"CreationDate": None, "Creator": None, "Producer": None}
    pdf: Any = FigureCanvasPdf(figure)
    pdf.print_pdf(path, metadata=unstamped)


def lay_out(figure: Figure) -> None:
    """Place what is in a figure once, not again for each format."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def legend_below(figure: Figure, handles: list[Any]) -> None:
    """Explain what is drawn under the figure, which grows where that takes many lines."""
    size = mpl.font_manager.FontProperties(
        size=mpl.rcParams["legend.fontsize"]
    ).get_size_in_points()
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    width = (0.58 * longest + 4.5) * size / 72  # a letter's width, and the handle with its spaces
    columns = max(1, min(len(handles), 4, int(figure.get_figwidth() / width)))
    lines = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + max(0, lines - ROOMY) * 1.6 * size / 72)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, labelcolor=INK)


def finish(axes: Axes) -> None:
    """Take the frame's upper and right side away."""
    axes.spines[["top", "right"]].set_visible(False)
