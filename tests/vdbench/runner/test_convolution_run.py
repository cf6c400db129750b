"""A whole run on a small network with convolutions: every measure, and what is said of the objectives served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from memory_here import measure_here

import vdbench
from vdbench import InputError, problems
from vdbench.estimation.options import get
from vdbench.runner import record
from vdbench.runner.finished import Finished

SUITE: dict[str, Any] = {
    "name": "convolutions",
    "threads": 1,
    "problems": [
        {"name": "images", "options": {"model": "kingma-cifar", "size": 0.0625, "pooling": "max"}},
    ],
    "checkpoints": [{"epochs": 1, "estimator": "local", "batch_size": 128}],
    "batch_sizes": [8],
    "estimators": [
        "naive",
        "local",
        "per-example",
        {"name": "samples", "options": {"of": "local", "samples": 2}},
    ],
    "baseline": "naive",
    "reference": "naive",
    "measures": {
        "variance": {
            "first_units": 32, "max_units": 64, "precision": 0.5,
            "few_examples": {"per-example": 2}, "data_from": "naive",
        },
        "bias": {"units": 8, "draws": 4},
        "throughput": {"rounds": 8, "budget_seconds": 2},
        "memory": {"repetitions": 2},
        "convergence": {"steps": 8, "evaluations": 2, "seeds": 2, "samples": 2, "examples": 64},
    },
}  # fmt: skip
LOCAL = "elbo-local-noise"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("convolutions")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("VDBENCH_CACHE", str(folder / "cache"))
        measure_here(monkeypatch)
        return vdbench.run(SUITE, folder / "run")


@pytest.fixture(scope="module")
def table(done: Finished) -> pd.DataFrame:
    return pd.read_parquet(done.folder / "results.parquet")


def test_every_measure_is_taken(done: Finished, table: pd.DataFrame) -> None:
    assert done.failed == 0
    cells = json.loads((done.folder / "run.json").read_text())["cells"]
    assert len(cells) == 4 * 5
    metrics = {
        "variance.noise", "variance.data", "variance.total", "relative_bias", "snr", "memory.peak_bytes",
        "time.seconds_per_gradient", "convergence.final_elbo", "test.error",
    }  # fmt: skip
    found = table[table["problem"] == "images"]
    assert metrics <= set(found["metric"])
    for metric in metrics - {"relative_bias"}:
        rows = found[(found["metric"] == metric) & (found["layer"] == "all")]
        assert rows["value"].notna().all(), metric
    layers = set(found[found["metric"] == "variance.noise"]["layer"])
    assert layers == {"all", "conv1", "conv2", "fc1", "fc2", "fc3"}
    few = found[(found["label"] == "per-example") & (found["metric"] == "variance.noise")]
    assert few["message"].str.contains("noise from 2 of 8 examples").all()


def test_results_say_which_objective_is_served(done: Finished, table: pd.DataFrame) -> None:
    served = {label: set(rows["serves"]) for label, rows in table.groupby("label")}
    wanted = {label: {LOCAL if "local" in label else "elbo"} for label in served}
    assert served == wanted
    assert set(table["objective"]) == {"likelihood"}
    about = json.loads((done.folder / "run.json").read_text())["problems"]["images"]
    assert about["shared"] == ["conv1", "conv2"]
    assert {label: {objective} for label, objective in about["objectives"].items()} == wanted
    assert "conv2 4×2×5×5" in about["description"]
    assert about["description"].endswith("(outputs × inputs × height × width)")


def test_dense_problems_serve_what_is_declared() -> None:
    problem = problems.classification("digits", [4])
    about = record.describe_problem(problem, [get("local"), get("deterministic")])
    assert about["shared"] == []
    assert about["objectives"] == {"local": "elbo", "deterministic": "mean-weights"}
    assert about["description"].endswith("(outputs × inputs)")


@pytest.mark.usefixtures("undrawn")
def test_the_report_says_it(done: Finished) -> None:
    from reports.output.write import build

    page = build([done.folder], None)
    for file in (page, page.with_name("report.md")):
        text = " ".join(file.read_text(encoding="utf-8").split())
        assert text.count("Different objective:") == 1, file
        assert (
            "the weights of layers conv1 and conv2 are used at several positions of each example"
            in text
        )
        assert "local and samples(local, samples=2) draw separate noise for each position" in text
        assert f"elbo; on images {LOCAL}" in text
        assert "different objective: a bias is expected" in text


def test_a_data_part_of_another_objective_is_refused(tmp_path: Path) -> None:
    measures = {"variance": {"few_examples": {"per-example": 2}, "data_from": "local"}}
    suite = {**SUITE, "measures": measures}
    with pytest.raises(
        InputError,
        match=r"'per-example' cannot take its data part from 'local' on problem 'images', whose layers conv1, conv2 "
        r"use a weight at several places: they estimate gradients of different objectives there, elbo and "
        r"elbo-local-noise\.$",
    ):
        vdbench.run(suite, tmp_path / "run")
    assert not (tmp_path / "run").exists()
