"""Whole training steps, and single gradients, against their careful twins by hand: the table of steps.

A step is what a training loop does: a minibatch, the gradient of the likelihood part, the KL's, and Adam. The twin
takes value and KL in one backward pass and has torch's fused Adam. Both sides alternate in one process; ratios are of
processor time, with median and range over rounds.

    python -m pytest tests/benchmarks/test_steps.py --benchmark-only -s
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import vdbench
from vdbench.measures.timing import gradient_call
from vdbench.noise import Key
from vdbench.training import Trainer

sys.path.insert(0, str(Path(__file__).parent))
import plain
from test_engine import context, ratios

RATE = 1e-3
CASES = [("quick", 32), ("big", 10), ("big", 100), ("big", 1000)]
CALLS = {32: (20, 25), 10: (5, 4), 100: (3, 3), 1000: (3, 1)}
"""By minibatch size: rounds, and calls of each side in a round."""


def by_hand(name: str, network: str, size: int) -> Callable[[], object]:
    """A gradient on a fixed minibatch, with leaves that are made once."""
    at = context(name, network, size)
    batch = at.batch(at.key / "plain")
    weights = plain.leaves(at.problem.layers, at.parameters)
    return lambda: plain.pathwise(weights, *batch, at.problem.scale(batch), plain.PATHWISE[name])


def trainer(name: str, network: str, size: int) -> Trainer:
    """A training from the benchmark's parameters."""
    at = context(name, network, size)
    return Trainer(at.problem, vdbench.get(name), at.parameters, size, RATE, Key(("train",)))


def training(name: str, network: str, size: int) -> Callable[[int], None]:
    """The same training by hand."""
    at = context(name, network, size)
    weights = plain.leaves(at.problem.layers, at.parameters)
    train = at.problem.data.train
    return plain.training(weights, train.inputs, train.targets, size, plain.PATHWISE[name], RATE)


def shown(what: str, found: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """A row of the table."""
    print(f"\n{what}: {np.median(found):.2f} × ({found.min():.2f} to {found.max():.2f})")


def many(call: Callable[[], object], count: int) -> Callable[[], None]:
    """So many calls."""

    def calls() -> None:
        for _ in range(count):
            call()

    return calls


@pytest.mark.parametrize(("network", "size"), CASES)
@pytest.mark.parametrize("name", ["deterministic", "naive", "local"])
def test_gradient(benchmark, name: str, network: str, size: int) -> None:
    torch.set_num_threads(1)
    rounds, calls = CALLS[size]
    ours, theirs = gradient_call(context(name, network, size)), by_hand(name, network, size)
    found = ratios(many(ours, calls), many(theirs, calls), rounds)
    benchmark.extra_info["ratio_to_plain"] = list(found)
    shown(f"gradient {name}, {network}, M = {size}", found)
    benchmark.pedantic(ours, rounds=1)


@pytest.mark.parametrize(("network", "size"), CASES)
@pytest.mark.parametrize("name", ["deterministic", "naive", "local"])
def test_step(benchmark, name: str, network: str, size: int) -> None:
    torch.set_num_threads(1)
    rounds, calls = CALLS[size]
    ours, theirs = trainer(name, network, size), training(name, network, size)
    found = ratios(lambda: ours.advance(calls), lambda: theirs(calls), rounds)
    benchmark.extra_info["ratio_to_plain"] = list(found)
    shown(f"step {name}, {network}, M = {size}", found)
    benchmark.pedantic(lambda: ours.advance(1), rounds=1)
