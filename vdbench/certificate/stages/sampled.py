"""A reference where no sum is exact: draws of the textbook sampler of an objective, by a generator of their own.

One sample of the weights, or of independent Gaussian pre-activations, differentiated as it stands in a textbook
(`vdbench.certificate.exact_gradients`). It is compared with an estimator's draws by a two-sample test.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from vdbench.certificate.exact_gradients import OBJECTIVES, Given
from vdbench.certificate.reference_problems import Stage
from vdbench.estimation.autodiff import vectorising
from vdbench.estimation.base import pathwise_gradient
from vdbench.noise import Key, Noise, Recorder, Stream, draw
from vdbench.problems.layers import Layer, Sampler
from vdbench.problems.problem import Batch, Parameters, Problem

Rows = dict[str, NDArray[np.float64]]

PART = 4096
"""Draws in one vectorised call."""


def known(objective: str) -> bool:
    """Whether an objective has a textbook sampler."""
    return objective in OBJECTIVES


def textbook(at: Stage, objective: str, key: Key, count: int) -> Rows:
    """Draws of the gradient of an objective on a stage, by parameter, each (count, coordinates)."""
    parts = [
        _part(at, objective, key / "reference" / number, min(PART, count - start))
        for number, start in enumerate(range(0, count, PART))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _part(at: Stage, objective: str, key: Key, count: int) -> Rows:
    problem = at.problem
    noise = _block(problem, at.parameters, at.batch, objective, key, count)

    def one(given: dict[str, Tensor]) -> dict[str, Tensor]:
        source = Noise(Given(given))

        def sampler(parameters: Parameters) -> Sampler:
            return _sampler(problem, parameters, objective, source)

        scale = problem.scale(at.batch)
        return pathwise_gradient(problem, at.parameters, at.batch, sampler, scale).gradients

    with vectorising():
        found = vmap(one)(noise) if noise else {n: g[None] for n, g in one({}).items()}
    return {
        n: g.detach().flatten(1).double().cpu().numpy().repeat(1 if noise else count, 0)
        for n, g in found.items()
    }


def outputs(problem: Problem, parameters: Parameters, batch: Batch, key: Key, count: int) -> Tensor:
    """Outputs of the network under so many samples of its weights, (count, M, …)."""
    noise = _block(problem, parameters, batch, "elbo", key, count)

    def one(given: dict[str, Tensor]) -> Tensor:
        sampler = _sampler(problem, parameters, "elbo", Noise(Given(given)))
        return problem.outputs(sampler, batch.inputs, parameters)

    with torch.no_grad(), vectorising():
        return vmap(one)(noise)


def _sampler(problem: Problem, parameters: Parameters, objective: str, noise: Noise) -> Sampler:
    sample = OBJECTIVES[objective][0]

    def called(layer: Layer, x: Tensor) -> Tensor:
        return sample(layer, x, problem.posterior(layer, parameters), noise)

    return called


def _block(
    problem: Problem, parameters: Parameters, batch: Batch, objective: str, key: Key, count: int
) -> dict[str, Tensor]:
    """Noise of so many draws, by layer: every example has its own where pre-activations are drawn."""
    recorder = Recorder(Stream(key, problem.device, problem.dtype))
    sampler = _sampler(problem, parameters, objective, Noise(recorder))
    with torch.no_grad():
        problem.log_likelihood(sampler, batch, parameters)
    like = next(iter(parameters.values()))
    return {
        str(r.path[-1]): draw(key, r, like.new_empty((count, *r.shape)))
        for r in dict.fromkeys(recorder.requests)
    }
