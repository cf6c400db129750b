"""The figure of claims: correlations on an axis from -1 to 1, other figures on a logarithmic one."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from reports.figures.claims import claims_figure
from reports.figures.medium import styled
from reports.results.claims import Answer, Claim, Held
from reports.results.estimate import Estimate

RANK = Claim("ranks", "correlation.target.seconds.own", "naive", low=0.7)
RATIO = Claim("is lower", "ratio.variance.noise", "local", high=1)


def shaded(axes: Axes) -> list[tuple[float, float]]:
    """From where to where the ranges of claims go."""
    found = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in found]


def test_a_correlation_is_shaded_up_to_1_on_a_linear_axis() -> None:
    answers = [
        Answer(RANK, Estimate(0.9, 0.5, 1.0, 10), Held.OPEN),
        Answer(RANK, Estimate(-0.2, -0.8, 0.4, 10), Held.NO),  # below 0: a linear axis has it
    ]
    with styled():
        (axes,) = claims_figure(answers).axes
    assert axes.get_xscale() == "linear"
    assert axes.get_xlim() == (-1, 1)
    assert shaded(axes) == [pytest.approx((0.7, 1))] * 2
    assert len(axes.get_yticks()) == 2


def test_other_figures_have_an_axis_of_their_own() -> None:
    answers = [
        Answer(RANK, Estimate(0.9, 0.5, 1.0, 10), Held.OPEN),
        Answer(RATIO, Estimate(0.5, 0.4, 0.6, 64), Held.YES),
        Answer(RATIO, Estimate(0.0, -0.1, 0.1, 64), Held.YES),  # cannot be on a logarithmic axis
    ]
    with styled():
        ratios, ranks = claims_figure(answers).axes
    assert (ratios.get_xscale(), ranks.get_xscale()) == ("log", "linear")
    assert [len(axes.get_yticks()) for axes in (ratios, ranks)] == [1, 1]
    assert shaded(ratios)[0][1] == pytest.approx(1)
