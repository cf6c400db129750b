"""ELBO by step and by second of training, with bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.axes import log_ticks
from reports.figures.medium import canvas, scaled
from reports.figures.style import colours, finish, legend_below
from reports.results.groups import Group
from reports.words.numbers import format_number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

EARLY = 0.2
"""The share of the steps that may be cut off where it would flatten the rest of the curves."""


SLOWER = 4
"""The ratio of training times from which on seconds get a logarithmic axis."""


def curve_figure(group: Group) -> Figure | None:
    """Draw the ELBO of each estimator by step and by second; None without curves."""
    curves = group.curves.dropna(subset=["value"])
    if curves.empty:
        return None
    panels = [(x, name) for x, name in (("step", "step"), ("seconds", "training time (s)"))
              if (timed(curves) if x == "seconds" else curves)[x].notna().any()]  # fmt: skip
    if not panels:
        return None
    figure = canvas(1.0 + 3.6 * max(len(panels), 2), 3.9)
    cells = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (x, name) in zip(cells, panels, strict=True):
        draw_curves(axes, group, curves, x)
        axes.set_xlabel(name)
    cells[0].set_ylim(window(curves))
    cells[0].yaxis.set_major_formatter(lambda y, _: format_number(y, 6))
    cells[0].set_ylabel("ELBO (nats, whole training set)")
    legend_below(figure, cells[0].get_legend_handles_labels()[0])
    return figure


def draw_curves(axes: Axes, group: Group, curves: pd.DataFrame, x: str) -> None:
    """Draw the curve and band of each estimator against one axis."""
    palette = colours(group.known)
    for label in group.labels:
        rows = curves[(curves["label"] == label) & curves[x].notna()].sort_values(x)
        rows = timed(rows) if x == "seconds" else rows
        if rows.empty:
            continue
        ranked = group.ranked(label)
        name = label if ranked else f"{label} (not ranked)"
        at = rows[x].to_numpy()
        axes.fill_between(at, rows["ci_low"].to_numpy(), rows["ci_high"].to_numpy(),
                          color=palette[label], alpha=0.18, linewidth=0)  # fmt: skip
        axes.plot(at, rows["value"].to_numpy(), color=palette[label], linewidth=scaled(1.6),
                  linestyle="-" if ranked else (0, (4, 2)), label=name)  # fmt: skip
    if x == "seconds" and uneven(curves):
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    if x == "seconds":
        axes.set_xlim(left=timed(curves)["seconds"].min())
    finish(axes)


def timed(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluations that took training: at step 0 no time has passed."""
    return curves[(curves["step"] > 0) & (curves["seconds"] > 0)]


def uneven(curves: pd.DataFrame) -> bool:
    """Whether training took so different times that only a logarithmic axis shows all curves."""
    ends = timed(curves).groupby("label")["seconds"].max()
    return bool(ends.max() > SLOWER * ends.min() > 0)


def window(curves: pd.DataFrame) -> tuple[float, float]:
    """Return the range of the ELBO's axis: all of it, or without steep first steps."""
    top, bottom = curves["value"].max(), curves["value"].min()
    late = curves[curves["step"] >= EARLY * curves["step"].max()]["value"]
    if len(late) and top - bottom > 4 * (top - late.min()) > 0:
        bottom = late.min()
    room = 0.06 * (top - bottom) or 1.0
    return float(bottom - room), float(top + room)


def is_cut(group: Group) -> bool:
    """Whether the figure leaves early values off its axis."""
    values = group.curves["value"].dropna()
    return len(values) > 0 and bool(values.min() < window(group.curves.dropna(subset=["value"]))[0])
