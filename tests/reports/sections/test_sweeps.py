from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.document import Heading, Picture, Table
from reports.figures.line_plot import line_figure, scale_of
from reports.figures.medium import styled
from reports.output.csv import write_csv
from reports.output.paper_tables import write_tex
from reports.results.estimate import Estimate
from reports.results.groups import groups_of
from reports.results.load import load
from reports.results.size_lines import cost_frames, variance_frames
from reports.results.sweeps import MINIBATCH, SAMPLES, Sweep, sweeps_of, without_samples
from reports.sections.glance_sentences import reach, slopes
from reports.sections.scaling import reading, scaling_blocks, slope_table
from reports.sections.speed import speed_blocks, speed_table
from reports.words.glossary import scaled_words

Row = dict[str, Any]
Make = Callable[..., Path]
SIZES = (8, 32, 128)
FEW = "noise from 4 of {} examples, scaled; data part and mean from local"
FAMILY = "score(baseline=leave-one-out)"


def over_sizes(figure: Callable[..., Row]) -> list[Row]:
    """Variance, seconds and slopes of three estimators at three minibatch sizes."""
    rows = []
    for size in SIZES:
        for label, noise in (("local", 1e4 / size), ("naive", 500 + 1e4 / size),
                             ("per-example", 2e4 / size), ("score(samples=4)", 1e8)):  # fmt: skip
            place = {"batch_size": size, "role": "theta", "checkpoint": "initial"}
            said = {"message": FEW.format(size)} if label == "per-example" else {}
            for metric, value in (("variance.noise", noise), ("variance.total", 1.2 * noise)):
                for layer in ("fc1", "all"):
                    where = place | said | {"layer": layer}
                    rows.append(figure(label, metric, value, 0.9 * value, 1.1 * value, **where))
            seconds = 1e-3 * size
            for metric, value, unit in (
                ("time.seconds_per_gradient", seconds, "s"),
                ("time.seconds_per_epoch", 10 * seconds, "s"),
                ("memory.peak_bytes", 2.0**20 * size, "bytes"),
            ):
                where = place | {"role": "all", "unit": unit}
                rows.append(figure(label, metric, value, 0.9 * value, 1.1 * value, **where))
    return rows


def fits(figure: Callable[..., Row]) -> list[Row]:
    """Slopes and floors over M as a run leaves them."""
    said = "over M = 8, 32, 128; the figures lie up to 0.37 half-widths from the line"
    place = {"batch_size": 0, "against": "batch_size", "checkpoint": "initial", "message": said}
    rows = []
    for label, slope, floor in (("local", -1.0, 0.5), ("naive", -0.2, 500.0)):
        for layer in ("fc1", "all"):
            where = place | {"layer": layer, "role": "theta"}
            for metric in ("slope.variance.noise", "slope.variance.total"):
                rows.append(figure(label, metric, slope, slope - 0.05, slope + 0.05, **where))
            ends = (floor, floor - 1, floor + 1)
            rows.append(figure(label, "floor.variance.noise", *ends, **where))
    return rows


def over_samples(figure: Callable[..., Row]) -> list[Row]:
    """One estimator with 2, 4 and 8 samples, and its slope."""
    rows = []
    place = {"batch_size": 32, "role": "theta", "checkpoint": "initial"}
    for samples in (2, 4, 8):
        label = f"score(baseline=leave-one-out, samples={samples})"
        value = 100.0 / samples
        rows += [
            figure(label, metric, value, 0.9 * value, 1.1 * value, **place | {"samples": samples})
            for metric in ("variance.noise", "variance.total")
        ]
    slope = place | {"samples": 0, "against": "samples", "message": "over S = 2, 4, 8"}
    return [*rows, figure(FAMILY, "slope.variance.noise", -1.0, -1.2, -0.8, **slope)]


@pytest.fixture
def sweep(figure: Callable[..., Row], make_run: Make) -> Sweep:
    """What was measured over M."""
    results = load([make_run(over_sizes(figure) + fits(figure), baseline="local")])
    (found,) = sweeps_of(results, groups_of(results))
    return found


def test_rows_over_sizes_are_of_no_place(figure: Callable[..., Row], make_run: Make) -> None:
    results = load([make_run(over_sizes(figure) + fits(figure) + over_samples(figure))])
    groups = groups_of(results)
    assert [group.batch_size for group in groups] == list(SIZES)
    assert not any(FAMILY in group.labels for group in groups)
    assert {sweep.axis for sweep in sweeps_of(results, groups)} == {MINIBATCH, SAMPLES}


def test_a_sweep_has_the_figures_by_size(sweep: Sweep) -> None:
    assert sweep.title == "digits-mlp · checkpoint initial"
    assert sweep.sizes == list(SIZES)
    noise = sweep.get("local", "variance.noise", "all", "theta")
    assert {size: e.value for size, e in noise.items()} == {8: 1250.0, 32: 312.5, 128: 78.125}


def test_samples_are_put_together_by_label(figure: Callable[..., Row], make_run: Make) -> None:
    results = load([make_run(over_samples(figure), baseline=FAMILY)])
    (found,) = sweeps_of(results, groups_of(results))
    assert (found.axis, found.labels, found.sizes) == (SAMPLES, [FAMILY], [2, 4, 8])
    table = slope_table(found)
    assert table.rows == [["theta", "all", FAMILY, "−1.00 [−1.20, −0.80]", "consistent"]]
    assert "noise ∝ 1/S" in table.columns
    assert "over S = 2, 4, 8." in table.caption


