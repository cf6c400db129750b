"""Static plots for papers and slides, by seaborn, from the table of results; one file a kind, one message a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.plots import dots, elbo, plane, scaling
from reports.plots.frame import Chosen, places, sizes, trainings
from reports.results.load import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Kind:
    """One kind of plot.

    Attributes:
        shows: What, in a few words.
        choices: The parts of a run that it can be drawn for, one figure each.
        draw: Draws one of them.
    """

    shows: str
    choices: Callable[[Results], list[Chosen]]
    draw: Callable[[Chosen], Figure]


KINDS: dict[str, Kind] = {
    "variance": Kind("total variance of each estimator, by role", lambda r: places(r, "variance.total"), dots.variance),
    "noise": Kind("noise part of the variance, by role", lambda r: places(r, "variance.noise"), dots.noise),
    "ratio": Kind("total variance over the baseline's", lambda r: places(r, "ratio.variance.total"), dots.ratio),
    "efficiency": Kind("variance × time over the baseline's",
                       lambda r: places(r, "ratio.efficiency.variance_seconds"), dots.efficiency),
    "time": Kind("time per gradient", lambda r: places(r, "time.seconds_per_gradient"), dots.time),
    "plane": Kind("variance against time",
                  lambda r: places(r, "variance.total", "time.seconds_per_gradient"), plane.plane),
    "elbo": Kind("the ELBO of a training, by step", trainings, elbo.elbo),
    "scaling": Kind("total variance over the minibatch size", sizes, scaling.scaling),
}  # fmt: skip
