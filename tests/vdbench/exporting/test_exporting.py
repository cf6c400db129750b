"""A run in the formats of other tools, read back by these tools where they are installed."""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vdbench
from vdbench.exporting import NAMES, export
from vdbench.store import tables

SUITE: dict[str, Any] = {
    "name": "exported",
    "threads": 1,
    "problems": [{"name": "digits", "options": {"widths": [4]}}],
    "batch_sizes": [8, 16],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 1},
        "variance": {"first_units": 16, "max_units": 16},
        "convergence": {
            "steps": 4,
            "evaluations": 2,
            "seeds": 2,
            "samples": 2,
            "examples": 50,
            "batch_size": 8,
        },
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vdbench.run(SUITE, tmp_path_factory.mktemp("exported") / "run", isolate=False).folder


@pytest.fixture(scope="module")
def frame(run: Path) -> pd.DataFrame:
    return tables.read_frame(run / "results.parquet")[0]


def one(frame: pd.DataFrame, label: str, metric: str, size: int, role: str = "all") -> Any:
    at = (frame["label"] == label) & (frame["metric"] == metric) & (frame["batch_size"] == size)
    return frame[at & (frame["layer"] == "all") & (frame["role"] == role)].iloc[0]


def test_pytest_benchmark_reads_its_own(run: Path, frame: pd.DataFrame) -> None:
    (path,) = export(run, "pytest-benchmark")
    content = json.loads(path.read_text())
    assert len(content["benchmarks"]) == 4
    for benchmark in content["benchmarks"]:
        named = benchmark["params"]
        row = one(frame, named["estimator"], "time.seconds_per_gradient", named["batch_size"])
        assert benchmark["stats"]["median"] == row["value"]
        assert benchmark["stats"]["rounds"] == row["n"]
        scale = one(frame, named["estimator"], "variance.total", named["batch_size"], "scale")
        info = benchmark["extra_info"]["variance.total scale"]
        assert [info[k] for k in ("value", "ci_low", "ci_high")] == [
            scale[k] for k in ("value", "ci_low", "ci_high")
        ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(path), "--columns", "median,rounds"],
        capture_output=True, text=True, check=False, cwd=run,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("gradient[local]") == 2


def test_asv_has_every_figure_in_the_order_of_its_parameters(
    run: Path, frame: pd.DataFrame
) -> None:
    written = {path.name: path for path in export(run, "asv")}
    about = json.loads(written["benchmarks.json"].read_text())
    assert about.pop("version") == 2
    (results,) = (
        p for name, p in written.items() if name not in ("benchmarks.json", "machine.json")
    )
    content = json.loads(results.read_text())
    assert content["version"] == 2
    assert set(content["results"]) == set(about)
    assert json.loads(written["machine.json"].read_text())["version"] == 1
    columns = content["result_columns"]
    for own, metric, role in (
        ("vdbench.variance.total_scale", "variance.total", "scale"),
        ("vdbench.time.seconds_per_gradient", "time.seconds_per_gradient", "all"),
    ):
        found = dict(zip(columns, content["results"][own], strict=False))
        assert found["params"] == about[own]["params"]
        places = list(itertools.product(*found["params"]))
        assert len(found["result"]) == len(places)
        for key, value, low, high in zip(
            places, found["result"], found["stats_ci_99_a"], found["stats_ci_99_b"], strict=True
        ):
            checkpoint, size, label = (eval(text) for text in key[1:])
            if checkpoint == "training":
                assert value is None
                continue
            row = one(frame, label, metric, size, role)
            assert value == row["value"]
            # at 99 %: wider than the run's own; 8 rounds have no interval of ranks at that level
            assert low is None or low <= row["ci_low"]
            assert high is None or high >= row["ci_high"]


def test_asv_itself_reads_them(run: Path) -> None:
    results = pytest.importorskip("asv.results")
    path = next(p for p in export(run, "asv") if p.name not in ("benchmarks.json", "machine.json"))
    loaded = results.Results.load(str(path))
    assert "vdbench.variance.total_scale" in loaded.get_all_result_keys()


def test_wandb_has_intervals_as_min_and_max(run: Path, frame: pd.DataFrame) -> None:
    written = {path.name: pd.read_csv(path) for path in export(run, "wandb-csv", run / "elsewhere")}
    runs = written["runs.csv"]
    mine = runs[(runs["estimator"] == "local") & (runs["batch_size"] == 16)].iloc[0]
    row = one(frame, "local", "variance.total", 16, "scale")
    got = [mine[f"variance.total scale{end}"] for end in ("", "__MIN", "__MAX")]
    assert got == pytest.approx([row["value"], row["ci_low"], row["ci_high"]], rel=1e-12)
    history = written["history.csv"]
    assert list(history["Step"]) == sorted(history["Step"])
    names = [name for name in history if name.endswith("__MIN")]
    assert names
    for name in names:
        low, value, high = (
            history[name.replace("__MIN", end)].dropna() for end in ("__MIN", "", "__MAX")
        )
        assert (low <= value).all()
        assert (value <= high).all()


def test_tensorboard_is_written_or_said_to_be_missing(run: Path, frame: pd.DataFrame) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(vdbench.InputError, match="needs the package tensorboard"):
            export(run, "tensorboard")
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = export(run, "tensorboard")
    found = EventAccumulator(
        str(next(p for p in folder.iterdir() if "M=16" in p.name and "local" in p.name))
    )
    found.Reload()
    row = one(frame, "local", "variance.total", 16, "scale")
    for end, column in (("", "value"), ("/ci_low", "ci_low"), ("/ci_high", "ci_high")):
        (scalar,) = found.Scalars(f"variance.total/scale{end}")
        assert scalar.value == pytest.approx(row[column], rel=1e-6)


def test_what_cannot_be_exported_is_one_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(vdbench.InputError, match=r"there is no such format\. Did you mean 'asv'"):
        export(run, "asw")
    for name in NAMES:
        with pytest.raises(vdbench.InputError, match=r"run\.json|no run|is not"):
            export(tmp_path, name)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(vdbench.InputError, match="is a file, expected a folder"):
        export(run, "asv", file / "below")


def test_a_run_without_times_has_no_benchmarks(tmp_path: Path) -> None:
    few = {k: v for k, v in SUITE["measures"].items() if k == "variance"}
    folder = vdbench.run({**SUITE, "measures": few}, tmp_path / "run", isolate=False).folder
    with pytest.raises(vdbench.InputError, match="expected a run with the measure throughput"):
        export(folder, "pytest-benchmark")
    assert np.isfinite(pd.read_csv(export(folder, "wandb-csv")[0])["variance.total scale"]).all()
