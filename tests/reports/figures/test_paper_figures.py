from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports.document import Picture
from reports.figures import draw
from reports.figures.medium import NOTE, PAPER, TALLEST, styled
from reports.figures.style import lay_out
from reports.figures.variance_and_cost import cost_figure, variance_figures
from reports.output.pictures import draw_for_paper
from reports.results.groups import Group, groups_of
from reports.results.load import load

TEXT, COLUMN = 5.5 * 72, 3.25 * 72


@pytest.fixture(scope="module")
def group(run_folder: Path) -> Group:
    return groups_of(load([run_folder]))[0]


def layered(
    draw_some: Callable[[Group, list[str]], list[Figure]],
) -> Callable[[Group], list[Figure]]:
    """Draw all layers of a group together."""
    return lambda group: draw_some(group, group.layers("variance.total"))


DRAW: dict[str, Callable[[Group], list[Figure]]] = {
    "summary": draw.summary, "variance": layered(draw.variance), "ratio": layered(draw.ratio),
    "cost": draw.cost, "plane": draw.plane, "training": draw.curves,
}  # fmt: skip


@pytest.fixture(scope="module")
def on_paper(group: Group) -> dict[str, list[Figure]]:
    """Every kind of a group's figures, laid out for paper."""
    with styled(PAPER):
        found = {kind: make(group) for kind, make in DRAW.items()}
        for figure in (figure for figures in found.values() for figure in figures):
            lay_out(figure)
    return found


def width(path: Path) -> float:
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", path.read_bytes())
    assert box is not None
    return float(box[1])


def texts(figure: Figure) -> list[Text]:
    """The texts that a figure shows."""
    found = [x for x in figure.findobj(Text) if isinstance(x, Text)]
    return [x for x in found if x.get_visible() and x.get_text()]


def test_paper_has_the_text_s_width_and_its_fonts_inside(group: Group, tmp_path: Path) -> None:
    picture = Picture("plane", "", "", lambda: draw.plane(group))
    draw_for_paper(picture, tmp_path)
    path = tmp_path / "plane.pdf"
    assert width(path) == TEXT
    content = path.read_bytes()
    assert b"/FontFile2" in content  # TrueType, embedded
    assert b"/Type3" not in content
    draw_for_paper(picture, tmp_path)
    assert path.read_bytes() == content


def test_what_is_narrow_takes_a_column(
    first_rows: list[dict[str, Any]], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [row for row in first_rows if row["metric"] == "time.seconds_per_gradient"]
    (found,) = groups_of(load([make_run(rows)]))
    draw_for_paper(Picture("cost", "", "", lambda: draw.cost(found)), tmp_path)
    assert width(tmp_path / "cost.pdf") == COLUMN


@pytest.mark.parametrize("kind", sorted(DRAW))
def test_text_on_paper_can_be_read(on_paper: dict[str, list[Figure]], kind: str) -> None:
    for figure in on_paper[kind]:
        sizes = {text.get_text(): text.get_fontsize() for text in texts(figure)}
        assert min(sizes.values()) >= NOTE, sizes
        assert figure.get_figwidth() * 72 == TEXT


@pytest.mark.parametrize("kind", ["variance", "ratio", "cost", "plane"])
def test_names_of_ticks_do_not_run_into_each_other(
    on_paper: dict[str, list[Figure]], kind: str
) -> None:
    for axes in (axes for figure in on_paper[kind] for axes in figure.axes):
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
    rows = [row for row in rows if row["layer"] == "all"]
    one = [row for row in rows if row["label"] == "local"]
    rows += [row | {"label": f"local{i}"} for i in range(8) for row in one]
    (found,) = groups_of(load([make_run(rows)]))
    with styled(PAPER):
        sheets = variance_figures(found, found.layers("variance.total"))
    assert len(sheets) == 3
    assert all(figure.get_figheight() <= TALLEST for figure in sheets)
    with styled():
        assert (
            len(variance_figures(found, found.layers("variance.total"))) == 1
        )  # a page has no end


def test_a_page_is_not_paper(group: Group) -> None:
    with styled():
        figure = cost_figure(group)
    assert figure.get_figwidth() != 5.5
