"""What estimators share that perturb a sample of the weights: the cost at given weights, and the way back from weights.

The cost of a minibatch is a function of a *place*: the weights of the noisy layers, by layer, and the parameters that
have no noise, such as biases, by name. An estimator gets slopes in a place from costs, or from derivatives along
directions, and `chained` makes of them the gradient in the parameters, without a pass through the network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vdbench.estimation import taylor
from vdbench.estimation.autodiff import differentiate
from vdbench.estimation.base import Estimator, Gradient
from vdbench.noise import Noise
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Parameters, Problem

Place = dict[str, Tensor]
"""Weights by layer, and parameters without noise by name."""


class Perturbation(Estimator):
    """An estimator that takes differences of costs, or derivatives of the cost along random directions."""

    @property
    def costs_without_gradient(self) -> bool:
        """Its costs."""
        return True


def drawn(problem: Problem, parameters: Parameters, noise: Noise) -> dict[str, Tensor]:
    """One sample of the standardised noise of every layer's weights, by layer."""
    return {
        layer.name: problem.posterior(layer, parameters).draw(noise, layer.name)
        for layer in problem.layers
    }


def without_noise(problem: Problem, parameters: Parameters) -> dict[str, Tensor]:
    """The free parameters that are no coordinate of a posterior: biases, and those of layers without noise."""
    roles = problem.parameterization.roles
    random = {f"{layer.name}.{role}" for layer in problem.layers for role in roles}
    return {n: v for n, v in problem.free(parameters).items() if n not in random}


def place(problem: Problem, at: Parameters, z: Mapping[str, Tensor]) -> Place:
    """The place at the noise z, a differentiable function of the parameters."""
    weights = {a.name: a.used(problem.posterior(a, at).weights(z[a.name])) for a in problem.layers}
    return {**weights, **without_noise(problem, at)}


def detached(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers as constants."""
    return {name: value.detach() for name, value in values.items()}


def costs(
    problem: Problem, parameters: Parameters, batch: Batch, where: Mapping[str, Tensor]
) -> Tensor:
    """N/M-scaled log-likelihood of each example at a place, (M,), in nats."""
    at = {name: where.get(name, value) for name, value in parameters.items()}

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        return layer.linear(x, where[layer.name])

    return problem.scale(batch) * problem.log_likelihood(sampler, batch, at)


def along(
    problem: Problem, parameters: Parameters, batch: Batch, where: Place, direction: Place
) -> tuple[Tensor, Tensor]:
    """The cost at a place and its derivative along a direction, scalars, by one forward-mode pass.

    Raises:
        CellError: The network has an operation without a derivative in forward mode.
    """

    def cost(at: Place) -> Place:
        return {"cost": costs(problem, parameters, batch, at).sum()}

    what = "a forward gradient is a derivative along a direction"
    value, slope = taylor.along(cost, (where,), (direction,), what)
    return value["cost"], slope["cost"]


def directions(where: Place, noise: Noise, law: str = "normal") -> Place:
    """Independent numbers of one law for each number of a place."""
    return {name: noise(name, value.shape, law) for name, value in where.items()}


def chained(
    problem: Problem,
    parameters: Parameters,
    z: Mapping[str, Tensor],
    slopes: Mapping[str, Tensor],
    value: Tensor,
) -> Gradient:
    """The gradient in the parameters, given slopes in the place at the noise z: Σ slope · ∂place/∂parameter."""

    def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        there = place(problem, {**parameters, **free}, z)
        terms = [(slopes[name].detach() * v).sum() for name, v in there.items()]
        return torch.stack(terms).sum(), value

    return Gradient(*differentiate(target, problem.free(parameters)))
