"""What can be drawn. matplotlib is imported when something is, so that a report is composed without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.results.claims import Answer
from reports.results.groups import Group
from reports.results.instrument import Dot
from reports.results.size_lines import Frame
from reports.results.sweeps import Sweep
from reports.results.training_sweeps import Swept
from reports.results.trainings import Trainings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vdbench.recommendation.forecast import Step


def summary(group: Group) -> list[Figure]:
    """Draw the ratios over all layers."""
    from reports.figures.variance_and_cost import summary_figure

    return [summary_figure(group)]


def variance(group: Group, layers: list[str]) -> list[Figure]:
    """Draw total, noise and data variance of some layers."""
    from reports.figures.variance_and_cost import variance_figures

    return variance_figures(group, layers)


def ratio(group: Group, layers: list[str]) -> list[Figure]:
    """Draw the ratios to the baseline of some layers."""
    from reports.figures.variance_and_cost import ratio_figures

    return ratio_figures(group, layers)


def cost(group: Group) -> list[Figure]:
    """Draw time, throughput and memory."""
    from reports.figures.variance_and_cost import cost_figure

    return [cost_figure(group)]


def plane(group: Group) -> list[Figure]:
    """Draw variance against time."""
    from reports.figures.variance_time import plane_figure

    return [plane_figure(group)]


def times_to_target(group: Group) -> list[Figure]:
    """Draw variance × time against the time to a target."""
    from reports.figures.time_to_target import target_figure

    return [target_figure(group)]


def curves(group: Group) -> list[Figure]:
    """Draw the ELBO in training."""
    from reports.figures.elbo_curves import curve_figure

    return [curve_figure(group)]


def lines(sweep: Sweep, rows: list[list[Frame]]) -> list[Figure]:
    """Draw figures against a size."""
    from reports.figures.line_plot import line_figure

    return [line_figure(sweep, rows)]


def coverage(dots: list[Dot]) -> list[Figure]:
    """Draw shares of intervals that hold the truth."""
    from reports.figures.coverage import coverage_figure

    return [coverage_figure(dots)]


def claims(every: list[Answer]) -> list[Figure]:
    """Draw the claims of a suite."""
    from reports.figures.claims import claims_figure

    return [claims_figure(every)]


def courses(found: Trainings) -> list[Figure]:
    """Draw whole trainings over epochs."""
    from reports.figures.training_curves import course_figure

    return [course_figure(found)]


def histograms(found: Trainings) -> list[Figure]:
    """Draw where log α lies."""
    from reports.figures.training_curves import histogram_figure

    return [histogram_figure(found)]


def maps(found: Trainings) -> list[Figure]:
    """Draw log α over the pixels of the first layer."""
    from reports.figures.alpha_maps import map_figure

    return [map_figure(found)]


def over_option(swept: Swept) -> list[Figure]:
    """Draw test error over an option."""
    from reports.figures.training_sweep import sweep_figure

    return [sweep_figure(swept)]


def left_over_time(steps: Sequence[Step]) -> list[Figure]:
    """Draw the candidates of a recommendation that are left over time."""
    from reports.figures.left_over_time import left_figure

    return [left_figure(steps)]
