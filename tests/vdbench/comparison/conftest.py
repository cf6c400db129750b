"""Runs that are compared: two of the same code, and some that differ in one thing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_campaign import cache

import vdbench

SUITE: dict[str, Any] = {
    "name": "compared",
    "threads": 1,
    "problems": [{"name": "p", "options": {"widths": [6]}}],
    "batch_sizes": [16],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 0.1},
        "variance": {"first_units": 64, "max_units": 128, "precision": 0.2},
        "bias": {"units": 16, "draws": 1},
        "convergence": {"steps": 4, "evaluations": 1, "seeds": 3, "samples": 2, "examples": 64},
        "training": {
            "epochs": 1, "seeds": 3, "batch_size": 512, "evaluations": 1, "samples": 2, "examples": 64,
        },
    },
}  # fmt: skip
"""The suite of both runs."""


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``base`` and ``new`` of the same code."""
    folder = tmp_path_factory.mktemp("compared")
    with cache(folder / "cache"):
        for name in ("base", "new"):
            vdbench.run(SUITE, folder / name)
    return folder


@pytest.fixture
def copied(runs: Path, elsewhere: Path) -> Callable[[str], Path]:
    """Copies one of them into the test's own folder."""

    def copy(name: str = "new") -> Path:
        return Path(shutil.copytree(runs / name, elsewhere / name))

    return copy
