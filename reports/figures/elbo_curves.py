"""ELBO by step and by second of training, with bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.axes import log_ticks
from reports.figures.identity import sign
from reports.figures.medium import canvas, scaled
from reports.figures.style import finish, legend_below
from reports.results.elbo import curves_of, scales_of, timed, uneven, window
from reports.results.groups import Group
from reports.words.numbers import format_number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

AXES = {"step": "step", "seconds": "training time (s)"}


def curve_figure(group: Group) -> Figure:
    """Draw the ELBO of each estimator by step and by second of training."""
    curves, panels = curves_of(group), scales_of(group)
    figure = canvas(1.0 + 3.6 * max(len(panels), 2), 3.9)
    cells = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, x in zip(cells, panels, strict=True):
        draw_curves(axes, group, curves, x)
        axes.set_xlabel(AXES[x])
    cells[0].set_ylim(window(curves))
    cells[0].yaxis.set_major_formatter(lambda y, _: format_number(y, 6))
    cells[0].set_ylabel("ELBO (nats, whole training set)")
    legend_below(figure, cells[0].get_legend_handles_labels()[0])
    return figure


def marked(label: str, ranked: bool) -> dict[str, Any]:
    """Return how a line's points are marked: by the estimator's shape, hollow where it is not ranked."""
    return {"marker": sign(label).marker, "markersize": scaled(4.2), "markevery": 0.1,
            "markerfacecolor": sign(label).colour if ranked else "white"}  # fmt: skip


def draw_curves(axes: Axes, group: Group, curves: pd.DataFrame, x: str) -> None:
    """Draw the curve and band of each estimator against one axis."""
    for label in group.labels:
        rows = curves[(curves["label"] == label) & curves[x].notna()].sort_values(x)
        rows = timed(rows) if x == "seconds" else rows
        if rows.empty:
            continue
        ranked = group.ranked(label)
        name = label if ranked else f"{label} (not ranked)"
        at, colour, signs = rows[x].to_numpy(), sign(label).colour, marked(label, ranked)
        axes.fill_between(at, rows["ci_low"].to_numpy(), rows["ci_high"].to_numpy(),
                          color=colour, alpha=0.18, linewidth=0)  # fmt: skip
        axes.plot(at, rows["value"].to_numpy(), color=colour, linewidth=scaled(1.6),
                  linestyle="-" if ranked else (0, (4, 2)), label=name, **signs)  # fmt: skip
    if x == "seconds" and uneven(curves):
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    if x == "seconds":
        axes.set_xlim(left=timed(curves)["seconds"].min())
    finish(axes)
