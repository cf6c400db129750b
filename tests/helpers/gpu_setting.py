"""Where and what tests/gpu/measure.py measures, and the gradient by hand that others are held against."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from gpu_timing import Timing, summary
from torch import Tensor

import vdbench
from vdbench.datasets import Dataset, Split
from vdbench.estimation.draws import gather, minibatch
from vdbench.kernels import fused
from vdbench.measures.context import Context
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.networks import mlp

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import plain

Row = dict[str, Any]
PARTS = ("mean", "log_variance", "bias")


@dataclass(frozen=True)
class Sizes:
    """What is measured: the whole, or a form that takes seconds on a CPU.

    Attributes:
        inputs: Of the network.
        widths: Of its hidden layers.
        batches: M, the largest first.
        product: n of the n × n product that rates are held against.
        draws: Least draws of one sample of the engine.
        normals: Streams and numbers of each.
    """

    inputs: int
    widths: tuple[int, ...]
    batches: tuple[int, ...]
    product: int
    draws: int
    normals: tuple[int, int]


WHOLE = Sizes(784, (1000, 1000, 1000), (1000, 100, 10), 8192, 64, (64, 784_000))
TINY = Sizes(8, (6, 6), (5, 3), 32, 4, (2, 50))


@dataclass(frozen=True)
class Setting:
    """Where and how much.

    Attributes:
        timing: Device, rounds and length of samples.
        sizes: What.
    """

    timing: Timing
    sizes: Sizes

    @property
    def device(self) -> torch.device:
        """Where."""
        return self.timing.device

    @property
    def graphs(self) -> bool:
        """Whether there are CUDA graphs."""
        return self.device.type == "cuda"

    @property
    def kernels(self) -> bool:
        """Whether the fused kernels run here."""
        return bool(importlib.util.find_spec("triton")) and fused.runs_on(self.device)


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Products of float32 as they are, or in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def row(what: str, found: Any, aim: str = "", **more: Any) -> Row:
    """One figure: a number, or the rounds that it was found in."""
    value = found if isinstance(found, dict | float | int | str) else summary(found)
    return {"what": what, "found": value, **({"aim": aim} if aim else {}), **more}


def held(what: str, found: float, limit: float) -> Row:
    """A number that is wrong above a limit."""
    return {**row(what, found, f"≤ {limit:g}"), "wrong": not found <= limit}


def context(at: Setting, size: int, estimator: str = "local", **options: Any) -> Context:
    """An estimator on random images, at parameters with a scale of its own for every weight."""
    draw = torch.Generator().manual_seed(2015)
    x = torch.rand(4 * max(at.sizes.batches), at.sizes.inputs, generator=draw)
    y = torch.randint(10, (len(x),), generator=draw)
    data = Dataset("random", Split(x, y), Split(x[:8], y[:8]), 10)
    problem = noisy(mlp(data, list(at.sizes.widths)), data, name="big").to(at.device, torch.float32)
    key = Key(("gpu", size))
    parameters = {
        name: value + 0.01 * torch.randn(value.shape, generator=draw).to(at.device)
        for name, value in problem.initial(key).items()
    }
    own = vdbench.get(estimator, **options)
    return Context(problem, parameters, own, estimator, size, key, {}).at("variance")


def work(at: Setting, size: int) -> float:
    """Operations of one gradient of local: of each layer 2 products forward, and 4 back but for those in the data."""
    widths = (at.sizes.inputs, *at.sizes.widths, 10)
    layers = list(pairwise(widths))
    return 2.0 * size * (6 * sum(i * o for i, o in layers) - 2 * layers[0][0] * layers[0][1])


def weights_of(place: Context) -> list[tuple[Tensor, ...]]:
    """(μ, log σ², bias) of each layer, to be differentiated in."""
    return [
        tuple(place.parameters[f"{a.name}.{part}"].clone().requires_grad_() for part in PARTS)
        for a in place.problem.layers
    ]


def by_hand(place: Context) -> Callable[[], list[Tensor]]:
    """The gradient as a careful user writes it, on a fixed minibatch."""
    batch = gather(place.problem, minibatch(place.problem, place.batch_size, place.key / "plain"))
    scale, weights = place.problem.scale(batch), weights_of(place)
    return lambda: plain.pathwise(weights, *batch, scale, plain.PATHWISE["local"])
