"""What figures are drawn for: a page of any width, or paper, whose text has one."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK, FAINT = "#2b2b2b", "#8a8a8a"
TALLEST = 8.8
"""Height in inches of the tallest figure on paper, with its caption below."""
EDGE = 0.04
"""Inches beside panels."""
NOTE = 7
"""Size of the smallest text, in points, on paper as on a page."""


@dataclass(frozen=True)
class Medium:
    """What figures are drawn for.

    Attributes:
        factor: Size of markers, lines and heights, as a multiple of a page's.
        widths: Widths in inches that a figure may have, the narrow one first; none for any.
        rc: What differs from a page in matplotlib's settings.
    """

    factor: float = 1
    widths: tuple[float, ...] = ()
    rc: Mapping[str, Any] = field(default_factory=dict)


PAGE = Medium()
PAPER = Medium(
    0.7,
    (3.25, 5.5),  # a column of two, and the text of a page, as in the usual conference styles
    {
        "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 7.5, "xtick.labelsize": NOTE,
        "ytick.labelsize": NOTE, "legend.fontsize": NOTE, "grid.linewidth": 0.5,
        "axes.linewidth": 0.6, "xtick.major.pad": 2, "ytick.major.pad": 2, "axes.labelpad": 2,
        "pdf.fonttype": 42,  # TrueType, as publishers ask
    },
)  # fmt: skip
OF_WINDOWS = (
    "backend",
    "figure.max_open_warning",
    "interactive",
    "savefig.directory",
    "toolbar",
    "webagg",
)
"""Beginnings of the settings that are about windows, which are the user's."""
_medium: ContextVar[Medium] = ContextVar("medium", default=PAGE)


class Drawing(Figure):
    """A figure that a notebook shows, whether or not its kernel has been told to draw pyplot's figures."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=110)
        return out.getvalue()


@contextmanager
def styled(medium: Medium = PAGE) -> Iterator[None]:
    """Apply the suite's style, for a medium, to the figures made and saved within."""
    with mpl.rc_context():
        # not the user's own settings: a report looks the same everywhere
        mpl.rcParams.update(
            {k: v for k, v in mpl.rcParamsDefault.items() if not k.startswith(OF_WINDOWS)}
        )
        with _styled(medium):
            yield


@contextmanager
def _styled(medium: Medium) -> Iterator[None]:
    rc = {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("paper", font_scale=1.15),
        "font.family": ["DejaVu Sans", "sans-serif"],
        "text.parse_math": False,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.7,
        "axes.edgecolor": "#9a9a9a",
        "xtick.color": "#9a9a9a",
        "ytick.color": "#9a9a9a",
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.bottom": True,
        "ytick.left": True,
        "xtick.major.size": 3.5,
        "ytick.major.size": 3.5,
        "xtick.minor.size": 2,
        "ytick.minor.size": 2,
        "axes.titlesize": 10.5,
        "axes.labelcolor": INK,
        "text.color": INK,
        "legend.frameon": False,
        "svg.hashsalt": "vdbench",
        "svg.fonttype": "none",
        **medium.rc,
    }
    token = _medium.set(medium)
    try:
        with mpl.rc_context(rc):
            yield
    finally:
        _medium.reset(token)


def on_paper() -> bool:
    """Whether figures are drawn for paper, where there is less room for words."""
    return _medium.get() is PAPER


def scaled(size: float) -> float:
    """Return the size of a marker or line for the medium drawn for."""
    return size * _medium.get().factor


def canvas(
    width: float, height: float, space: float = 0.04, narrow: bool = False, beside: float = EDGE
) -> Figure:
    """Make a figure of its own, outside pyplot's list of open ones.

    Args:
        width: In inches on a page; on paper it is that of the text, or of a column.
        height: In inches on a page.
        space: Between panels, in inches.
        narrow: Whether a column of two is enough on paper.
        beside: Beside panels, in inches; more where words stand there, whose width the layout underestimates.
    """
    medium = _medium.get()
    if medium.widths:
        width = medium.widths[0 if narrow else -1]
        height = min(height * medium.factor, TALLEST)
    layout = ConstrainedLayoutEngine(h_pad=space * medium.factor, w_pad=beside * medium.factor)
    figure = Drawing(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure
