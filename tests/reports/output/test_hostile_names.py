"""Names that command a terminal, a browser or a spreadsheet, or give one file name; and the user's own settings."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from rich.console import Console

import reports
from reports.output import pictures
from vdbench import schema

NAMES = ("a\x1b[31mb", "a.b", "a,b", "=HYPERLINK(1)", "\x9b2J\x1b]0;t\x07", "<b>&\u202e")
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def rows() -> list[dict[str, Any]]:
    base: dict[str, Any] = {
        name: "" if kind == "str" else 0 if kind.startswith("int") else float("nan")
        for name, (kind, _) in schema.COLUMNS.items()
    }
    base |= {
        "suite": "s", "checkpoint": "initial", "estimator": "naive", "label": "naive", "options": "{}",
        "objective": "likelihood", "serves": "elbo", "parameterization": "mean-log_variance", "precision": "float32",
        "device": "cpu", "batch_size": 16, "samples": 1, "layer": "all", "level": 0.95, "n": 64, "unit": "gradient²",
        "status": "ok", "message": "+1 \x1b[31m", "detail": "", "metric": "variance.total", "role": "mean",
    }  # fmt: skip
    found = []
    for number, name in enumerate(NAMES, 1):
        for label, value in (("naive", 2.0 * number), ("local", 1.0 * number)):
            where = {"problem": name, "label": label, "estimator": label}
            found.append(
                base | where | {"value": value, "ci_low": 0.9 * value, "ci_high": 1.1 * value}
            )
            ratio = {
                "metric": "ratio.variance.total",
                "against": "naive",
                "unit": "",
                "value": value / (2 * number),
            }
            found.append(base | where | ratio | {"ci_low": 0.4, "ci_high": 1.1})
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with such names."""
    made = tmp_path_factory.mktemp("hostile")
    pd.DataFrame(rows()).to_parquet(made / "results.parquet")
    info = {
        "schema": schema.RUN, "suite": {"name": "s\x1b[0m", "problems": [{"name": name} for name in NAMES]},
        "baseline": "naive", "level": 0.95, "command": "vdbench run \x1b]0;x\x07", "device": "cpu",
        "problems": {name: {"description": f"of {name}"} for name in NAMES}, "estimators": {},
        "cells": [{"problem": NAMES[0], "checkpoint": "initial", "batch_size": 16, "estimator": "naive",
                   "measure": "bias", "status": "failed", "reason": "=1+1 \x1b[2J", "n": 0, "detail": {}}],
    }  # fmt: skip
    (made / "run.json").write_text(json.dumps(info))
    return made


@pytest.mark.filterwarnings("ignore:Glyph")
def test_nothing_is_obeyed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PAPER", "none")
    reports.write([folder], folder / "report", ("svg",))
    for file in (folder / "report").rglob("*"):
        if file.suffix in (".html", ".md", ".svg", ".csv", ".tex"):
            found = RAW.search(file.read_bytes().decode("utf-8"))
            assert not found, (file, found)
    text = (folder / "report" / "report.md").read_text()
    assert r"x1b[31m" in text
    console = Console(file=io.StringIO(), width=160)
    console.print(reports.headline_table([folder]))
    said = console.file.getvalue() + "\n".join(reports.headline([folder]))  # type: ignore[attr-defined]
    assert not RAW.search(said)
    # no cell is a formula
    for file in (folder / "report" / "tables").glob("*.csv"):
        for row in csv.reader(io.StringIO(file.read_text())):
            for cell in row:
                assert cell[:1] not in "=@+\t" or not cell, (file, cell)
                assert cell[:1] != "-" or float(cell) < 0
    # every problem has pictures and anchors of its own
    figures = re.findall(r"\]\(figures/(.*?)\)", text)
    assert len(figures) == len(set(figures)) >= len(NAMES)
    assert {*figures} <= {file.name for file in (folder / "report" / "figures").iterdir()}
    ids = re.findall(r' id="(.*?)"', (folder / "report" / "index.html").read_text())
    assert len(ids) == len(set(ids))


SETTINGS = {
    "text.usetex": True,
    "font.size": 30.0,
    "axes.facecolor": "red",
    "svg.fonttype": "path",
    "lines.linewidth": 9,
}


@pytest.mark.filterwarnings("ignore:Glyph")
def test_the_users_settings_change_no_figure(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "PAPER", "none")
    reports.write([folder], tmp_path / "plain", ("svg",))
    with mpl.rc_context(SETTINGS):
        reports.write([folder], tmp_path / "own", ("svg",))
        assert mpl.rcParams["text.usetex"]
    for file in (tmp_path / "plain" / "figures").glob("*.svg"):
        assert file.read_text() == (tmp_path / "own" / "figures" / file.name).read_text()
