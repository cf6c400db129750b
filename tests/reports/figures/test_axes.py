from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.figures.axes import FAR, LONGEST, bounds, short, ticks, top
from reports.figures.medium import styled
from reports.figures.variance_and_cost import summary_figure, variance_figures
from reports.figures.variance_time import plane_figure
from reports.results.estimate import Estimate
from reports.results.groups import Group, groups_of
from reports.results.load import load
from reports.results.ranking import order


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


def test_only_what_is_far_above_most_of_the_rest_is_left_out() -> None:
    assert top([1, 2, 3, 3 * FAR]) == 3
    assert top([1, 2, 3, 2.9 * FAR]) == 2.9 * FAR
    assert top([1, 2, 2 * FAR, 3 * FAR]) == 2
    assert top([1, FAR, 2 * FAR]) == 2 * FAR  # two of three stand together
    assert top([1, 1000]) == 1000  # there is no rest
    assert top([0.001, 1, 1.1]) == 1.1  # a low one is never left out


def test_a_range_shows_the_rest_and_room_to_name_what_is_left_out() -> None:
    close = [Estimate(1, 0.9, 1.1), Estimate(2, 1.9, 2.1)]
    far = Estimate(1000, 900, 1100)
    low, high = bounds([*close, far]) or (0, 0)
    assert low < 0.9
    assert 2.1 < high < 20
    assert bounds([*close, Estimate(-5, -1e9, 1e9)]) == bounds(close)  # named at the edge
    assert bounds([]) is None
    wide = bounds([*close, Estimate(2, 1e-9, 1e9)]) or (0, 0)
    assert wide[1] / wide[0] < LONGEST**2.5 * 2


@pytest.fixture(scope="module")
def group(run_folder: Path) -> Group:
    return groups_of(load([run_folder]))[0]


def test_an_estimator_far_above_is_named_at_the_edge_and_squashes_nothing(group: Group) -> None:
    score = group.labels[-1]
    total = group.get(score, "variance.total", "all", "mean")
    assert total is not None
    with styled():
        axes = variance_figures(group, group.layers("variance.total"))[0].axes[0]
    assert axes.get_title() == "mean · all layers"
    assert axes.get_xlim()[1] < total.value / 5
    assert "260,000" in [text.get_text() for text in axes.texts]
    edge = [line for line in axes.get_lines() if line.get_marker() == ">"]
    assert [line.get_xdata()[0] for line in edge] == [axes.get_xlim()[1]] * 2  # total and noise


def test_the_summary_gives_its_interval_too(group: Group) -> None:
    with styled():
        figure = summary_figure(group)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert "142 [138, 146]" in said
    names = [label.get_text().replace("\n", "") for label in figure.axes[0].get_yticklabels()]
    assert names[0] == order(group)[0]


def test_the_plane_names_it_at_its_upper_edge(group: Group) -> None:
    with styled():
        figure = plane_figure(group)
    axes = figure.axes[0]
    assert axes.get_ylim()[1] < 2.6e5
    assert "↑ 260,000" in [text.get_text() for text in axes.texts]
