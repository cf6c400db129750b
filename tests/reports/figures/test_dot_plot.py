"""Figures of ratios: the intervals that verdicts rest on, and words that fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.colors
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.dot_plot import MANY
from reports.figures.identity import sign
from reports.figures.medium import styled
from reports.figures.style import DPI, lay_out
from reports.figures.variance_and_cost import summary_figure
from reports.results.groups import Group, groups_of
from reports.results.load import load
from reports.results.ranking import EFFICIENCY, VARIANCE
from reports.sections.summary import caption
from reports.sections.summary_table import ratio_text

COMMITTED = Path(__file__).parents[3] / "docs" / "results"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def many() -> Group:
    """The place of a committed run that has most estimators."""
    return max(groups_of(load([COMMITTED / "all-estimators"])), key=lambda group: len(group.labels))


@pytest.fixture(scope="module")
def drawn(many: Group) -> Figure:
    """Its figure, laid out as for a file."""
    with styled():
        figure = summary_figure(many)
        figure.set_dpi(DPI)
        lay_out(figure)
    return figure


def written(figure: Figure) -> list[str]:
    """What stands beside the marks, panel by panel from top to bottom."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("run", ["quick", "all-estimators"])
def test_its_intervals_are_those_of_the_table(run: str, many: Group) -> None:
    group = many if run == "all-estimators" else groups_of(load([COMMITTED / run]))[0]
    with styled():
        found = written(summary_figure(group))
    others = [label for label in group.labels if label != group.baseline]
    expected = [
        ratio_text(group, metric, label, role)
        for role in group.headline_roles()
        for label in others
        for metric in (VARIANCE, EFFICIENCY)
        if (own := group.get(label, f"ratio.{metric}", "all", role)) and own.measured
    ]
    assert sorted(found) == sorted(expected)


def test_many_estimators_are_closer_and_nothing_is_cut_off(many: Group, drawn: Figure) -> None:
    assert len(many.labels) > MANY
    assert drawn.get_figheight() < 0.5 * len(many.labels)
    box = drawn.bbox
    for text in (x for axes in drawn.axes for x in (*axes.texts, *axes.get_yticklabels())):
        at = text.get_window_extent()
        assert box.x0 < at.x0, text.get_text()
        assert at.x1 < box.x1, text.get_text()


def test_names_of_ticks_and_words_keep_apart(drawn: Figure) -> None:
    for axes in drawn.axes:
        low, high = axes.get_xlim()
        boxes = [
            label.get_window_extent()
            for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
            if low <= place <= high
        ]
        assert len(boxes) > 1
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
        tall = [text.get_window_extent() for text in axes.texts]
        assert all(a.y0 > b.y1 for a, b in pairwise(tall))


def lines(axes: Axes, label: str) -> list[tuple[float, float]]:
    """The ends of the intervals in an estimator's colour."""
    colour = matplotlib.colors.to_rgb(sign(label).colour)
    return [
        (float(line.get_xdata()[0]), float(line.get_xdata()[-1]))  # type: ignore[index, arg-type]
        for line in axes.lines
        if len(line.get_xdata()) == 2 and matplotlib.colors.to_rgb(line.get_color()) == colour  # type: ignore[arg-type]
    ]


def test_an_interval_without_ends_goes_from_edge_to_edge(
    make_run: Callable[..., Path], first_rows: list[Row]
) -> None:
    where = {"metric": "pairwise.variance.total", "label": "local", "role": "mean"}
    open_ends = {"ci_low": 0.0, "ci_high": math.inf}
    rows = [
        row | open_ends if all(row[key] == value for key, value in where.items()) else row
        for row in first_rows
    ]
    (group,) = groups_of(load([make_run(rows)]))
    with styled():
        axes = summary_figure(group).axes[0]
    assert tuple(axes.get_xlim()) in lines(axes, "local")


def test_a_caption_names_only_what_was_measured(
    make_run: Callable[..., Path], first_rows: list[Row]
) -> None:
    (timed,) = groups_of(load([make_run(first_rows)]))
    rows = [row for row in first_rows if row["metric"].split(".")[0] not in ("time", "throughput")]
    rows = [row for row in rows if EFFICIENCY not in row["metric"]]
    rows = [row for row in rows if "seconds" not in row["metric"]]
    (untimed,) = groups_of(load([make_run(rows, "other")]))
    assert "Variance × time is the inverse" in caption(timed).of(timed)
    assert "time" not in caption(untimed).of(untimed)
    for group in (timed, untimed):
        assert "Intervals hold together at 95 %" in caption(group).of(group)
