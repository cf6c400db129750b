"""Variance against time, with lines along which their product is the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from reports.figures.medium import FAINT, scaled
from reports.figures.style import finish
from reports.plots.drawing import decades, intervals, marks, order, panels, signs, tick
from reports.plots.frame import Chosen
from reports.plots.legend import legend
from reports.words.glossary import role_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

TIME = "time.seconds_per_gradient"


def plane(chosen: Chosen) -> Figure:
    """Draw one panel a role."""
    variance, times = chosen.of("variance.total"), chosen.of(TIME).set_index("label")
    variance = variance[variance["label"].isin(times.index) & (variance["value"] > 0)]
    names, roles = order(variance), list(dict.fromkeys(variance["role"]))
    colours, _ = signs(names)
    figure, axes = panels(len(roles), 3.6)
    across = decades(times.loc[names], "value", "ci_low", "ci_high")
    upright = decades(variance, "value", "ci_low", "ci_high")
    for here, role in zip(axes, roles, strict=True):
        mine = variance[variance["role"] == role]
        seconds = times.loc[mine["label"]]
        here.set(xscale="log", yscale="log")
        marks(here, mine.assign(seconds=seconds["value"].to_numpy()), "seconds", "value", names)
        here.set_xlim(across)
        here.set_ylim(upright)
        shades = [colours[x] for x in mine["label"]]
        intervals(here, mine, "y", list(seconds["value"]), shades)
        intervals(here, seconds, "x", list(mine["value"]), shades)
        _equal(here, mine, seconds)
        here.set_title(role_name(role))
        here.set(xlabel="time per gradient (s)", ylabel="")
        finish(here)
    axes[0].set_ylabel("total variance (gradient²)")
    legend(figure, names, hollow=set(variance.loc[variance["serves"] != variance["own"], "label"]))
    tick(figure)
    return figure


def _equal(axes: Axes, variance: pd.DataFrame, seconds: pd.DataFrame) -> None:
    """Lines of equal variance × time, through the lowest product and powers of ten of it."""
    lowest = min(variance["value"].to_numpy() * seconds["value"].to_numpy(), default=0.0)
    if not lowest > 0:
        return
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for k in range(
        math.ceil(math.log10(left * bottom / lowest)),
        math.floor(math.log10(right * top / lowest)) + 1,
    ):
        product = lowest * 10.0**k
        axes.plot([left, right], [product / left, product / right], color=FAINT, linewidth=scaled(0.7),
                  linestyle=":", zorder=1, scalex=False, scaley=False)  # fmt: skip
