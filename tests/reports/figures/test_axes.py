from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.figures.axes import LONGEST, bounds, short, ticks
from reports.figures.medium import styled
from reports.figures.variance_and_cost import summary_figure, variance_figures
from reports.figures.variance_time import plane_figure
from reports.results.estimate import Estimate
from reports.results.groups import Group, groups_of
from reports.results.load import load
from reports.results.ranking import VARIANCE, order
from reports.sections.summary_table import ratio_text


@given(
    low=st.floats(1e-9, 1e9), ratio=st.floats(1.5, 1e12), most=st.floats(1.5, 6)
)  # fmt: skip
def test_ticks_are_round_apart_and_within(low: float, ratio: float, most: float) -> None:
    places, powers = ticks(low, low * ratio, most)
    assert all(low <= x <= low * ratio for x in places)
    assert places == sorted(places)
    if powers:
        assert all(math.isclose(math.log10(x), round(math.log10(x)), abs_tol=1e-9) for x in places)
    if ratio > 1e3 and most >= 2:
        assert len(places) > 1
        gaps = [math.log(b / a) / math.log(ratio) for a, b in pairwise(places)]
        assert min(gaps) >= 1 / most - 1e-9


def test_ticks_are_written_short() -> None:
    found = [short(x) for x in (2e-5, 0.05, 3, 500, 2e3, 3e5, 1e6, 2.5e10)]
    assert found == ["2e−5", "0.05", "3", "500", "2k", "300k", "1e6", "2.5e10"]


def test_a_range_shows_every_figure_and_no_interval_stretches_it_without_end() -> None:
    close = [Estimate(1, 0.9, 1.1), Estimate(2, 1.9, 2.1)]
    low, high = bounds([*close, Estimate(1e6, 9e5, 1.1e6)]) or (0, 0)
    assert low < 0.9
    assert high > 1.1e6
    assert bounds([*close, Estimate(-5, -1e9, 1e9)]) == bounds(close)  # named at the edge
    assert bounds([]) is None
    wide = bounds([*close, Estimate(2, 1e-9, 1e9)]) or (0, 0)
    assert wide[1] / wide[0] < LONGEST**2.5 * 2


@pytest.fixture(scope="module")
def group(run_folder: Path) -> Group:
    return groups_of(load([run_folder]))[0]


def test_an_estimator_far_above_is_on_the_axis(group: Group) -> None:
    score = group.labels[-1]
    total = group.get(score, "variance.total", "all", "mean")
    assert total is not None
    with styled():
        axes = variance_figures(group, group.layers("variance.total"))[0].axes[0]
    assert axes.get_title() == "mean · all layers"
    assert axes.get_xlim()[1] > total.high
    assert "260,000" not in [text.get_text() for text in axes.texts]


def test_panels_of_a_row_share_their_axis(group: Group) -> None:
    layers = group.layers("variance.total")
    with styled():
        every = variance_figures(group, layers)[0].axes
        planes = plane_figure(group).axes
    for row in range(len(every) // len(layers)):
        of_row = every[row * len(layers) : (row + 1) * len(layers)]
        assert len({axes.get_xlim() for axes in of_row}) == 1
    assert len({axes.get_ylim() for axes in planes}) == 1


def test_every_logarithmic_axis_has_three_ticks_or_more(group: Group) -> None:
    with styled():
        figures = [
            *variance_figures(group, group.layers("variance.total")),
            plane_figure(group),
            summary_figure(group),
        ]
    for axes in (axes for figure in figures for axes in figure.axes):
        low, high = axes.get_xlim()
        marks = [
            x
            for x in (*axes.xaxis.get_majorticklocs(), *axes.xaxis.get_minorticklocs())
            if low <= x <= high
        ]
        assert len(marks) >= 3, axes.get_title()


def test_the_summary_gives_its_interval_beside_the_panel(group: Group) -> None:
    with styled():
        figure = summary_figure(group)
    notes = {text.get_text(): text for text in figure.axes[0].texts}
    said = ratio_text(group, VARIANCE, "score(samples=4, baseline=leave-one-out)", "mean")
    assert said.startswith("142 [")
    assert notes[said].get_position()[0] > 1  # where no line crosses it
    names = [label.get_text().replace("\n", "") for label in figure.axes[0].get_yticklabels()]
    assert names[0] == order(group)[0]


def test_the_plane_shows_all_and_rings_its_front(group: Group) -> None:
    with styled():
        axes = plane_figure(group).axes[0]
    assert axes.get_ylim()[1] > 2.6e5
    (rings,) = [
        line for line in axes.get_lines() if line.get_marker() == "o" and line.get_markersize() > 10
    ]
    assert list(rings.get_xdata()) == [6.2e-4, 8.3e-4]
