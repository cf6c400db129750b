"""Tests that `make test` leaves out by their folder can be read: what they import is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_benchmarks_and_pages_can_be_collected() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "tests/benchmarks", "tests/pages"],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "tests/benchmarks/test_steps.py" in said.stdout
    assert "tests/pages/test_pages.py" in said.stdout
