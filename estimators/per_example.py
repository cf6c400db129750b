"""Separate weight samples: a weight sample of its own for every example."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from estimators.type_a import masked
from vdbench import (
    Batch,
    Estimator,
    Gradient,
    InputError,
    Layer,
    Noise,
    Parameters,
    Problem,
    need_posterior,
    register,
)
from vdbench.estimation.base import add, pathwise_gradient
from vdbench.problems.layers import Sampler

LARGEST = 2**24
"""Weight samples held at once where one example has fewer."""


@register(
    "per-example",
    objective="elbo",
    unbiased=True,
    laws=("posterior",),
    independent_examples=True,
    version="1",
    posteriors="any",
)
@dataclass(frozen=True)
class PerExample(Estimator):
    r"""A weight sample of its own for every example.

    Formula: $b_m = x_m(\mu + \sigma\varepsilon_m)$, $\varepsilon_m \sim N(0, 1)$.

    Unbiased as naive sampling is, example by example; the noise of different examples is independent, so no
    covariance is left, at the price of M weight samples. Examples pass through the whole network ``chunk``
    at a time and their gradients are added up, which bounds the memory by chunk · (number of weights), and
    leaves the result as it is: an example's noise has an address of its own.

    Where all outputs share the noise of an input feature (type A), a sample of the weights is a mask of the inputs:
    $x_m(\theta \circ \xi_m) = (x_m \circ \xi_m)\theta$. The weights are then never written out, and the whole minibatch
    passes at once, draw by draw as ``type-a`` does; so it does where there is no noise.

    Claim: unbiased for the ELBO of any layer kind and any posterior.
    Cost: the products of naive sampling; M·K·L noise, M·K where outputs share it.
    Source: Kingma, Salimans & Welling 2015, section 2.2 ("separate weight sample per example"), and
    section 3.2 for noise that outputs share.

    Attributes:
        chunk: Examples held in memory at once; fewer of a large network, whose weight samples would fall out of
            every cache.

    Example:
        >>> import vdbench
        >>> vdbench.get("per-example", chunk=8)
        PerExample(chunk=8)
    """

    chunk: int = 32

    def __post_init__(self) -> None:
        """Refuse a chunk of no examples."""
        if self.chunk < 1:
            raise InputError(f"per-example: chunk must be at least 1 example, not {self.chunk}.")

    @property
    def pathwise(self) -> bool:
        """Every example's part is."""
        return True

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """The sum over chunks of examples of their pathwise gradients.

        Raises:
            CellError: The posterior's noise has a law that is learned.
        """
        need_posterior(self, problem)
        form = problem.parameterization
        if form.sharing == "inputs" or form.law == "none":
            return pathwise_gradient(
                problem, parameters, batch, _masking(problem, noise), problem.scale(batch)
            )
        total: Gradient | None = None
        weights = sum(math.prod(layer.weight_shape) for layer in problem.layers)
        held = max(1, min(self.chunk, LARGEST // weights))
        for start in range(0, batch.inputs.shape[0], held):
            part = Batch(*(t[start : start + held] for t in batch))
            own = [noise.at("example", start + m) for m in range(part.inputs.shape[0])]
            gradient = pathwise_gradient(
                problem, parameters, part, _sampler(problem, own), problem.scale(batch)
            )
            total = gradient if total is None else add(total, gradient)
        assert total is not None
        return total


def _sampler(problem: Problem, own: list[Noise]) -> Callable[[Parameters], Sampler]:
    def at(parameters: Parameters) -> Sampler:
        def sample(layer: Layer, x: Tensor) -> Tensor:
            q = problem.posterior(layer, parameters)
            z = torch.stack([q.draw(source, layer.name) for source in own])
            return layer.linear_each(x, q.weights(z))  # (chunk, *weight_shape)

        return sample

    return at


def _masking(problem: Problem, noise: Noise) -> Callable[[Parameters], Sampler]:
    return lambda parameters: (
        lambda layer, x: masked(layer, x, problem.posterior(layer, parameters), noise)
    )
