from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import reports
from reports.results.load import load, unique_names
from vdbench.errors import InputError


def copied(run_folder: Path, tmp_path: Path) -> Path:
    for name in ("run.json", "results.parquet"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(run_folder / name, tmp_path / "run" / name)
    return tmp_path / "run"


def test_no_folder_at_all() -> None:
    with pytest.raises(InputError, match="at least one run folder"):
        reports.write([])


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        reports.write([tmp_path / "nowhere"])


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no run\.json"):
        reports.headline([tmp_path])


def test_results_missing(run_folder: Path, tmp_path: Path) -> None:
    folder = copied(run_folder, tmp_path)
    (folder / "results.parquet").unlink()
    with pytest.raises(InputError, match=r"has no results\.parquet"):
        reports.write([folder])


def test_results_damaged(run_folder: Path, tmp_path: Path) -> None:
    folder = copied(run_folder, tmp_path)
    (folder / "results.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        reports.write([folder])


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 4}', "{}"])
def test_run_json_of_another_kind(run_folder: Path, tmp_path: Path, text: str) -> None:
    folder = copied(run_folder, tmp_path)
    (folder / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"cannot be read as JSON|reads schemas 1 to 3"):
        reports.write([folder])


def test_a_column_missing(run_folder: Path, tmp_path: Path) -> None:
    folder = copied(run_folder, tmp_path)
    frame = pd.read_parquet(folder / "results.parquet").drop(columns=["ci_low", "label"])
    frame.to_parquet(folder / "results.parquet")
    with pytest.raises(InputError, match="lacks the columns label, ci_low"):
        reports.write([folder])


def test_missing_values_are_read(run_folder: Path, tmp_path: Path) -> None:
    folder = copied(run_folder, tmp_path)
    info = json.loads((folder / "run.json").read_text())
    assert load([folder]).runs["run"].info == info
    assert load([folder]).frame["message"].notna().all()


def test_equal_names_are_numbered(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "other"]
    assert unique_names(folders) == ["run", "run (2)", "other"]
