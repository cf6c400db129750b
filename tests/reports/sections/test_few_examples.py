from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]
FEW = "noise from 8 of 128 examples, scaled; data part and mean from local"
"""As a run of schema 1 says it."""
SAID = "noise measured on 8 of 128 examples of each minibatch and scaled to all; data part and mean are those of local"


@pytest.fixture
def text(first_rows: list[Row], make_run: Callable[..., Path], report: Callable[..., str]) -> str:
    """A report in which the noise of one estimator was measured on few examples."""
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
    return report(make_run(rows))


def test_what_was_scaled_is_marked_and_explained_everywhere(text: str) -> None:
    for title in (
        "Results by place",
        "Variance by layer",
        "Variance relative to the baseline",
        "Signal-to-noise",
    ):
        section = text.split(f"## {title}")[1].split("\n## ")[0]
        assert "per-example ‡ |" in section, title
        assert f"‡ per-example: {SAID}." in section, title
        assert "local ‡" not in section
    method = text.split("## Method and glossary")[1]
    assert "**Noise from a subset of examples.** Marked ‡." in method


def test_what_was_not_is_not(text: str) -> None:
    assert "‡" not in text.split("## Cost per gradient")[1].split("\n## ")[0]


def test_a_run_without_says_nothing_of_it(
    first_rows: list[Row], make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    text = report(make_run(first_rows))
    assert "‡" not in text
    assert "Noise from a subset" not in text
