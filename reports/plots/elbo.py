"""The ELBO of a training by step, with the stored interval over seeds as a band."""

from __future__ import annotations

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.medium import scaled
from reports.figures.style import finish
from reports.plots.drawing import panels, signs
from reports.plots.frame import Chosen
from reports.plots.legend import legend


def elbo(chosen: Chosen) -> Figure:
    """Draw one line an estimator."""
    rows = chosen.rows.sort_values("step", kind="stable")
    names = [
        str(x) for x in rows.groupby("label")["value"].last().sort_values(ascending=False).index
    ]
    colours, markers = signs(names)
    figure, (axes,) = panels(1, 3.6)
    sns.lineplot(
        data=rows, x="step", y="value", hue="label", hue_order=names, palette=colours, style="label",
        style_order=names, markers=[markers[n] for n in names], dashes=False, errorbar=None,
        estimator=None, markersize=scaled(5), linewidth=scaled(1.4), legend=False, ax=axes,
    )  # fmt: skip
    for name in names:
        mine = rows[rows["label"] == name]
        axes.fill_between(
            mine["step"], mine["ci_low"], mine["ci_high"], color=colours[name], alpha=0.18,
            linewidth=0, zorder=1,
        )  # fmt: skip
    axes.set_xlabel("training step")
    axes.set_ylabel("ELBO (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    finish(axes)
    legend(figure, names, lines=True)
    return figure
