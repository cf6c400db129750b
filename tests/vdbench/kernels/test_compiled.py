"""The fused kernels are compiled to machine code for a GPU, where there is none to run it on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the fused kernels need Triton: make kernels")
SCRIPT = Path(__file__).parents[2] / "helpers" / "compile_kernels.py"
SHARED = 232_448
"""Bytes of shared memory that a program may have on an H100 or an H200."""


@pytest.mark.long
def test_every_program_is_compiled_and_fits(tmp_path: Path) -> None:
    own = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT)],
        capture_output=True, text=True, env=own | {"TRITON_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found) == 4 * (4 + 3) + 2
    for name, size in found.items():
        assert size["code"] > 0, name
        assert size["shared"] <= SHARED, f"{name} takes {size['shared']} bytes"
