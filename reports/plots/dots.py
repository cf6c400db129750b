"""One figure of each estimator as a dot with its interval, role by role."""

from __future__ import annotations

from matplotlib.figure import Figure

from reports.figures.medium import FAINT, scaled
from reports.figures.style import finish
from reports.plots.drawing import decades, intervals, marks, order, panels, signs, tick, wrapped
from reports.plots.frame import Chosen
from reports.words.glossary import role_name


def variance(chosen: Chosen) -> Figure:
    """Total variance."""
    return dots(chosen, "variance.total", "total variance (gradient²)")


def noise(chosen: Chosen) -> Figure:
    """The noise part of the variance."""
    return dots(chosen, "variance.noise", "noise variance (gradient²)")


def ratio(chosen: Chosen) -> Figure:
    """Total variance over the baseline's."""
    return dots(chosen, "ratio.variance.total", f"total variance (× {chosen.baseline})", one=True)


def efficiency(chosen: Chosen) -> Figure:
    """Variance × time over the baseline's."""
    metric = "ratio.efficiency.variance_seconds"
    return dots(chosen, metric, f"variance × time (× {chosen.baseline})", one=True)


def time(chosen: Chosen) -> Figure:
    """Seconds per gradient."""
    return dots(chosen, "time.seconds_per_gradient", "time per gradient (s)")


def dots(chosen: Chosen, metric: str, label: str, one: bool = False) -> Figure:
    """Draw one metric.

    Args:
        chosen: Where.
        metric: Which.
        label: What its axis says.
        one: Whether a line marks 1.
    """
    rows = chosen.of(metric)
    shown = rows[rows["value"] > 0]
    names, roles = order(rows), list(dict.fromkeys(rows["role"]))
    colours, _ = signs(names)
    figure, axes = panels(len(roles), 1.0 + 0.36 * len(names))
    limits = decades(shown, "value", "ci_low", "ci_high")
    places = {name: place for place, name in enumerate(names)}
    for here, role in zip(axes, roles, strict=True):
        mine = shown[shown["role"] == role]
        here.set_xscale("log")
        marks(here, mine.assign(place=mine["label"].map(places)), "value", "place", names)
        here.set_xlim(limits)
        intervals(
            here, mine, "x", [places[x] for x in mine["label"]], [colours[x] for x in mine["label"]]
        )
        for name in rows[(rows["role"] == role) & (rows["value"] == 0)]["label"]:
            here.text(0.02, places[name], "0", transform=here.get_yaxis_transform(), va="center")
        if one:
            here.axvline(1, color=FAINT, linewidth=scaled(1), linestyle=":")
        here.set_title("" if role == "all" else role_name(role))
        here.set(xlabel="", ylabel="", ylim=(len(names) - 0.5, -0.5))
        here.set_yticks(range(len(names)), [wrapped(name) for name in names])
        here.grid(visible=False, axis="y")
        finish(here)
    figure.supxlabel(label, fontsize=axes[0].xaxis.label.get_fontsize())
    tick(figure)
    return figure
