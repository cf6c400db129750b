"""Single gradients against public libraries of Bayesian layers, on the same network: the table of libraries.

Every library's layer stands in for a dense layer without bias; the bias is added by hand, as vdbench has it without
noise. Both sides alternate in one process; ratios are of processor time, vdbench's over the library's, with median and
range over rounds. A library that is not installed is skipped with the reason. None is needed by vdbench:

    pip install torchbnn bayesian-torch tyxe storchastic
    python -m pytest tests/benchmarks/test_public.py --benchmark-only -s -W default
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdbench.measures.timing import gradient_call

sys.path.insert(0, str(Path(__file__).parent))
from test_engine import NETWORKS, context, ratios
from test_steps import CALLS, many, shown

Made = tuple[Callable[[Tensor], Tensor], list[Tensor]]
"""A layer's map and its parameters."""


def torchbnn(inputs: int, outputs: int) -> Made:
    from torchbnn.modules import BayesLinear

    module = BayesLinear(0.0, 0.05, inputs, outputs, bias=False)
    return module, list(module.parameters())


def bayesian_torch(kind: str) -> Callable[[int, int], Made]:
    def made(inputs: int, outputs: int) -> Made:
        import bayesian_torch.layers as layers

        module = getattr(layers, kind)(inputs, outputs, bias=False)
        return lambda x: module(x, return_kl=False), list(module.parameters())

    return made


def tyxe(handler: str) -> Callable[[int, int], Made]:
    def made(inputs: int, outputs: int) -> Made:
        import pyro
        import tyxe.poutine
        from pyro.distributions import Normal

        mean = nn.Parameter(0.05 * torch.randn(outputs, inputs))
        rho = nn.Parameter(torch.full((outputs, inputs), -3.0))

        def forward(x: Tensor) -> Tensor:
            with getattr(tyxe.poutine, handler)():
                q = Normal(mean, rho.exp()).to_event(2)  # held by a weak reference only
                return F.linear(x, pyro.sample("w", q), None)

        return forward, [mean, rho]

    return made


def storchastic(inputs: int, outputs: int) -> Made:
    import storch
    from torch.distributions import Normal

    mean = nn.Parameter(0.05 * torch.randn(outputs, inputs))
    rho = nn.Parameter(torch.full((outputs, inputs), -3.0))
    method = storch.method.Reparameterization("w")
    return lambda x: F.linear(x, method(Normal(mean, rho.exp()))._tensor), [mean, rho]


LIBRARIES: dict[str, tuple[str, Callable[[int, int], Made]]] = {
    "torchbnn": ("naive", torchbnn),
    "bayesian-torch, reparameterization": ("naive", bayesian_torch("LinearReparameterization")),
    "storchastic, reparameterization": ("naive", storchastic),
    "tyxe, local reparameterization": ("local", tyxe("local_reparameterization")),
    "bayesian-torch, flipout": ("flipout", bayesian_torch("LinearFlipout")),
    "tyxe, flipout": ("flipout", tyxe("flipout")),
}


def gradient(network: str, made: Callable[[int, int], Made], at: Any) -> Callable[[], object]:
    """One gradient of the network of a library's layers."""
    batch, scale = at.batch(at.key / "plain"), at.problem.scale(at.batch(at.key / "plain"))
    first, widths = NETWORKS[network]
    sizes = [first, *widths, 10]
    layers = [made(a, b) for a, b in itertools.pairwise(sizes)]
    biases = [torch.zeros(b, requires_grad=True) for b in sizes[1:]]
    places = [*(p for _, own in layers for p in own), *biases]

    def one() -> object:
        x = batch.inputs
        for place, ((layer, _), bias) in enumerate(zip(layers, biases, strict=True)):
            x = layer(x) + bias
            x = x.relu() if place < len(layers) - 1 else x
        value = -scale * F.cross_entropy(x, batch.targets, reduction="sum")
        return torch.autograd.grad(value, places)

    return one


@pytest.mark.parametrize(("network", "size"), [("quick", 32), ("big", 10), ("big", 100)])
@pytest.mark.parametrize("library", LIBRARIES)
def test_library(benchmark, library: str, network: str, size: int) -> None:
    torch.set_num_threads(1)
    name, made = LIBRARIES[library]
    try:
        made(2, 2)
    except ImportError as error:
        pytest.skip(f"{library}: {error}")
    rounds, calls = CALLS[size]
    at = context(name, network, size)
    ours, theirs = gradient_call(at), gradient(network, made, at)
    found = ratios(many(ours, calls), many(theirs, calls), rounds)
    benchmark.extra_info["ratio_to_library"] = list(found)
    shown(f"{name} against {library}, {network}, M = {size}", found)
    benchmark.pedantic(ours, rounds=1)
