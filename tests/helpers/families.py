"""Posteriors of every family of noise, and which estimators are valid for which.

Tiny networks whose noise can be enumerated (binary) or put on the nodes of a quadrature rule (normal) are in
`problem`; whatever an estimator asks for is injected.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
import oracles
import torch
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.draws import trace, vectorised
from vdbench.noise import Key, Request, stream
from vdbench.problems.dropout import BinaryDropout, Point
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import ThetaLogAlpha
from vdbench.problems.likelihoods import Likelihood
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import NoPrior
from vdbench.problems.problem import Batch, Problem

SHARED = {
    "gaussian-dropout": ThetaLogAlpha(0.4, learned=False, sharing="inputs"),
    "variational-a-layer": ThetaLogAlpha(0.4, sharing="inputs"),
    "variational-a-input": ThetaLogAlpha(0.4, sharing="inputs", per="input"),
    "dropout": BinaryDropout(0.3),
    "dropout-test-scaling": BinaryDropout(0.3, scaling="test"),
}
OWN = {
    "per-input": ThetaLogAlpha(0.4, per="input"),
    "per-output": ThetaLogAlpha(0.4, per="output"),
    "per-weight": ThetaLogAlpha(0.4, per="weight"),
}
FAMILIES: dict[str, Parameterization] = {
    **SHARED,
    **OWN,
    "dropconnect": BinaryDropout(0.3, sharing="weights"),
    "point": Point(),
}
"""One of each; `OWN` has independent normal weights, which every estimator is valid for."""

ANY = (
    "deterministic",
    "fast-dropout",
    "grouped",
    "moment-matching",
    "naive",
    "per-example",
    "per-layer",
)
"""The estimators that are valid for every posterior."""

ELBO = ("grouped", "naive", "per-example", "per-layer")


def problem(
    form: Parameterization,
    sizes: Sequence[tuple[int, int]],
    examples: int,
    *,
    likelihood: Likelihood | None = None,
    activation: type[nn.Module] = nn.Tanh,
) -> tuple[Problem, dict[str, Tensor], Batch]:
    """A dense network on random data with no prior, all its parameters apart; its minibatch is all of the data.

    The problem is made once; parameters and minibatch are anew each time.
    """
    made, parameters = _problem(form, tuple(sizes), examples, likelihood, activation)
    batch = Batch(*(t.clone() for t in made.data.train))
    return made, {name: value.clone() for name, value in parameters.items()}, batch


@functools.lru_cache(maxsize=64)
def _problem(
    form: Parameterization,
    sizes: tuple[tuple[int, int], ...],
    examples: int,
    likelihood: Likelihood | None,
    activation: type[nn.Module],
) -> tuple[Problem, dict[str, Tensor]]:
    noise = stream(Key(("families",)), dtype=torch.float64)
    targets = torch.arange(examples) % sizes[-1][1]
    outputs = targets if likelihood is None else noise("targets", (examples, sizes[-1][1]))
    split = Split(noise("inputs", (examples, sizes[0][0])), outputs)
    body: list[nn.Module] = []
    for inside, outside in sizes:
        body += [nn.Linear(inside, outside).double(), activation()]
    made = noisy(
        nn.Sequential(*body[:-1]),
        Dataset("tiny", split, split, 2),
        parameterization=form,
        prior=NoPrior(),
        likelihood=likelihood,
    )
    parameters = {}
    for name, value in made.start.items():
        spread = noise(name, value.shape)
        varied = name.endswith("log_alpha") and form.law == "normal"
        parameters[name] = value if name.endswith("log_alpha") else 0.8 * spread
        parameters[name] = value + 0.3 * spread if varied else parameters[name]
    return made, parameters


def moments(
    estimator: Estimator, at: tuple[Problem, dict[str, Tensor], Batch], nodes: int = 3
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of value and gradients over all that the noise can be, with its probabilities.

    Uniform numbers stand for the two sides of the rate, normal ones for the nodes of a quadrature rule.
    """
    made, parameters, batch = at
    requests = trace(estimator, *at).requests
    values, chance = _grid(made, parameters, requests, nodes)
    repeated = oracles.repeat(batch, len(chance))
    drawn = vectorised(estimator, made, parameters, repeated, values)
    return weighted(drawn, chance)


def weighted(drawn: Gradient, chance: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of each entry of value and gradients, given probabilities of the rows."""
    found = {}
    for name, rows in {"value": drawn.value, **drawn.gradients}.items():
        mean = torch.einsum("k,k...->...", chance, rows)
        found[name] = (mean, torch.einsum("k,k...->...", chance, (rows - mean) ** 2))
    return found


def _grid(
    made: Problem, parameters: dict[str, Tensor], requests: Sequence[Request], nodes: int
) -> tuple[dict[Request, Tensor], Tensor]:
    sizes = [math.prod(r.shape) for r in requests]
    if made.parameterization.law == "binary" and {r.law for r in requests} == {"uniform"}:
        bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=sum(sizes)))).double()
        rates = [_rate(parameters, r) for r in requests]
        values, chance = {}, torch.ones(len(bits), dtype=torch.float64)
        for request, kept, rate in zip(requests, bits.split(sizes, 1), rates, strict=True):
            values[request] = (kept * (1 + rate) / 2 + (1 - kept) * rate / 2).reshape(
                -1, *request.shape
            )
            chance = chance * (kept * (1 - rate) + (1 - kept) * rate).prod(1)
        return values, chance
    # two nodes are exact for a random sign
    count = [
        2 if r.law == "sign" else nodes
        for r, n in zip(requests, sizes, strict=True)
        for _ in range(n)
    ]
    points, weights = oracles.grid(count) if sizes else (np.zeros((1, 0)), np.ones(1))
    parts = torch.tensor(points).split(sizes, 1) if sizes else ()
    return (
        {r: p.reshape(-1, *r.shape) for r, p in zip(requests, parts, strict=True)},
        torch.tensor(weights),
    )


def _rate(parameters: dict[str, Tensor], request: Request) -> float:
    """P = α/(1 + α) of the layer that asks."""
    alpha = float(parameters[f"{request.path[-1]}.log_alpha"].exp())
    return alpha / (1 + alpha)
