"""The fixture ``gradient_variance``: measured, kept, compared; a planted regression is red."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("elsewhere")

INSTALLED = bool(importlib.metadata.entry_points(group="pytest11", name="vdbench"))
PLUGIN = () if INSTALLED else ("-p", "vdbench.pytest_plugin")

ESTIMATOR = """
from dataclasses import dataclass

import vdbench


@vdbench.register("mine", objective="elbo", unbiased=True, laws=("normal",), independent_examples=False)
@dataclass(frozen=True)
class Mine(vdbench.Pathwise):
    "Naive weight samples, of which some are larger."

    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean + {size} * q.scale * noise(layer.name, q.mean.shape))
"""

TESTS = """
def test_mine(gradient_variance, benchmark):
    found = gradient_variance(
        "mine", file="mine.py", units=64, problem={"options": {"widths": [4]}}, batch_size=8
    )
    assert set(found.total) == {"mean", "scale", "bias"}
    assert found.noise["scale"].low <= found.total["scale"].value
    benchmark.pedantic(lambda: None, rounds=1)
"""


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest(*PLUGIN, "-p", "no:cacheprovider", "-W", "ignore", *words)


def test_a_planted_regression_is_red(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # with it, nothing is benchmarked
    pytester.makepyfile(TESTS)
    Path("mine.py").write_text(ESTIMATOR.format(size=1))
    run(pytester, "--vdbench-save", "kept", "--benchmark-json", "b.json").assert_outcomes(passed=1)
    info = json.loads(Path("b.json").read_text())["benchmarks"][0]["extra_info"]
    assert set(info["variance.total scale"]) == {"value", "ci_low", "ci_high", "n"}
    assert info["variance.total scale"]["n"] == 64

    run(pytester, "--vdbench-compare", "kept").assert_outcomes(passed=1)
    Path("mine.py").write_text(ESTIMATOR.format(size=1.3))
    result = run(pytester, "--vdbench-compare", "kept")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["WORSE: * significantly worse*"])

    run(pytester, "--vdbench-compare", "elsewhere").assert_outcomes(skipped=1)
    run(pytester, "--vdbench-compare", "elsewhere", "--vdbench-strict").assert_outcomes(failed=1)
    # what is kept anew takes the place of what was there
    run(pytester, "--vdbench-save", "kept").assert_outcomes(passed=1)
    run(pytester, "--vdbench-compare", "kept").assert_outcomes(passed=1)


def test_what_cannot_be_measured_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "def test_mine(gradient_variance):\n    gradient_variance('naive', units=4, batch_size=10**6)\n"
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*batch size 1000000 is more than*"])


BENCHMARKED = """
import torch


def test_local(benchmark_estimator):
    before = torch.get_num_threads()
    found = benchmark_estimator(
        "local", units=64, problem={"options": {"widths": [4]}}, batch_size=8, rounds=8
    )
    assert torch.get_num_threads() == before
    if found.seconds is None:
        assert not found.efficiency
        return
    assert found.seconds.low <= found.seconds.value <= found.seconds.high
    role = found.efficiency["scale"]
    assert abs(role.value / (found.total["scale"].value * found.seconds.value) - 1) < 1e-9
    assert role.low <= role.value <= role.high
"""


def test_an_estimator_is_benchmarked(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # with it, nothing is benchmarked
    pytester.makepyfile(BENCHMARKED)
    run(pytester, "--benchmark-json", "b.json").assert_outcomes(passed=1)
    benchmark = json.loads(Path("b.json").read_text())["benchmarks"][0]
    assert benchmark["stats"]["rounds"] == 8
    info = benchmark["extra_info"]
    assert info["time.seconds_per_gradient"]["n"] == 8
    assert {
        "variance.total scale",
        "variance.noise mean",
        "efficiency.variance_seconds scale",
    } <= set(info)
    run(pytester, "--benchmark-disable").assert_outcomes(passed=1)


def test_without_pytest_benchmark_it_says_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(BENCHMARKED)
    result = run(pytester, "-p", "no:benchmark")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*benchmark_estimator needs pytest-benchmark*"])
