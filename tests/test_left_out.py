"""Tests that `make test` leaves out by their folder can be read: what they import is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_benchmarks_and_pages_can_be_collected() -> None:
    # not as a part of this run: what pytest and its workers say to their children would be taken for it
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "tests/benchmarks", "tests/pages"],
        cwd=HERE.parent,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "tests/benchmarks/test_steps.py" in said.stdout
    assert "tests/pages/test_pages.py" in said.stdout
