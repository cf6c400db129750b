"""Draws a second of the variance measure against a streaming loop written by hand: the engine's table.

The loop is what a careful user writes in thirty lines: the gradient of one draw by `plain`, noise from torch's global
generator, and the sum and the sum of squares of every parameter's gradient, kept in place. It does less than the
measure (no second minibatch, no data part, no addressed noise). Both sides alternate in one process; the ratio is that
of draws a second of processor time, with its median and range over rounds.

    python -m pytest tests/benchmarks/test_engine.py --benchmark-only -s
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
from vdbench.datasets import Dataset, Split
from vdbench.estimation.draws import gather, minibatch
from vdbench.measures import unit_sums, variance_units
from vdbench.measures.context import Context
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.networks import mlp

sys.path.insert(0, str(Path(__file__).parent))
import plain

NETWORKS = {
    "big": (784, [1000, 1000, 1000]),
    "mnist": (784, [64, 64]),
    "quick": (64, [32, 32]),
}
HIGH_WATER = Path("/proc/self/clear_refs")
CASES = [("big", 1000), ("big", 100), ("big", 10), ("mnist", 32), ("quick", 32)]
ROUNDS = {1000: 3, 100: 4, 10: 5, 32: 9}


def context(name: str, network: str, size: int) -> Context:
    """An estimator on random images, at the initial parameters with a scale of its own for every weight."""
    inputs, widths = NETWORKS[network]
    torch.manual_seed(2015)  # of the weights that the module starts with, which are drawn anew
    draw = torch.Generator().manual_seed(2015)
    x, y = torch.rand(4000, inputs, generator=draw), torch.randint(10, (4000,), generator=draw)
    data = Dataset(network, Split(x, y), Split(x[:8], y[:8]), 10)
    problem = noisy(mlp(data, widths), data, name=network).to("cpu", torch.float32)
    key = Key(("benchmark", network, size))
    parameters = problem.initial(key)
    for parameter in parameters.values():
        parameter += 0.01 * torch.randn(parameter.shape, generator=draw)
    return Context(problem, parameters, vdbench.get(name), name, size, key, {}).at("variance")


def streaming(at: Context, name: str) -> Callable[[int], list[torch.Tensor]]:
    """So many gradients by hand on one minibatch, and the moments of each parameter's."""
    batch = gather(at.problem, minibatch(at.problem, at.batch_size, at.key / "plain"))
    scale = at.problem.scale(batch)
    parts = ("mean", "log_variance", "bias")
    weights = [
        tuple(at.parameters[f"{a.name}.{part}"].clone().requires_grad_() for part in parts)
        for a in at.problem.layers
    ]
    sums = [torch.zeros_like(t) for triple in weights for t in triple]
    squares = [torch.zeros_like(t) for t in sums]

    def loop(draws: int) -> list[torch.Tensor]:
        for _ in range(draws):
            found = plain.pathwise(weights, *batch, scale, plain.PATHWISE[name])
            for total, square, g in zip(sums, squares, found, strict=True):
                total.add_(g)
                square.addcmul_(g, g)
        return squares

    return loop


def ratios(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Processor time of ours over theirs in each round; both take one turn unmeasured."""
    found = []
    for round_ in range(rounds + 1):
        seconds = []
        for call in (ours, theirs):
            began = time.process_time()
            call()
            seconds.append(time.process_time() - began)
        if round_:
            found.append(seconds[0] / seconds[1])
    return np.array(found)


@pytest.mark.parametrize(("network", "size"), CASES)
@pytest.mark.parametrize("name", ["naive", "local"])
def test_engine(benchmark, name: str, network: str, size: int) -> None:
    torch.set_num_threads(1)
    at = context(name, network, size)
    units = unit_sums.at_once(at)
    loop = streaming(at, name)
    found = 1 / ratios(
        lambda: variance_units.rows(at, 0, units), lambda: loop(4 * units), ROUNDS[size]
    )
    benchmark.extra_info["draws_per_second_to_loop"] = list(found)
    print(
        f"\nengine {name}, {network}, M = {size}: {np.median(found):.2f} × the draws/s of a streaming loop "
        f"({found.min():.2f} to {found.max():.2f}; {unit_sums.way(at).name}, {units} units a call)"
    )
    benchmark.pedantic(lambda: variance_units.rows(at, 0, units), rounds=1)


@pytest.mark.skipif(not HIGH_WATER.exists(), reason="the peak of memory is reset on Linux alone")
@pytest.mark.parametrize("name", ["naive", "local"])
def test_memory(name: str) -> None:
    """Peak memory of 1,000 draws over that of 12, on the big network."""
    torch.set_num_threads(1)
    at = context(name, "big", 10)
    variance_units.rows(at, 0, 3)
    peaks = []
    for units in (3, 250):
        HIGH_WATER.write_text("5")
        variance_units.rows(at, 0, units)
        lines = Path("/proc/self/status").read_text().splitlines()
        peaks.append(int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))))
    print(
        f"\nmemory {name}: {peaks[1] / peaks[0]:.3f} × ({peaks[0] >> 10} and {peaks[1] >> 10} MiB)"
    )
