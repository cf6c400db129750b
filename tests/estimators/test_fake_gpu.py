"""Nothing silently stays on the CPU, checked without a GPU; see fake_gpu_check.py for how."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vdbench.estimation.registry import names

SCRIPT = Path(__file__).parents[1] / "helpers" / "fake_gpu_check.py"


def check(*words: str) -> dict[str, Any]:
    if not torch.cuda.is_available():
        registration = pytest.importorskip("torch.utils.backend_registration")
        if not hasattr(registration, "_setup_privateuseone_for_python_backend"):
            pytest.skip("this torch cannot register a device of its own from Python")
    command = [sys.executable, "-W", "error", str(SCRIPT), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return check()


@pytest.mark.long
def test_every_estimator_stays_on_its_device_under_every_posterior() -> None:
    test_every_estimator_stays_on_its_device(check("whole"))


def test_every_estimator_stays_on_its_device(found: dict[str, Any]) -> None:
    assert {label.partition("(")[0] for label in found["estimators"]} == set(names())
    wrong = [f"{label}: {line}" for label, lines in found["estimators"].items() for line in lines]
    assert not wrong, "\n".join(wrong)


def test_the_kl_term_stays_on_its_device(found: dict[str, Any]) -> None:
    assert found["kl"] == []


def test_estimators_that_use_the_cpu_are_caught(found: dict[str, Any]) -> None:
    """The controls: noise made on the CPU, made there and copied, and zeros returned from there."""
    assert set(found["controls"]) == {"NoiseOnCpu", "CopiedNoise", "ZerosOnCpu"}
    for name, checks in found["controls"].items():
        assert len(checks) == 4
        assert all(checks), f"{name} was not caught: {checks}"
