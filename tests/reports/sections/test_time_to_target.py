"""Times to a target in the report: known, censored, and whether the variance predicts them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from matplotlib.colors import to_hex

from reports.figures.identity import sign
from reports.figures.medium import styled
from reports.figures.time_to_target import SECONDS, target_figure
from reports.results.groups import groups_of
from reports.results.load import load
from reports.results.ranking import EFFICIENCY
from reports.sections import glance_sentences
from reports.sections.section import Findings
from reports.sections.time_to_target import taken, verdict

if TYPE_CHECKING:
    from matplotlib.text import Annotation

Row = dict[str, Any]
INF = math.inf


def of(
    figure: Callable[..., Row], label: str, seconds: tuple[float, float, float], reached: int = 10
) -> list[Row]:
    """Rows of an estimator whose steps are 100 times its seconds, and whose ratios to the baseline are these."""
    known = math.isfinite(seconds[0])
    status = "ok" if known else "bounded"

    def row(metric: str, factor: float, rate: str, unit: str, **more: Any) -> Row:
        facts = {
            "target": -1300.0, "reached": reached, "seeds": 10, "most_steps": 800,
            "learning_rate": 0.03 if rate == "shared" else 0.1,
        }  # fmt: skip
        values = [factor * x for x in seconds]
        return figure(label, f"{metric}.{rate}", *values, unit=unit, status=status, n=10,
                      detail=json.dumps(facts), **more)  # fmt: skip

    found = []
    for rate in ("shared", "own"):
        found += [row("target.steps", 100, rate, "steps"), row("target.seconds", 1, rate, "s")]
        if label != "naive":
            for name in ("steps", "seconds"):
                metric = f"adjusted.ratio.target.{name}"
                found.append(row(metric, 0.5, rate, "1", against="naive"))
    return found


@pytest.fixture
def folder(
    make_run: Callable[..., Path], figure: Callable[..., Row], first_rows: list[Row]
) -> Path:
    rows = of(figure, "naive", (2.0, 1.5, 2.5)) + of(figure, "local", (1.0, 0.8, 1.4))
    rows += of(figure, "per-example", (math.nan, 8.0, INF), reached=3)
    rows += [
        figure("naive", f"correlation.target.{name}.{rate}", 0.8, 0.6, 1.0, unit="1", role=role, n=4,
               status="ok")
        for name in ("steps", "seconds") for rate in ("shared", "own") for role in ("mean", "scale")
    ]  # fmt: skip
    return make_run(first_rows + rows)


def test_the_table(folder: Path, report: Callable[..., str]) -> None:
    text = report(folder)
    start = text.index("## Time to a target ELBO")
    part = text[start : text.index("\n## ", start + 1)]
    assert "| steps at 0.03 | own rate |" in part
    rows = {line.split(" | ")[0]: line for line in part.splitlines() if line.startswith("| ")}
    assert "| 0.1 | 200 [150, 250] |" in rows["| naive"]
    assert rows["| local"].endswith(
        "| 0.50 [0.40, 0.70] | 1.0 [0.8, 1.4] s | 0.50 [0.40, 0.70] | shorter |"
    )
    assert "more than 800 (3 of 10 reached it)" in rows["| per-example"]
    assert rows["| per-example"].endswith("| [4.0, ∞] | – | [4.0, ∞] | longer |")
    assert "| mean | variance × time and seconds | 0.80 [0.60, 1.00] | 0.80 [0.60, 1.00] |" in part
    assert "−1,300 nats" in part


def test_a_report_without_them_has_no_section(
    make_run: Callable[..., Path], first_rows: list[Row], report: Callable[..., str]
) -> None:
    assert "Time to a target ELBO" not in report(make_run(first_rows))


def test_the_picture_has_an_arrow_where_most_are_censored(folder: Path) -> None:
    group = next(g for g in Findings(load([folder])).groups if g.has("target.steps"))
    axes = target_figure(group).axes
    assert [a.get_title().splitlines()[1] for a in axes] == 2 * [
        "rank correlation 0.80 [0.60, 1.00]"
    ]
    assert [len(a.texts) for a in axes] == [1, 1]
    arrows = [cast("Annotation", a.texts[0]).arrow_patch for a in axes]
    colours = {to_hex(arrow.get_edgecolor()) for arrow in arrows if arrow is not None}
    assert colours == {sign("per-example").colour}


def test_a_mark_that_another_covers_is_larger(folder: Path) -> None:
    group = next(g for g in Findings(load([folder])).groups if g.has("target.steps"))
    figures = dict(group.figures)
    for metric, role in ((SECONDS, "all"), (EFFICIENCY, "mean")):
        figures["local", metric, "all", role] = figures["naive", metric, "all", role]
    with styled():
        axes = target_figure(replace(group, figures=figures)).axes[0]
    sizes = {
        line.get_color(): line.get_markersize()
        for line in axes.lines
        if line.get_marker() != "None"
    }
    assert sizes[sign("naive").colour] > sizes[sign("local").colour]
    assert sizes[sign("local").colour] == sizes[sign("per-example").colour]


def test_what_is_not_known_is_not_judged() -> None:
    assert verdict(None) == ""
    assert taken(None) == "–"


def test_the_first_screen_says_whether_variance_foretells_time(folder: Path) -> None:
    said = " ".join(glance_sentences.verdict(Findings(load([folder]))))
    assert "Rank correlation of variance × time with seconds to the target" in said
    assert "0.80 [0.60, 1.00] for the means μ and 0.80 [0.60, 1.00] for the scales log σ²" in said


def test_two_winners_are_no_open_question() -> None:
    results = Path(__file__).parents[3] / "docs" / "results" / "time-to-target"
    (group, _) = groups_of(load([results]))
    said = glance_sentences.one_place(group)[0]
    assert said.startswith("No one estimator is the lowest by variance × time for all parameters:")
