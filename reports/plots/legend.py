"""The legend of estimators, below a plot."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.identity import sign
from reports.figures.medium import scaled
from reports.figures.style import legend_below


def legend(
    figure: Figure, names: Sequence[str], lines: bool = False, hollow: Collection[str] = ()
) -> None:
    """Name estimators, each with its sign, on a line where they are drawn as lines, hollow where their marks are."""
    legend_below(
        figure,
        [
            Line2D([], [], color=sign(n).colour, marker=sign(n).marker, markersize=scaled(6),
                   markerfacecolor="white" if n in hollow else sign(n).colour,
                   linestyle="-" if lines else "none", label=n)
            for n in names
        ],
    )  # fmt: skip
