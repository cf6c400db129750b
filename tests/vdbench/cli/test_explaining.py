"""What ``--explain`` says of a run's cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vdbench.cli.app import app

SUITE = """
name: explained
problems: [{name: digits, options: {widths: [4]}}]
batch_sizes: [8]
estimators: [local, score]
baseline: local
measures: {variance: {first_units: 4, max_units: 4}}
"""


def test_each_cell_has_its_way_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run says it of what it measured; taken up again, that there was nothing left to measure."""
    monkeypatch.chdir(tmp_path)
    Path("suite.yaml").write_text(SUITE)
    words = ["run", "suite.yaml", "--out", "run", "--explain", "--quiet"]
    first, again = (CliRunner().invoke(app, words) for _ in range(2))
    assert first.exit_code == again.exit_code == 0, first.output + again.output
    assert re.search(r"8 +local +products +gradients are products +[0-9.]+ MiB", first.output), (
        first.output
    )
    why = "the estimator is not one of sampled pre-activations alone"
    assert re.search(rf"8 +score +together +{why}", first.output), first.output
    assert len(re.findall("none: all its figures were there already", again.output)) == 2
