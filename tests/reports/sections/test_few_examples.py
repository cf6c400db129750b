from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reports

Row = dict[str, Any]
FEW = "noise from 8 of 128 examples, scaled; data part and mean from local"


@pytest.fixture
def report(
    first_rows: list[Row], make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A report in which the noise of one estimator was measured on few examples."""
    monkeypatch.setattr("reports.figures.draw.draw_for_paper", lambda *_: None)
    rows = []
    for row in first_rows:
        mine = row["metric"].startswith(("variance.", "snr")) and row["label"] == "per-example"
        other = row["metric"].startswith("ratio.variance") and row["against"] == "per-example"
        rows.append(row | {"message": FEW if mine else f"per-example: {FEW}" if other else ""})
    rows = [
        row | {"message": f"n = 3 is too small; {FEW}", "status": "bounded"}
        if row["label"] == "per-example" and row["metric"] == "variance.noise"
        else row
        for row in rows
    ]
    return reports.write([make_run(rows)]).parent


def test_what_was_scaled_is_marked_and_explained_everywhere(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    page = (report / "index.html").read_text(encoding="utf-8")
    for title in (
        "In short",
        "Variance by layer and role",
        "Ratio to the baseline",
        "Signal-to-noise",
    ):
        section = text.split(f"## {title}")[1].split("\n## ")[0]
        assert "per-example ‡ |" in section, title
        assert f"‡ per-example: {FEW}." in section, title
        assert "local ‡" not in section
    assert page.count(f"‡ per-example: {FEW}.") >= 4
    method = text.split("## How it was measured")[1]
    assert "**Noise from few examples.** Marked ‡:" in method


def test_what_was_not_is_not(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "‡" not in text.split("## Cost of a gradient")[1].split("\n## ")[0]


def test_a_run_without_says_nothing_of_it(
    first_rows: list[Row], make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.figures.draw.draw_for_paper", lambda *_: None)
    text = reports.write([make_run(first_rows)]).with_name("report.md").read_text(encoding="utf-8")
    assert "‡" not in text
    assert "Noise from few examples" not in text
