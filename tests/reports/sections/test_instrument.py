from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reports
from reports.figures.coverage import coverage_figure
from reports.figures.medium import styled
from reports.output.csv import write_csv
from reports.results.groups import groups_of
from reports.results.instrument import claimed, coverage_dots, places
from reports.results.load import Results, load
from reports.sections.instrument import instrument_blocks, summary
from reports.sections.instrument_tables import coverage_table, power_table, stops_table

Row = dict[str, Any]
KILLS = "20 kills in 20 campaigns; 8 figures of a small suite each, compared bit by bit"
TEST = "at least {} % {}rejected, p = 0.5 (Holm over 4 figures); truth 3"


def rows(figure: Callable[..., Row]) -> list[Row]:
    """Coverage, false alarms, power and kills as a run leaves them."""
    some = {"n": 2000, "unit": "1", "status": "ok", "role": "mean"}
    found = []
    for label, share in (("local", 0.951), ("naive", 0.962)):
        for layer, less in (("all", 0.0), ("fc1", 0.004)):
            value = share - less
            said = {"layer": layer, "message": TEST.format(95, "not ")}
            found.append(figure(label, "coverage.variance.total", value, value - 0.01,
                                value + 0.008, **some | said))  # fmt: skip
    bad = {"message": TEST.format(99.75, ""), "status": "rejected", "against": "naive"}
    found.append(
        figure("local", "coverage.pairwise.variance.total", 0.97, 0.96, 0.98, **some | bad)
    )
    for look, share in ((64.0, 0.25), (128.0, 0.75)):
        found.append(figure("local", "coverage.stopped_at", share, share - 0.02, share + 0.02,
                            **some | {"step": look, "role": "all"}))  # fmt: skip
    found += [
        figure("local", "coverage.converged", 0.9, 0.88, 0.91, **some | {"role": "all"}),
        figure("local", "coverage.smallest", 0.947, 0.937, 0.955, **some),
        figure("local", "width.variance.total", 1.23, 1.22, 1.24, **some),
        figure("local", "false_alarms.variance.total", 0.04, 0.03, 0.05, **some),
        figure("naive", "false_alarms.pooled.variance.total", 0.045, 0.034, 0.06, **some),
        figure("naive", "kills.equal", 1.0, 0.83, 1.0, **some | {"message": KILLS, "n": 20}),
    ]
    for step, seen in ((0.05, 0.3), (0.2, 0.99)):
        at = some | {"step": step, "against": "precision=0.05"}
        for kind, share in (("power", seen), ("wrong", 0.001)):
            metric = f"{kind}.independent.variance.total"
            found.append(figure("naive", metric, share, 0.9 * share, share, **at))
    return found


@pytest.fixture
def results(figure: Callable[..., Row], make_run: Callable[..., Path]) -> Results:
    return load([make_run(rows(figure))])


def test_rows_about_vdbench_are_of_no_place(results: Results) -> None:
    assert groups_of(results) == []
    assert [title for _, title, _ in places(results)] == [
        "digits-mlp · checkpoint initial · batch 128"
    ]


def test_the_summary_names_what_is_worst_for_its_level(results: Results) -> None:
    ((_, _, found),) = places(results)
    said = dict(summary(found, 0.95))
    assert said["Coverage:"] == (
        "5 rates tested, 1 rejected. The lowest relative to its level is that of pairwise.variance.total "
        "(local, mean, all layers, to naive): 97.0 [96.0, 98.0] % at a claimed level of 99.75 %."
    )
    assert said["False alarms:"].endswith(
        "The highest rate over all estimators is that of variance.total (every estimator, mean, all layers): "
        "4.5 [3.4, 6.0] % of comparisons of an estimator with itself."
    )
    assert said["Power:"].startswith("a difference of 20 % is detected in 99 %")
    assert "The highest rate of calls in the wrong direction is 0.100 [" in said["Power:"]
    assert said["Killed and resumed runs, equal results:"] == (
        "100 [83, 100] % of campaigns (20 kills in 20 campaigns; in each, 8 figures compared bit by bit)."
    )


def test_coverage_by_metric(results: Results) -> None:
    ((_, _, found),) = places(results)
    table = coverage_table(found)
    assert table.rows[0] == ["variance.total", "95 %", "4", "95.45 %", "94.7 [93.7, 95.5] %",
                             "local, mean, fc1", "0", "0"]  # fmt: skip
    assert table.rows[1][1] == "99.75 %"
    assert table.rows[1][-2] == "1"
    assert "n = 2,000 repetitions" in table.caption


def test_where_runs_stopped_and_what_was_seen(results: Results) -> None:
    ((_, _, found),) = places(results)
    stops = stops_table(found, 0.95)
    assert stops.columns == ["estimator", "stopped at 64", "stopped at 128", "precision reached"]
    assert stops.rows == [
        ["local", "25.0 [23.0, 27.0] %", "75.0 [73.0, 77.0] %", "90.0 [88.0, 91.0] %"]
    ]
    power = power_table(found, 0.95)
    assert power.columns[-2:] == ["+5 %", "+20 %"]
    assert power.rows[0][-2:] == ["30 [27, 30] %", "99 [89, 99] %"]


def test_the_level_claimed_is_what_the_message_says(results: Results) -> None:
    ((_, _, found),) = places(results)
    levels = {dot.metric: dot.level for dot in coverage_dots(found, 0.9)}
    assert levels == {"variance.total": 0.95, "pairwise.variance.total": 0.9975}
    other = next(found[found["metric"].str.startswith("width.")].itertuples(index=False))
    assert claimed(other, 0.9) == 0.9


def test_the_figure_has_a_dot_a_share_and_a_line_a_level(results: Results) -> None:
    ((_, _, found),) = places(results)
    dots = coverage_dots(found, 0.95)
    with styled():
        (axes,) = coverage_figure(dots).axes
    shown = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
    assert sorted(shown) == sorted(dot.share.value for dot in dots)
    upright = {line.get_xdata()[0] for line in axes.get_lines()
               if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]}  # fmt: skip
    assert upright == {0.95, 0.9975}
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["variance.total", "pairwise.variance.total"]


def test_a_report_of_nothing_else_answers_with_it(
    figure: Callable[..., Row], make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    folder = make_run(rows(figure))
    text = report(folder)
    short = text.split("## Results by place")[1].split("\n## ")[0]
    assert "**Coverage:** 5 rates tested, 1 rejected" in short
    section = text.split("\n## Reliability of the intervals\n")[1].split("\n## ")[0]
    assert section.count("| metric |") == 4  # coverage, widths, false alarms, power
    assert "![Coverage, digits-mlp" in text.split("## Summary")[1].split("\n## ")[0]
    assert reports.headline([folder])[0].startswith(
        "digits-mlp · checkpoint initial · batch 128. Cov"
    )
    write_csv(load([folder]), folder)
    assert (folder / "instrument.csv").is_file()


def test_other_runs_have_no_such_section(run_folder: Path) -> None:
    assert instrument_blocks(load([run_folder])) == []