@pytest.mark.parametrize(
    ("label", "without"),
    [
        ("local", "local"),
        ("score(samples=4)", "score"),
        ("score(baseline=leave-one-out, samples=4)", FAMILY),
        (
            "samples(antithetic(local, samples=3), samples=16)",
            "samples(antithetic(local, samples=3))",
        ),
    ],
)
def test_the_option_samples_is_taken_out_of_a_label(label: str, without: str) -> None:
    assert without_samples(label) == without


def test_slopes_say_whether_noise_falls_as_one_over_the_size(sweep: Sweep) -> None:
    table = slope_table(sweep)
    assert table.columns[-2:] == ["noise ∝ 1/M", "largest distance"]
    assert table.rows[0] == ["theta", "all", "local", "−1.00 [−1.05, −0.95]", "−1.00 [−1.05, −0.95]",
                             "0.5 [0, 1.5]", "consistent", "0.37"]  # fmt: skip
    assert table.rows[1][-2] == "no, flatter"
    assert [row[1] for row in table.rows] == ["all", "all", "fc1", "fc1"]
    assert reading(Estimate(-1.5, -1.6, -1.4)) == "no, steeper"
    assert reading(Estimate(math.nan)) == reading(None) == "–"


def test_the_answer_says_of_whom_the_law_is_not_excluded(sweep: Sweep) -> None:
    assert slopes([sweep]) == (
        "The noise part is consistent with 1/M for local (slope for the means θ: −1.00 [−1.05, −0.95]); falls more "
        "slowly for naive (slope for the means θ: −0.20 [−0.25, −0.15])."
    )
    assert reach([Estimate(-1.0, -1.1, -0.9), Estimate(-0.8, -0.85, -0.7)]) == "−1.1 to −0.7"


def test_the_figure_shows_every_estimator_against_a_slope(sweep: Sweep) -> None:
    with styled():
        figure = line_figure(sweep, variance_frames(sweep))
    noise, total = figure.axes
    assert [axes.get_title() for axes in (noise, total)] == ["theta · noise part", "theta · total"]
    assert list(noise.get_xticks()) == list(SIZES)
    lines = {tuple(line.get_ydata()) for line in noise.get_lines() if len(line.get_xdata()) == 3}
    assert (1250.0, 312.5, 78.125) in lines
    assert len(lines) == 4  # the one far above is on the axis, too
    assert noise.get_ylim()[1] > 1e8
    guide = next(line for line in noise.get_lines() if line.get_linestyle() == ":" or
                 (len(line.get_xdata()) == 2 and line.get_zorder() == 1))  # fmt: skip
    (x0, x1), (y0, y1) = guide.get_xdata(), guide.get_ydata()
    assert math.log(y1 / y0) / math.log(x1 / x0) == pytest.approx(-1)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["local", "naive", "per-example", "score(samples=4)", "slope −1"]


def test_the_section_has_figure_and_table(sweep: Sweep) -> None:
    kinds = [type(block) for block in scaling_blocks([sweep])]
    assert kinds[0] is Heading
    assert kinds[2:] == [Picture, Table]


def test_scaled_noise_is_marked_with_all_its_sizes(sweep: Sweep) -> None:
    assert sweep.name("per-example") == "per-example ‡"
    assert scaled_words(sweep.few_examples("per-example")) == (
        "noise measured on 4 of 8, 4 of 32, 4 of 128 examples of each minibatch and scaled to all; data part and mean "
        "are those of local"
    )
    assert sweep.name("local") == "local"


def test_speed_over_sizes(sweep: Sweep) -> None:
    table = speed_table(sweep)
    assert table.columns == [
        "minibatch size M",
        "estimator",
        "time per gradient",
        "time per epoch",
        "peak memory",
    ]
    assert table.rows[0][:3] == ["8", "local", "8.0 [7.2, 8.8] ms"]
    assert len(table.rows) == 12
    kinds = [type(block) for block in speed_blocks([sweep])]
    assert kinds == [Heading, Picture, Table]
    frames = cost_frames(sweep)[0]
    assert [scale_of(frame)[0] for frame in frames] == ["time (ms)", "memory (MiB)"]
    assert frames[1].lines["local"][8].scaled(scale_of(frames[1])[1]).value == 8


def test_two_sizes_have_a_speed_but_no_slope(figure: Callable[..., Row], make_run: Make) -> None:
    rows = [row for row in over_sizes(figure) if row["batch_size"] < 100]
    results = load([make_run(rows, baseline="local")])
    found = sweeps_of(results, groups_of(results))
    assert scaling_blocks(found) == []
    assert len(speed_blocks(found)) == 3


def test_a_report_has_both_sections(
    figure: Callable[..., Row], make_run: Make, report: Callable[..., str], tmp_path: Path
) -> None:
    folder = make_run(over_sizes(figure) + fits(figure), baseline="local")
    text = report(folder)
    assert "## Scaling of the variance" in text
    assert "## Time and memory against minibatch size" in text
    assert "batch 0" not in text
    results, tables = load([folder]), tmp_path / "tables"
    groups = groups_of(results)
    write_csv(results, tables)
    write_tex(groups, sweeps_of(results, groups), tables)
    assert {"slopes.csv", "slopes-theta.tex", "speed.tex"} <= {p.name for p in tables.iterdir()}
