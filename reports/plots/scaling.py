"""Total variance over the minibatch size, role by role."""

from __future__ import annotations

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from reports.figures.medium import scaled
from reports.figures.style import finish
from reports.plots.drawing import decades, intervals, order, panels, signs, tick
from reports.plots.frame import Chosen
from reports.plots.legend import legend
from reports.words.glossary import role_name

MOST = 5
"""Minibatch sizes that are named on an axis."""


def scaling(chosen: Chosen) -> Figure:
    """Draw one line an estimator, with the stored interval at each size."""
    rows = chosen.of("variance.total")
    rows = rows[rows["value"] > 0]
    names, roles = order(rows), list(dict.fromkeys(rows["role"]))
    colours, markers = signs(names)
    figure, axes = panels(len(roles), 3.6)
    upright = decades(rows, "value", "ci_low", "ci_high")
    sizes = sorted(rows["batch_size"].unique())
    for here, role in zip(axes, roles, strict=True):
        mine = rows[rows["role"] == role]
        here.set(xscale="log", yscale="log")
        sns.lineplot(
            data=mine, x="batch_size", y="value", hue="label", hue_order=names, palette=colours,
            style="label", style_order=names, markers=[markers[n] for n in names], dashes=False,
            errorbar=None, estimator=None, markersize=scaled(6), linewidth=scaled(1.2), legend=False,
            ax=here,
        )  # fmt: skip
        here.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
        here.set_ylim(upright)
        intervals(here, mine, "y", list(mine["batch_size"]), [colours[x] for x in mine["label"]])
        here.set_title(role_name(role))
        here.set(xlabel="minibatch size M", ylabel="")
        here.xaxis.set_major_locator(FixedLocator(sizes[:: -(-len(sizes) // MOST)]))
        here.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        here.xaxis.set_minor_locator(NullLocator())
        finish(here)
    axes[0].set_ylabel("total variance (gradient²)")
    legend(figure, names, lines=True)
    tick(figure)
    return figure
