"""The exact gradient of an objective on a toy: an expectation over noise as a sum over quadrature nodes.

A Gauss–Hermite rule of n nodes is exact for polynomials of degree 2n − 1 in a normal number, and a binary number has
two values. The gradient of the sum is taken by automatic differentiation of the textbook sampler: no estimator takes
part in its own reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from vdbench.estimation.autodiff import differentiate
from vdbench.noise import Noise, Request
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Parameters, Problem
from vdbench.problems.structure import Correlated

Truth = dict[str, Tensor]
"""The exact gradient, by parameter."""


@dataclass(frozen=True)
class Given:
    """Hands out a layer's numbers by its name, which ends the path of a request."""

    values: Mapping[str, Tensor]

    def __call__(self, request: Request) -> Tensor:
        """The layer's numbers."""
        return self.values[str(request.path[-1])]


Axis = tuple[Tensor, Tensor]
"""Nodes and weights of one random number, each of shape (n,)."""


def normal(count: int) -> Axis:
    """Gauss–Hermite rule of N(0, 1)."""
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.tensor(points), torch.tensor(weights / weights.sum())


def binary(rate: Tensor) -> Axis:
    """A uniform number below the rate, and one above it."""
    below = torch.zeros((), dtype=rate.dtype)
    return torch.stack([below, 1 - 1e-12 + below]), torch.stack([rate, 1 - rate])


def grid(axes: list[Axis]) -> tuple[Tensor, Tensor]:
    """All combinations of the nodes, (P, D), and the products of their weights, (P,)."""
    mesh = torch.cartesian_prod(*(torch.arange(len(points)) for points, _ in axes))
    mesh = mesh.reshape(-1, len(axes))
    points = torch.stack([axis[mesh[:, d]] for d, (axis, _) in enumerate(axes)], 1)
    weights = torch.stack([axis[mesh[:, d]] for d, (_, axis) in enumerate(axes)], 1)
    return points, weights.prod(1)


def noise_axes(q: Posterior, count: int) -> list[Axis]:
    """A rule for each random number of one layer's posterior."""
    size = math.prod(q.noise_shape)
    if q.law == "normal" or isinstance(q.structure, Correlated):
        return [normal(count)] * size
    assert q.log_alpha is not None
    rates = torch.sigmoid(q.log_alpha).expand(q.noise_shape).flatten()
    return [binary(rate) for rate in rates]


Sampler = Callable[[Layer, Tensor, Posterior, Noise], Tensor]


