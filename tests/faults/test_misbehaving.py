"""Estimators that misbehave are recorded with their cause, and the figures of the others are as without them.

The long form, every case, is part of ``make faults``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from misbehaving import CASES, run

SHORT = [
    "parameter-numpy", "data", "torch-function", "one-buffer", "shared", "integer",
    "os-exit", "segfault", "interrupt", "mute", "third-call",
]  # fmt: skip
"""Cases of the short form."""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
@pytest.mark.parametrize("names", [SHORT[:6], SHORT[6:]], ids=["writes", "ends"])
def test_one_that_misbehaves_harms_nobody_else(names: list[str], elsewhere: Path) -> None:
    assert set(names) <= set(CASES)
    for found in run(elsewhere, names):
        assert not found.wrong, found
