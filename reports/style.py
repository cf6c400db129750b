"""How figures look: one colour and marker an estimator, everywhere; and how they are saved."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullLocator

from reports.numbers import Estimate, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ORDER = (0, 1, 2, 4, 3, 9, 5, 7, 6, 8)
"""The colour-blind-safe palette's colours, those most easily told apart first."""
LONGEST = 30
"""How far, as a ratio, a lower end may stretch a logarithmic axis beyond the figures."""
MARKERS = "osD^vPX<>p"
DPI = 192
"""Resolution of the PNG files: two pixels for each one of a page."""
INK, FAINT = "#2b2b2b", "#8a8a8a"


def colours(labels: list[str]) -> dict[str, Any]:
    """Give each estimator a colour of the colour-blind-safe palette."""
    palette = sns.color_palette("colorblind")
    return {label: palette[ORDER[i % len(ORDER)]] for i, label in enumerate(labels)}


def markers(labels: list[str]) -> dict[str, str]:
    """Give each estimator a marker, so that colour is never the only sign."""
    return {label: MARKERS[i % len(MARKERS)] for i, label in enumerate(labels)}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the suite's style to the figures made and saved within."""
    rc = {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("paper", font_scale=1.15),
        "font.family": ["DejaVu Sans", "sans-serif"],
        "text.parse_math": False,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.7,
        "axes.edgecolor": "#9a9a9a",
        "axes.titlesize": 10.5,
        "axes.labelcolor": INK,
        "text.color": INK,
        "legend.frameon": False,
        "svg.hashsalt": "vdbench",
        "svg.fonttype": "none",
    }
    with mpl.rc_context(rc):
        yield


def canvas(width: float, height: float, space: float = 0.04) -> Figure:
    """Make a figure of its own, outside pyplot's list of open ones; sizes in inches."""
    layout = ConstrainedLayoutEngine(h_pad=space)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write ``name.svg`` and ``name.png``, and return the SVG's text."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)  # once, not again for each format
    figure.set_layout_engine("none")
    vector = io.StringIO()
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    (folder / f"{name}.svg").write_text(vector.getvalue(), encoding="utf-8", newline="\n")
    figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": None})
    return vector.getvalue()


def time_unit(estimates: Iterable[Estimate]) -> tuple[float, str]:
    """Return how many of the unit that suits some times make a second, and its name."""
    most = max((e.value for e in estimates if e.measured), default=1.0)
    return next((x for x in ((1, "s"), (1e3, "ms")) if most * x[0] >= 1), (1e6, "µs"))


def log_ticks(axis: Any, factor: float = 1) -> None:
    """Put readable ticks on a logarithmic axis, also where it spans less than a decade.

    Args:
        axis: The axis.
        factor: What its figures are multiplied by when written, such as 1,000 for s as ms.
    """
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low) if low > 0 else 0.0
    subs = (1, 2, 5) if decades > 0.5 else (1, 1.2, 1.5, 2, 3, 5, 7)
    axis.set_major_locator(LogLocator(subs=(1,) if decades > 1.3 else subs, numticks=6))
    axis.set_major_formatter(lambda x, _: (power if decades > 1.3 else short)(x * factor))
    axis.set_minor_locator(NullLocator())


def short(x: float) -> str:
    """Write a tick's number so that it does not run into the next one: 20,000 as ``20k``."""
    return f"{format_number(x / 1e3, 2)}k" if 1e4 <= x < 1e6 else format_number(x, 2)


def power(x: float) -> str:
    """Write a power of ten as such, near 1 as a plain number."""
    exponent = round(math.log10(x)) if x > 0 else 0
    if abs(exponent) < 2:
        return f"{x:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def bounds(estimates: list[Estimate], reference: float | None = None) -> tuple[float, float] | None:
    """Return the range of a logarithmic axis that shows all positive figures; None without any."""
    ends = [x for e in estimates for x in (e.value, e.low, e.high) if math.isfinite(x) and x > 0]
    if reference is not None:
        ends.append(reference)
    if not ends:
        return None
    values = [e.value for e in estimates if math.isfinite(e.value) and e.value > 0]
    low, high = max(min(ends), min(values, default=min(ends)) / LONGEST), max(ends)
    room = max((high / low) ** 0.07, 1.08)
    return low / room, high * room


def finish(axes: Axes) -> None:
    """Take the frame's upper and right side away."""
    axes.spines[["top", "right"]].set_visible(False)