def by_weights(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """Pre-activations under one sample of the weights."""
    return layer.linear(x, q.weights(q.draw(noise, layer.name)))


def by_preactivations(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """Independent Gaussian pre-activations with the moments that the weights give each of them."""
    mean, variance = layer.linear(x, q.mean), q.spread(layer, x)
    random = (
        variance > 0
    )  # rectified inputs may all be 0: then the root's derivative is not to be taken
    root = torch.where(random, torch.where(random, variance, 1.0).sqrt(), 0.0)
    return mean + root * noise(layer.name, mean.shape[1:])


def without(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """Pre-activations under the mean weights."""
    return layer.linear(x, q.mean)


Shapes = dict[str, tuple[int, ...]]


def weight_axes(
    problem: Problem, parameters: Parameters, batch: Batch, nodes: Mapping[str, int]
) -> tuple[list[Axis], Shapes]:
    """The posterior's own noise."""
    laws = {layer.name: problem.posterior(layer, parameters) for layer in problem.layers}
    axes = [axis for name, q in laws.items() for axis in noise_axes(q, nodes[name])]
    return axes, {name: q.noise_shape for name, q in laws.items()}


def kinked(at: Tensor) -> Axis:
    """A rule of N(0, 1) for a function that is smooth on either side of ``at``: Gauss–Legendre on each, up to 9."""
    middle = float(at.clamp(-9.0, 9.0))
    x, w = np.polynomial.legendre.leggauss(32)
    halves = [(-9.0, middle), (middle, 9.0)]
    points = np.concatenate([(b - a) / 2 * x + (a + b) / 2 for a, b in halves])
    weights = np.concatenate([(b - a) / 2 * w for a, b in halves])
    weights = weights * np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
    return torch.tensor(points), torch.tensor(weights)


def rectified(problem: Problem, parameters: Parameters, batch: Batch) -> Truth:
    """The exact gradient of the ELBO of a dense network with one layer of ReLU and a Gaussian likelihood.

    Weights are independent and normal, so that the pre-activations of one example are too: each example has a rule
    of its own, split where its pre-activations change sign, and a rule of two nodes for the last layer, in whose
    numbers the log-likelihood is quadratic.
    """
    first, last = problem.layers
    total: Truth = {}
    for m in range(len(batch.inputs)):
        one = Batch(*(t[m : m + 1] for t in batch))

        def lay(
            problem: Problem, at: Parameters, batch: Batch, nodes: Mapping[str, int]
        ) -> tuple[list[Axis], Shapes]:
            q, x = problem.posterior(first, at), batch.inputs
            bias = at[f"{first.name}.bias"]
            mean = first.add_bias(first.linear(x, q.mean), bias)
            kinks = (-mean / first.squared(x, q.variance).sqrt()).detach().flatten()
            outputs = last.weight_shape[0]
            axes = [*(kinked(k) for k in kinks), *[normal(2)] * outputs]
            return axes, {first.name: (len(kinks),), last.name: (outputs,)}

        found = _summed(by_preactivations, lay, problem, parameters, one, {})
        share = len(batch.inputs)  # N/M of one example is M times that of the minibatch
        total = {n: g / share + (total[n] if total else 0) for n, g in found.items()}
    return total


def preactivation_axes(
    problem: Problem, parameters: Parameters, batch: Batch, nodes: Mapping[str, int]
) -> tuple[list[Axis], Shapes]:
    """A number for each pre-activation of one example: the same for all, whose terms are only added."""
    shapes: Shapes = {}

    def mean(layer: Layer, x: Tensor) -> Tensor:
        b = layer.linear(x, problem.posterior(layer, parameters).mean)
        shapes[layer.name] = tuple(b.shape[1:])
        return b

    problem.log_likelihood(mean, batch, parameters)
    axes = [normal(nodes[n]) for n, shape in shapes.items() for _ in range(math.prod(shape))]
    return axes, shapes


def no_axes(
    problem: Problem, parameters: Parameters, batch: Batch, nodes: Mapping[str, int]
) -> tuple[list[Axis], Shapes]:
    """One node that nobody looks at."""
    return [normal(1)], {}


OBJECTIVES = {
    "elbo": (by_weights, weight_axes),
    "elbo-local-noise": (by_preactivations, preactivation_axes),
    "elbo-gaussian-preactivations": (by_preactivations, preactivation_axes),
    "mean-weights": (without, no_axes),
}
"""Every objective class that has a reference: how its pre-activations are sampled, and with what noise."""


def gradient(
    objective: str,
    problem: Problem,
    parameters: Parameters,
    batch: Batch,
    nodes: Mapping[str, int],
) -> Truth:
    """The exact gradient of an objective's N/M-scaled expected log-likelihood.

    Args:
        objective: One of `OBJECTIVES`.
        problem: A polynomial network.
        parameters: Where.
        batch: The examples.
        nodes: How many nodes each random number of a layer takes.
    """
    sample, lay = OBJECTIVES[objective]
    return _summed(sample, lay, problem, parameters, batch, nodes)


Lay = Callable[[Problem, Parameters, Batch, Mapping[str, int]], tuple[list[Axis], Shapes]]


def _summed(
    sample: Sampler,
    lay: Lay,
    problem: Problem,
    parameters: Parameters,
    batch: Batch,
    nodes: Mapping[str, int],
) -> Truth:
    """The gradient of the sum over the nodes that ``lay`` lays out."""

    def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        at = {**parameters, **free}
        axes, shapes = lay(problem, at, batch, nodes)
        points, weights = grid(
            axes
        )  # of a law that is learned, the weights depend on the parameters
        sizes = [math.prod(shape) for shape in shapes.values()]
        parts = torch.split(points.detach(), sizes, 1) if shapes else ()
        values = {n: p.reshape(-1, *shapes[n]) for n, p in zip(shapes, parts, strict=True)}

        def one(given: dict[str, Tensor], weight: Tensor) -> Tensor:
            noise = Noise(Given(given))

            def sampler(layer: Layer, x: Tensor) -> Tensor:
                return sample(layer, x, problem.posterior(layer, at), noise)

            return weight * problem.log_likelihood(sampler, batch, at).sum()

        total = problem.scale(batch) * vmap(one)(values, weights).sum()
        return total, total

    _, found = differentiate(target, problem.free(parameters))
    return found
