"""A reference where no sum is exact: draws of the textbook sampler of an objective, by a generator of their own.

One sample of the weights, or of independent Gaussian pre-activations, differentiated as it stands in a textbook
(`vdbench.certificate.exact_gradients`). It is compared with an estimator's draws by a two-sample test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from vdbench.certificate.exact_gradients import OBJECTIVES
from vdbench.certificate.reference_problems import Stage
from vdbench.estimation.autodiff import vectorising
from vdbench.estimation.base import Declaration, Estimator, Gradient, pathwise_gradient
from vdbench.estimation.draws import vectorised
from vdbench.noise import (
    POSTERIOR,
    Injected,
    Key,
    Noise,
    Recorder,
    Repeated,
    Request,
    Stream,
    draw,
)
from vdbench.problems.layers import Layer, Sampler
from vdbench.problems.problem import Batch, Parameters, Problem

Rows = dict[str, NDArray[np.float64]]

PART = 4096
"""Draws in one vectorised call."""


def known(objective: str) -> bool:
    """Whether an objective has a textbook sampler."""
    return objective in OBJECTIVES


@dataclass(frozen=True)
class Textbook(Estimator):
    """One sample of the weights, or of Gaussian pre-activations, and the gradient along its path.

    Attributes:
        objective: An objective class that has such a sampler.
    """

    objective: str = "elbo"

    @property
    def declaration(self) -> Declaration:
        """The posterior's own noise, shared by all examples; or normal numbers for the pre-activations of one."""
        law = {"elbo": (POSTERIOR,), "mean-weights": ()}.get(self.objective, ("normal",))
        return Declaration("textbook", self.objective, True, law, False, "1", posteriors="any")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One draw."""

        def sampler(at: Parameters) -> Sampler:
            return _sampler(problem, at, self.objective, noise)

        return pathwise_gradient(problem, parameters, batch, sampler, problem.scale(batch))


def textbook(at: Stage, objective: str, key: Key, count: int) -> Rows:
    """Draws of the gradient of an objective on a stage, by parameter, each (count, coordinates)."""
    parts = [
        _part(at, objective, key / "reference" / number, min(PART, count - start))
        for number, start in enumerate(range(0, count, PART))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _part(at: Stage, objective: str, key: Key, count: int) -> Rows:
    noise = _block(at.problem, at.parameters, at.batch, objective, key, count)
    batches = Batch(*(t.expand(count, *t.shape) for t in at.batch))
    found = vectorised(Textbook(objective), at.problem, at.parameters, batches, noise)
    return {n: g.detach().flatten(1).double().cpu().numpy() for n, g in found.gradients.items()}


def outputs(problem: Problem, parameters: Parameters, batch: Batch, key: Key, count: int) -> Tensor:
    """Outputs of the network under so many samples of its weights, (count, M, …)."""
    noise = _block(problem, parameters, batch, "elbo", key, count)
    requests = list(noise)

    def one(*values: Tensor) -> Tensor:
        given = Noise(Injected(dict(zip(requests, values, strict=True))))
        sampler = _sampler(problem, parameters, "elbo", given)
        return problem.outputs(sampler, batch.inputs, parameters)

    with torch.no_grad(), vectorising():
        return vmap(one)(*noise.values())


def _sampler(problem: Problem, parameters: Parameters, objective: str, noise: Noise) -> Sampler:
    sample = OBJECTIVES[objective][0]
    source = Noise(Repeated(noise.source), noise.path) if problem.reused else noise

    def called(layer: Layer, x: Tensor) -> Tensor:
        return sample(layer, x, problem.posterior(layer, parameters), source)

    return called


def _block(
    problem: Problem, parameters: Parameters, batch: Batch, objective: str, key: Key, count: int
) -> dict[Request, Tensor]:
    """Noise of so many draws."""
    recorder = Recorder(Stream(key, problem.device, problem.dtype))
    sampler = _sampler(problem, parameters, objective, Noise(recorder))
    with torch.no_grad():
        problem.log_likelihood(sampler, batch, parameters)
    like = next(iter(parameters.values()))
    return {r: draw(key, r, like.new_empty((count, *r.shape))) for r in recorder.requests}
