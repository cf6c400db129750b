"""Measure-valued derivatives: differences of the cost under two measures, one weight at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from estimators.score import posteriors
from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    InputError,
    Layer,
    Noise,
    Parameters,
    Posterior,
    Problem,
    differentiate,
    need_posterior,
    register,
)
from vdbench.estimation.base import pathwise_gradient
from vdbench.problems.layers import Sampler

TOGETHER = 64
"""Weights whose forward passes are taken in one vectorised call."""


@register(
    "measure-valued",
    objective="elbo",
    unbiased=True,
    laws=("normal",),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class MeasureValued(Estimator):
    r"""Measure-valued (weak) derivatives of the normal distribution, coupled, one weight at a time.

    Formula: $g_{\mu_i} = \frac{L(\mu_i + \sigma_i R_i) - L(\mu_i - \sigma_i R_i)}{\sigma_i\sqrt{2\pi}}$,
    $g_{\sigma_i} = \frac{L(\mu_i + \sigma_i D_i) - L(\mu_i + \sigma_i D_i U_i)}{\sigma_i}$,
    $R \sim$ Weibull(2, √2), $D \sim$ double-sided Maxwell, $U \sim$ uniform; all other weights are those of one sample
    $W = \mu + \sigma\varepsilon$.

    The derivative of the density N(μ, σ²) with respect to μ is $1/(\sigma\sqrt{2\pi})$ times the difference of two
    densities, those of $\mu \pm \sigma R$. With respect to σ it is $1/\sigma$ times the density of $\mu + \sigma D$
    minus the normal density itself. Each difference of costs is therefore unbiased, for any joint distribution of its
    two points. The couplings above (one $R$; $D U$, which is normal) leave little noise. The cost need not be
    differentiable.

    Three normal numbers per weight, $n_1, n_2, n_3$, suffice: $\varepsilon = n_1$, $R = \sqrt{n_2^2 + n_3^2}$ and
    $D = \pm\lVert n\rVert$ with the sign of $n_1$. Since $n_1 = D\,U$ with $U = |n_1|/\lVert n\rVert$ uniform and
    independent of $D$ (Archimedes), the second point of the difference in σ is the common sample $W$ itself. The draws
    of different weights are dependent. This changes neither the mean nor the variance of any single one. Biases get
    their ordinary gradient at $W$.

    Claim: unbiased for the ELBO of any layer kind, differentiable or not.
    Cost: 3 forward passes per weight and one more, and 1 backward pass for the biases; 3·K·L noise. Feasible only for
    small networks: above ``limit`` weights it is refused.
    Source: Pflug 1989; Heidergott, Vázquez-Abad & Volk-Makarewicz 2008; Mohamed, Rosca, Figurnov & Mnih 2020, section
    6.

    Attributes:
        limit: Number of weights of all noisy layers above which a problem is refused.

    Example:
        >>> import vdbench
        >>> vdbench.get("measure-valued", limit=10_000)
        MeasureValued(limit=10000)
    """

    limit: int = 2000

    def __post_init__(self) -> None:
        """Refuse a limit below one weight."""
        if self.limit < 1:
            raise InputError(f"measure-valued: limit must be at least 1 weight, not {self.limit}.")

    @property
    def passes_together(self) -> int:
        """Three for each weight in a vectorised call."""
        return 3 * TOGETHER

    @property
    def costs_without_gradient(self) -> bool:
        """The costs at the coordinates that are moved."""
        return True

    @property
    def passes_each_weight(self) -> bool:
        """Three times."""
        return True

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Differences of costs for each weight, then the chain rule from (μ, σ) to the parameters.

        Raises:
            CellError: The problem has more weights than ``limit``, or a posterior that is not normal and independent.
        """
        need_posterior(self, problem)
        refuse_more(self.declaration.name, problem, self.limit, "3 forward passes")
        q = posteriors(problem, parameters)
        n = {name: noise(name, (3, *law.mean.shape)) for name, law in q.items()}
        weights = {name: (law.mean + law.scale * n[name][0]).detach() for name, law in q.items()}
        ordinary = pathwise_gradient(
            problem, parameters, batch, lambda _: _fixed(weights), problem.scale(batch)
        )
        slopes = {
            name: _slopes(problem, parameters, batch, weights, name, law, n[name])
            for name, law in q.items()
        }

        def chain(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            total = torch.zeros_like(ordinary.value)
            for name, law in posteriors(problem, at).items():
                mean, scale = slopes[name]
                total = total + (mean * law.mean).sum() + (scale * law.scale).sum()
            return total, ordinary.value

        value, found = differentiate(chain, problem.free(parameters))
        return Gradient(value, {name: g + ordinary.gradients[name] for name, g in found.items()})


def refuse_more(name: str, problem: Problem, limit: int, work: str, instead: str = "") -> None:
    """Refuse a problem with too many weights to be treated one by one.

    Raises:
        CellError: It has more than ``limit``.
    """
    count = sum(math.prod(layer.weight_shape) for layer in problem.layers)
    if count > limit:
        raise CellError(
            f"estimator '{name}' takes {work} for every weight, and problem '{problem.name}' has {count:,} weights; "
            f"expected at most {limit:,}, or a higher value of its option limit{instead}."
        )


def _fixed(weights: dict[str, Tensor]) -> Sampler:
    return lambda layer, x: layer.linear(x, weights[layer.name])


def _slopes(
    problem: Problem,
    parameters: Parameters,
    batch: Batch,
    weights: dict[str, Tensor],
    name: str,
    q: Posterior,
    n: Tensor,
) -> tuple[Tensor, Tensor]:
    """The derivatives in μ and in σ of one layer's weights, each of their shape."""
    rayleigh = n[1:].square().sum(0).sqrt()
    maxwell = torch.where(n[0] < 0, -1.0, 1.0) * n.square().sum(0).sqrt()
    mean, scale = q.mean.detach(), q.scale.detach()
    points = torch.stack([mean + scale * z for z in (rayleigh, -rayleigh, maxwell)]).flatten(1)
    numbers = torch.arange(points.shape[1], device=points.device)

    def cost(number: Tensor, value: Tensor) -> Tensor:
        own = weights[name].flatten()
        moved = torch.where(numbers == number, value, own).reshape(weights[name].shape)

        def sampler(layer: Layer, x: Tensor) -> Tensor:
            return layer.linear(x, moved if layer.name == name else weights[layer.name])

        return problem.log_likelihood(sampler, batch, parameters)

    base = problem.log_likelihood(_fixed(weights), batch, parameters)
    differences = []
    for part in range(0, len(numbers), TOGETHER):
        here = slice(part, part + TOGETHER)
        if problem.behaviour.vectorises_values:
            some = vmap(vmap(cost, in_dims=(0, 0)), in_dims=(None, 0))(
                numbers[here], points[:, here]
            )
        else:
            some = torch.stack(
                [
                    torch.stack([cost(n, v) for n, v in zip(numbers[here], row[here], strict=True)])
                    for row in points
                ]
            )
        # example by example: the sums over a minibatch have fewer digits in common
        differences.append(torch.stack([some[0] - some[1], some[2] - base]).sum(-1))
    up, out = problem.scale(batch) * torch.cat(differences, 1).reshape(2, *mean.shape)
    return (up / (scale * math.sqrt(2 * math.pi))).detach(), (out / scale).detach()
