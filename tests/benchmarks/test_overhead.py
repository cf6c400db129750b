"""vdbench's own cost: each estimator's gradient, and the variance measure, against a plain hand-written loop.

Both sides are timed in turn in one run; the ratio of medians is recorded in ``extra_info`` and printed. No test
gates on it: a figure of a shared machine is information, not a verdict.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import vdbench
from vdbench import problems
from vdbench.estimation.draws import gather, minibatch
from vdbench.measures import variance_units
from vdbench.measures.context import Context
from vdbench.measures.timing import gradient_call
from vdbench.noise import Key
from vdbench.store import Table

sys.path.insert(0, str(Path(__file__).parent))
import plain

SAMPLES = 4
ESTIMATORS = {
    "deterministic": {},
    "naive": {},
    "local": {},
    "per-example": {},
    "score": {"samples": SAMPLES, "baseline": "leave-one-out"},
}
SIZES = {"small": ([32, 32], 64), "large": ([256, 256], 256)}
UNITS = 16


def context(name: str, size: str) -> Context:
    widths, batch_size = SIZES[size]
    options = {"dataset": "digits", "widths": widths}
    problem = problems.build("digits", "classification", options).to("cpu", torch.float32)
    key = Key(("benchmark", size))
    estimator = vdbench.get(name, **ESTIMATORS[name])
    return Context(problem, problem.initial(key), estimator, name, batch_size, key, {})


def by_hand(at: Context, name: str) -> Callable[[], list[torch.Tensor]]:
    """The same gradient without vdbench, on a fixed minibatch."""
    batch = gather(at.problem, minibatch(at.problem, at.batch_size, at.key / "plain"))
    scale = at.problem.scale(batch)
    weights = [
        tuple(
            at.parameters[f"{layer.name}.{part}"].clone().requires_grad_()
            for part in ("mean", "log_variance", "bias")
        )
        for layer in at.problem.layers
    ]
    if name == "score":
        return lambda: plain.score(weights, *batch, scale, SAMPLES)
    return lambda: plain.pathwise(weights, *batch, scale, plain.PATHWISE[name])


def interleave(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> float:
    """Ratio of median seconds, ours over theirs, timed in turn after warm-up."""
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for round_ in range(rounds + 3):
        for side, call in ((0, ours), (1, theirs)):
            began = time.perf_counter()
            call()
            if round_ >= 3:
                seconds[side].append(time.perf_counter() - began)
    return float(np.median(seconds[0]) / np.median(seconds[1]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradient(benchmark, name: str, size: str) -> None:
    at = context(name, size)
    ours, theirs = gradient_call(at), by_hand(at, name)
    expected = [t.shape for t in theirs()]
    assert sorted(expected) == sorted(g.shape for g in ours().gradients.values())
    ratio = interleave(ours, theirs, 30)
    benchmark.extra_info["ratio_to_plain"] = ratio
    print(f"\n{name} {size}: one gradient takes {ratio:.2f} × the plain one")
    benchmark.pedantic(ours, rounds=20, warmup_rounds=2)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_variance(benchmark, name: str) -> None:
    """Units of the variance measure against four plain gradients a unit, in a loop."""
    at = context(name, "small")
    at = at.at("variance")
    theirs_one = by_hand(at, name)

    def theirs() -> None:
        for _ in range(UNITS):
            a1, a2, b1, b2 = (theirs_one() for _ in range(4))
            for w, x, y, z in zip(a1, a2, b1, b2, strict=True):
                ((w - x).square() + (y - z).square()).mean()

    def ours() -> Table:
        return variance_units.rows(at, 0, UNITS)

    assert {len(column) for column in ours().values()} == {UNITS}
    ratio = interleave(ours, theirs, 5)
    benchmark.extra_info["ratio_to_plain"] = ratio
    print(f"\n{name}: {UNITS} units of variance take {ratio:.2f} × the plain loop")
    benchmark.pedantic(ours, rounds=5, warmup_rounds=1)
