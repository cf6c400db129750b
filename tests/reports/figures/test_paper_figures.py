from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports.figures.draw import DRAW, pictures
from reports.figures.medium import NOTE, PAPER, TALLEST, styled
from reports.figures.style import lay_out
from reports.figures.variance_and_cost import cost_figure, variance_figures
from reports.results.groups import Group, groups_of
from reports.results.load import load

TEXT, COLUMN = 5.5 * 72, 3.25 * 72


@pytest.fixture(scope="module")
def group(run_folder: Path) -> Group:
    return groups_of(load([run_folder]))[0]


def width(path: Path) -> float:
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", path.read_bytes())
    assert box is not None
    return float(box[1])


def texts(figure: Figure) -> list[Text]:
    """The texts that a figure shows."""
    found = [x for x in figure.findobj(Text) if isinstance(x, Text)]
    return [x for x in found if x.get_visible() and x.get_text()]


def test_paper_has_the_text_s_width_and_its_fonts_inside(group: Group, tmp_path: Path) -> None:
    (picture,) = pictures(group, "plane", tmp_path)
    path = tmp_path / f"{picture.name}.pdf"
    assert width(path) == TEXT
    content = path.read_bytes()
    assert b"/FontFile2" in content  # TrueType, embedded
    assert b"/Type3" not in content
    again = tmp_path / "again"
    pictures(group, "plane", again)
    assert (again / path.name).read_bytes() == content


def test_what_is_narrow_takes_a_column(
    first_rows: list[dict[str, Any]], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [row for row in first_rows if row["metric"] == "time.seconds_per_gradient"]
    (found,) = groups_of(load([make_run(rows)]))
    (picture,) = pictures(found, "cost", tmp_path)
    assert width(tmp_path / f"{picture.name}.pdf") == COLUMN


@pytest.mark.parametrize("kind", sorted(DRAW))
def test_text_on_paper_can_be_read(group: Group, kind: str, tmp_path: Path) -> None:
    with styled(PAPER):
        for figure in DRAW[kind](group):
            lay_out(figure, tmp_path)
            sizes = {text.get_text(): text.get_fontsize() for text in texts(figure)}
            assert min(sizes.values()) >= NOTE, sizes
            assert figure.get_figwidth() * 72 == TEXT


@pytest.mark.parametrize("kind", ["variance", "ratio", "cost", "plane"])
def test_names_of_ticks_do_not_run_into_each_other(group: Group, kind: str, tmp_path: Path) -> None:
    with styled(PAPER):
        for figure in DRAW[kind](group):
            lay_out(figure, tmp_path)
            for axes in figure.axes:
                low, high = axes.get_xlim()
                boxes = [
                    label.get_window_extent()
                    for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
                    if low <= place <= high
                ]
                assert len(boxes) > 1, axes.get_title()
                assert all(a.x1 < b.x0 for a, b in pairwise(boxes)), axes.get_title()


def test_roles_go_to_sheets_of_their_own_where_one_is_too_short(
    first_rows: list[dict[str, Any]], make_run: Callable[..., Path]
) -> None:
    rows = [row for row in first_rows if row["metric"].startswith("variance.")]
    one = [row for row in rows if row["label"] == "local"]
    rows += [row | {"label": f"local{i}"} for i in range(8) for row in one]
    (found,) = groups_of(load([make_run(rows)]))
    with styled(PAPER):
        sheets = variance_figures(found)
    assert len(sheets) == 3
    assert all(figure.get_figheight() <= TALLEST for figure in sheets)
    with styled():
        assert len(variance_figures(found)) == 1  # a page has no end


def test_a_page_is_not_paper(group: Group) -> None:
    with styled():
        figure = cost_figure(group)
    assert figure is not None
    assert figure.get_figwidth() != 5.5
