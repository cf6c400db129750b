"""Reports over an option of the problem: variance, test error, published figures, courses apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.document import Document, Picture
from reports.figures.training_sweep import window
from reports.output.markdown import markdown
from reports.output.pictures import draw_for_page
from reports.results.groups import groups_of
from reports.results.load import load
from reports.results.published import unmatched
from reports.results.size_lines import exact_of
from reports.results.sweeps import OPTION, sweeps_of
from reports.results.training_sweeps import parts_of, swept_of
from reports.results.trainings import trainings_of
from reports.sections.published_trainings import pairs_of, published_table
from reports.sections.training_summary import training_summary

Row = dict[str, Any]
WIDTHS = (100, 250, 500)
ERROR = {"none": (1.44, 1.30, 1.22), "A": (1.42, 1.10, 1.06)}
LABEL = {"none": "deterministic", "A": "local"}


def names() -> Iterator[tuple[str, str, int, float]]:
    for group, errors in ERROR.items():
        for width, error in zip(WIDTHS, errors, strict=True):
            yield f"{group}-{width}", group, width, error


def suite() -> Row:
    problems = [
        {"name": name, "group": group, "axis": "units", "x": float(width)}
        for name, group, width, _ in names()
    ]
    figure = {"source": "Somebody 2015", "metric": "test.error", "unit": "%", "verified": True}
    return {
        "name": "figure", "baseline_problem": "none", "problems": [*problems, {"name": "apart"}],
        "measures": {"training": {"prune": None}},
        "published": [
            {**figure, "problem": "none-100", "estimator": "deterministic", "value": 1.45},
            {**figure, "problem": "A-500", "estimator": "local", "value": 0.9, "verified": False},
            {**figure, "problem": "A-750", "estimator": "local", "value": 0.95},
        ],
    }  # fmt: skip


def rows(figure: Callable[..., Row]) -> list[Row]:
    found = []
    for name, group, _, error in [*names(), ("apart", "none", 0, 2.0)]:
        about = {
            "problem": name,
            "checkpoint": "trained",
            "unit": "percent",
            "n": 5,
            "status": "ok",
        }
        for metric in ("test.error", "test.error.mean_weights", "test.nll"):
            ends = (error, error - 0.05, error + 0.05)
            found.append(figure(LABEL[group], metric, *ends, **about))
            found += [
                figure(LABEL[group], metric, error + 1 / (1 + epoch), error, error + 2,
                       **about | {"step": 10.0 * epoch, "seconds": 1.0})
                for epoch in range(3)
            ]  # fmt: skip
    for width, value in zip(WIDTHS, (-0.02, -0.2, -0.16), strict=True):
        about = {"problem": f"A-{width}", "checkpoint": "trained", "unit": "percent", "n": 5, "status": "ok",
                 "against": f"none-{width}", "level": 0.98}  # fmt: skip
        found.append(
            figure(
                "local", "adjusted.difference.test.error", value, value - 0.1, value + 0.1, **about
            )
        )
    return found


def pictures_of(document: Document) -> dict[str, Picture]:
    """The pictures of a report, by name."""
    blocks = [block for section in document.sections for block in section.blocks]
    return {block.name: block for block in blocks if isinstance(block, Picture)}


@pytest.fixture
def folder(figure: Callable[..., Row], make_run: Callable[..., Path]) -> Path:
    made = make_run(rows(figure), suite=suite())
    epochs = [
        {"problem": name, "estimator": LABEL[group], "seed": seed, "epoch": float(epoch),
         "step": 10.0 * epoch, "layer": "fc1", "metric": "log_alpha", "bin": 24.0, "value": 1.0}
        for name, group, _, _ in [*names(), ("apart", "none", 0, 2.0)]
        for seed in range(5)
        for epoch in range(3)
    ]  # fmt: skip
    pd.DataFrame(epochs).to_parquet(made / "training.parquet")
    return made


def test_test_error_is_a_line_a_group(folder: Path) -> None:
    (found,) = trainings_of(load([folder]))
    (swept,) = swept_of(found)
    lines = swept.lines("test.error")
    assert list(lines) == ["none", "A"]
    for group, errors in ERROR.items():
        assert {x: e.value for x, e in lines[group].items()} == dict(
            zip(WIDTHS, errors, strict=True)
        )
    shown = swept.published("test.error")
    assert {(group, x): f.value for group, line in shown.items() for x, f in line.items()} == {
        ("none", 100.0): 1.45, ("A", 500.0): 0.9,
    }  # fmt: skip
    low, high = window(swept, "test.error")
    assert low < 0.9  # what was published is on the axis
    assert high > 1.44 + 0.05


def test_courses_are_drawn_for_each_value_apart(
    folder: Path, composed: Callable[..., Document]
) -> None:
    (found,) = trainings_of(load([folder]))
    parts = {part.title.partition(", ")[2]: part for part in parts_of(found)}
    assert list(parts) == ["others", "units 100", "units 250", "units 500"]
    assert [key[0] for key in parts["others"].keys] == ["apart"]
    assert [key[0] for key in parts["units 250"].keys] == ["none-250", "A-250"]
    assert set(parts["units 250"].course("test.error")) == set(parts["units 250"].keys)
    pictures = pictures_of(composed(folder))
    assert "Training by epoch (units 100). " in pictures["trained-run-units-100"].caption
    assert {"over-units-run", "trained-run-others"} <= set(pictures)


def test_the_answer_says_who_is_lowest_at_each_value(folder: Path) -> None:
    said = dict(training_summary(trainings_of(load([folder])), several=False))
    assert said["Lowest test error, mean weights, over units:"] == (
        "inconclusive at 100; A at 250 (1.10 [1.05, 1.15] %); A at 500 (1.06 [1.01, 1.11] %)."
    )
    words = said["Test error, samples, compared with none:"]
    assert words.startswith(
        "significantly lower: A-250 and A-500; inconclusive: 1 (paired by seed at the same value; intervals at 98 %"
    )


def test_published_figures_stand_beside_trainings(folder: Path, report: Callable[..., str]) -> None:
    results = load([folder])
    (found,) = trainings_of(results)
    table = published_table(found)
    assert [row[:3] + row[4:] for row in table.rows] == [
        ["none-100", "test error, samples", "1.45 %", "inside"],
        ["A-500", "test error, samples", "0.9 % (from memory, not checked)", "below"],
    ]
    left = unmatched(groups_of(results), [found.run], [theirs for theirs, _ in pairs_of(found)])
    assert [figure.problem for figure in left] == ["A-750"]
    text = report(folder)
    section = text.partition("\n## Comparison with published results\n")[2].partition("\n## ")[0]
    assert "| none-100 | test error, samples | 1.45 % |" in section
    assert "1 of the suite's published values is not shown" in section


def variance_rows(figure: Callable[..., Row], groups: tuple[str, ...]) -> list[Row]:
    return [
        figure(label, metric, value * width, 0.9 * value * width, 1.1 * value * width,
               problem=f"{group}-{width}", batch_size=32, role="theta")
        for group in groups
        for width in WIDTHS
        for label, value in (("naive", 4.0), ("local", 1.0))
        for metric in ("variance.noise", "variance.total")
    ]  # fmt: skip


@pytest.mark.parametrize("groups", [("A",), ("none", "A")])
def test_variance_is_drawn_over_the_option(
    groups: tuple[str, ...],
    figure: Callable[..., Row],
    make_run: Callable[..., Path],
    composed: Callable[..., Document],
    tmp_path: Path,
) -> None:
    made = make_run(variance_rows(figure, groups), suite=suite() | {"published": []})
    results = load([made])
    sweeps = [s for s in sweeps_of(results, groups_of(results)) if s.axis == OPTION]
    # several families of several estimators each have a figure of their own
    assert len(sweeps) == len(groups)
    for sweep in sweeps:
        assert (sweep.over, sweep.sizes) == ("units", [100, 250, 500])
        assert sweep.labels == ["naive", "local"]
        found = sweep.get("naive", "variance.noise", "all", "theta")
        assert {x: e.value for x, e in found.items()} == {100: 400, 250: 1000, 500: 2000}
    document = composed(made)
    text = markdown(document)
    for group in groups:
        assert f"### {group} · checkpoint initial · batch 32, over units" in text
    pictures = {x: p for x, p in pictures_of(document).items() if x.startswith("scaling-option-")}
    assert len(pictures) == len(groups)
    draw_for_page(next(iter(pictures.values())), tmp_path, ["png"])
    assert next(tmp_path.glob("scaling-option-*.png")).stat().st_size > 10_000


def test_families_of_one_estimator_each_are_put_side_by_side(
    figure: Callable[..., Row], make_run: Callable[..., Path]
) -> None:
    rows = [row for row in variance_rows(figure, ("none", "A")) if row["label"] == "local"]
    results = load([make_run(rows, suite=suite() | {"published": []})])
    (sweep,) = (s for s in sweeps_of(results, groups_of(results)) if s.axis == OPTION)
    assert sweep.labels == ["none", "A"]


def test_zeros_to_rounding_are_named_and_not_drawn(
    figure: Callable[..., Row], make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    rows = variance_rows(figure, ("A",))
    for row in rows:
        if row["label"] == "local" and row["problem"] == "A-250":
            row.update(value=1e-12, ci_low=9e-13, ci_high=2e-12)
    made = make_run(rows, suite=suite() | {"published": []})
    text = report(made)
    assert "Not drawn where the variance is zero up to rounding error: local." in text


def test_exact_figures_are_drawn_at_their_sizes(
    figure: Callable[..., Row], make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    exact = [
        {"source": "exact", "metric": "variance.noise", "estimator": "local", "problem": f"A-{width}",
         "role": "theta", "value": 1.02 * width}
        for width in (100, 500)
    ]  # fmt: skip
    made = make_run(variance_rows(figure, ("A",)), suite=suite() | {"published": exact})
    results = load([made])
    (sweep,) = (s for s in sweeps_of(results, groups_of(results)) if s.axis == OPTION)
    found = exact_of(sweep, "variance.noise", "theta")
    assert found == {"local": {100: pytest.approx(102), 500: pytest.approx(510)}}
    assert exact_of(sweep, "variance.total", "theta") == {}
    text = report(made)
    assert "Crosses are exact values." in text
    section = text.partition("\n## Comparison with exact values\n")[2].partition("\n## ")[0]
    assert "Our intervals at 95 % contain 2 of 2 exact values." in section
    assert "## Comparison with published results" not in text
