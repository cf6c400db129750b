"""Reports of whole trainings: tables, paired differences, courses and histograms, from the run folder alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import reports
from reports.document import Document
from reports.figures.training_curves import shares_of
from reports.output.csv import write_csv
from reports.output.markdown import markdown
from reports.output.pictures import draw_pictures
from reports.results.load import load
from reports.results.log_alpha import maps_of
from reports.results.trainings import trainings_of
from reports.sections.training_summary import training_summary
from reports.sections.training_tables import recipe_table
from vdbench.errors import InputError

KEYS = [("none", "deterministic"), ("A", "local"), ("A2", "local")]
ERROR = {"none": 1.44, "A": 1.42, "A2": 1.5}


def trained_row(
    problem: str, label: str, metric: str, value: float, half: float, **more: Any
) -> dict[str, Any]:
    return {
        "suite": "variants", "problem": problem, "checkpoint": "trained", "estimator": label, "options": "{}",
        "objective": "likelihood", "parameterization": "theta-log_alpha", "precision": "float32",
        "device": "cpu", "batch_size": 128, "samples": 1, "seed": 0, "layer": "all", "role": "all",
        "metric": metric, "step": math.nan, "seconds": math.nan, "value": value,
        "ci_low": value - half, "ci_high": value + half, "level": 0.95, "n": 5, "unit": "percent",
        "status": "ok", "message": "", "against": "", "label": label,
    } | more  # fmt: skip


def rows() -> list[dict[str, Any]]:
    found = []
    for problem, label in KEYS:
        for metric in ("test.error", "test.error.mean_weights", "test.nll", "training.elbo"):
            found.append(trained_row(problem, label, metric, ERROR[problem], 0.05))
            found += [
                trained_row(problem, label, metric, ERROR[problem] + 8 / (1 + epoch), 0.1,
                            step=468.0 * epoch, seconds=3.0 * epoch)
                for epoch in range(5)
            ]  # fmt: skip
        found.append(trained_row(problem, label, "sparsity.compression", 4.0, 0.5, unit="1"))
        found += [trained_row(problem, label, "sparsity.share", 75.0, 2.0, layer=layer)
                  for layer in ("fc1", "all")]  # fmt: skip
        found.append(trained_row(problem, label, "sparsity.error", 1.6, 0.1))
        found.append(trained_row(problem, label, "alpha.log_median", -4.60517, 2.302585, layer="fc1",
                                 unit="1"))  # fmt: skip
    for problem, value in (("A", -0.02), ("A2", 0.06)):
        half = 0.05 if problem == "A" else 0.03
        for kind, level in (("difference", 0.95), ("adjusted.difference", 0.975)):
            found.append(trained_row(problem, "local", f"{kind}.test.error", value, half, level=level,
                                     against="none"))  # fmt: skip
    return found


def epochs() -> pd.DataFrame:
    found = []
    for problem, label in KEYS:
        for seed in range(5):
            for epoch in range(5):
                at = {"problem": problem, "estimator": label, "seed": seed, "epoch": float(epoch),
                      "step": 468.0 * epoch, "layer": "fc1", "metric": "log_alpha"}  # fmt: skip
                bins = ((20, 30.0), (24, 70.0)) if problem != "none" else ((24, 100.0),)
                found += [{**at, "bin": float(b), "value": count} for b, count in bins]
            # a map of 2 × 2 pixels, the same in every seed but for a shift
            pixels = (-4.0, -2.0, 0.0, 2.0) if problem == "A" else (1.0,) * 4
            found += [{**at, "metric": "log_alpha_map", "bin": float(b), "value": value + seed - 2}
                      for b, value in enumerate(pixels)]  # fmt: skip
    return pd.DataFrame(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "variants"
    made.mkdir()
    pd.DataFrame(rows()).to_parquet(made / "results.parquet")
    epochs().to_parquet(made / "training.parquet")
    about = {
        "schema": 1, "baseline": "local", "level": 0.95, "estimators": {}, "cells": [],
        "suite": {"name": "variants", "baseline_problem": "none", "measures": {"training": {"prune": 3.0}}},
    }  # fmt: skip
    (made / "run.json").write_text(json.dumps(about))
    return made


def test_the_report_has_tables_courses_and_histograms(
    folder: Path, composed: Callable[..., Document], tmp_path: Path
) -> None:
    document = composed(folder)
    section = markdown(document).partition("\n## Training\n")[2].partition("\n## ")[0]
    assert "| A | local | 1.42 [1.37, 1.47] | 1.42 [1.37, 1.47] |" in section
    assert "n = 5" in section
    assert "| A2 | 0.06 [0.03, 0.09] |" in section
    assert "Intervals at 97.5 %" in section
    assert "fc1 75.0 [73.0, 77.0]" in section
    assert markdown(document).count("figures/trained-variants.png") == 1  # in the first section
    assert "figures/log-alpha-variants.png" in section
    assert "does not measure" not in section
    drawings = draw_pictures(document, tmp_path, ["svg"])
    assert set(drawings) == {f"{kind}-variants" for kind in ("trained", "log-alpha", "alpha-map")}
    assert {path.name for path in tmp_path.glob("*-variants.*")} == {f"{x}.svg" for x in drawings}
    assert {"test.csv", "training.csv"} <= {path.name for path in tables_of(folder, tmp_path)}


def tables_of(folder: Path, out: Path) -> list[Path]:
    write_csv(load([folder]), out / "tables")
    return list((out / "tables").glob("*.csv"))


def test_the_answer_says_what_the_differences_show(folder: Path) -> None:
    said = dict(training_summary(trainings_of(load([folder])), several=False))
    assert said["Test error, samples:"].startswith(
        "which is lowest is inconclusive; the smallest estimate, A, 1.42 [1.37, 1.47] %, is not"
    )
    words = [
        text
        for lead, text in training_summary(trainings_of(load([folder])), several=False)
        if lead.endswith("none:")
    ]
    assert [text.partition(":")[0].partition(" at ")[0] for text in words] == [
        "A is inconclusive",
        "A2 is significantly higher, by 0.06 [0.03, 0.09] percentage points (paired by seed; interval",
    ]
    assert any("A2 is significantly higher" in line for line in reports.headline([folder]))


def test_courses_go_by_epoch(folder: Path) -> None:
    (found,) = trainings_of(load([folder]))
    course = found.course("test.error")
    assert list(course["A", "local"]) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert course["A", "local"][4.0].value == pytest.approx(1.42 + 1.6)
    low, high = found.window("test.error") or (0, 0)
    assert low < 1.42 + 1.6 - 0.1
    assert high > 1.5 + 8 / 2


def test_histograms_are_shares_of_a_layer(folder: Path) -> None:
    (found,) = trainings_of(load([folder]))
    assert found.spread
    mine = found.histogram()
    at, shares = shares_of(mine[mine["problem"] == "A"])
    # bin 20 lies between −12 + 19·½ and −12 + 20·½
    assert dict(zip(at, shares, strict=True))[-2.25] == pytest.approx(30)
    assert dict(zip(at, shares, strict=True))[-0.25] == pytest.approx(70)
    assert sum(shares) == pytest.approx(100)


def test_one_alpha_a_layer_makes_no_histogram(folder: Path) -> None:
    frame = epochs()
    frame[frame["problem"] == "none"].to_parquet(folder / "training.parquet")
    (found,) = trainings_of(load([folder]))
    assert not found.spread


@pytest.mark.parametrize("break_it", [lambda p: p.write_text("no"), lambda p: p.unlink()])
def test_a_damaged_table_is_told_and_a_missing_one_shown_without(
    folder: Path, break_it: Callable[[Path], Any], report: Callable[..., str]
) -> None:
    path = folder / "training.parquet"
    break_it(path)
    if path.exists():
        with pytest.raises(InputError, match=r"training.parquet' cannot be read as parquet"):
            load([folder])
    else:
        (found,) = trainings_of(load([folder]))
        assert found.finals("test.error")["A", "local"].value == 1.42
        assert not found.course("test.error")
        assert not found.spread
        assert "| A | local | 1.42" in report(folder)


def test_a_table_without_its_columns_is_told(folder: Path) -> None:
    epochs().drop(columns="bin").to_parquet(folder / "training.parquet")
    with pytest.raises(InputError, match="lacks the columns bin"):
        load([folder])


def test_noise_is_told_in_digits(folder: Path, report: Callable[..., str]) -> None:
    """α = 0.01 leaves one digit, α = 0.001 one and a half, α = 0.1 half a digit."""
    text = report(folder)
    assert "| A | fc1 | −4.6 [−6.9, −2.3] | 1.0 [0.5, 1.5] |" in text


def test_maps_are_means_over_seeds_of_those_that_differ(folder: Path) -> None:
    (found,) = trainings_of(load([folder]))
    maps = maps_of(found)
    assert list(maps) == [("A", "local")]
    assert maps["A", "local"].tolist() == [[-4, -2], [0, 2]]


def test_recipes_are_told(folder: Path) -> None:
    about = json.loads((folder / "run.json").read_text())
    about["suite"]["measures"]["training"] = {
        "epochs": 5, "learning_rate": 0.003, "schedule": {"kind": "step", "every": 2}, "log_alpha_bounds": [None, 0],
    }  # fmt: skip
    about["suite"]["problems"] = [{"name": "A"}, {"name": "A2", "training": {"kl_weight": 0.3333}}]
    (folder / "run.json").write_text(json.dumps(about))
    (found,) = trainings_of(load([folder]))
    table = recipe_table(found)
    assert table.columns == [
        "problem",
        "epochs",
        "learning rate",
        "schedule",
        "KL weight",
        "bounds of log α",
    ]
    assert table.rows[1] == ["A", "5", "0.003", "kind step, every 2", "", "none to 0"]
    assert table.rows[2] == ["A2", "5", "0.003", "kind step, every 2", "0.3333", "none to 0"]


def test_one_training_alone_is_told_in_short(folder: Path, report: Callable[..., str]) -> None:
    frame = pd.DataFrame(rows())
    frame[(frame["problem"] == "A") & ~frame["metric"].str.contains("difference")].to_parquet(
        folder / "results.parquet"
    )
    every = epochs()
    every[every["problem"] == "A"].to_parquet(folder / "training.parquet")
    said = dict(training_summary(trainings_of(load([folder])), several=False))
    assert said["Test error, samples:"] == "A: 1.42 [1.37, 1.47] %."
    assert (
        said["Pruned:"]
        == "A is compressed by a factor of 4.0 [3.5, 4.5]. Its test error is then 1.60 [1.50, 1.70] %."
    )
    text = report(folder)
    assert "A: 1.42" in text.partition("## Summary")[2].partition("\n## ")[0]
