"""Grouped weight samples: a few weight samples, each shared by a part of the minibatch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vdbench import (
    Batch,
    CellError,
    Gradient,
    InputError,
    Layer,
    Noise,
    Parameters,
    Pathwise,
    Posterior,
    Problem,
    differentiate,
    need_posterior,
    register,
)
from vdbench.estimation.pathwise import noise_of_calls
from vdbench.problems.layers import Sampler


@register(
    "grouped",
    objective="elbo",
    unbiased=True,
    laws=("posterior",),
    independent_examples=False,
    version="1",
    posteriors="any",
)
@dataclass(frozen=True)
class Grouped(Pathwise):
    r"""G weight samples, each shared by about M/G examples of the minibatch.

    Formula: $b_m = x_m(\mu + \sigma\varepsilon_{g(m)})$, $\varepsilon_1, \dots, \varepsilon_G \sim N(0, 1)$, $g(m)$ the
    group of example $m$.

    This lies between naive sampling (G = 1) and a weight sample for every example (G = M), and is unbiased like both.
    Examples of different groups are independent, so only a share of about $1/G$ of the covariance term is left. The
    groups are consecutive parts of the minibatch, whose order is random. If the network has a weight without
    pre-activations of its own, such as an embedding, the groups pass through it one after the other.

    Claim: unbiased for the ELBO of any layer kind and any posterior.
    Cost: the products of naive sampling, as G smaller ones; G·K·L noise.
    Source: between the two estimators of Kingma, Salimans & Welling 2015, section 2.2.

    Attributes:
        groups: G; limited to the number of examples.

    Example:
        >>> import vdbench
        >>> vdbench.get("grouped", groups=8)
        Grouped(groups=8)
    """

    groups: int = 4

    def __post_init__(self) -> None:
        """Refuse fewer than one group."""
        if self.groups < 1:
            raise InputError(f"grouped: groups must be at least 1, not {self.groups}.")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One draw; where a weight can only be sampled whole, the groups pass the network one after the other.

        Raises:
            CellError: The estimator is not valid for the problem's posterior.
        """
        if not problem.whole:
            return super().__call__(problem, parameters, batch, noise, state)
        need_posterior(self, problem)
        if not problem.behaviour.alone and self.groups > batch.inputs.shape[0] // 2:
            raise CellError(
                f"estimator 'grouped' passes groups of one example through problem '{problem.name}', whose network "
                "does not take a single example (M = 1); expected groups of two examples or more."
            )
        parts = [torch.tensor_split(t, min(self.groups, batch.inputs.shape[0])) for t in batch]

        def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            values = []
            for g, part in enumerate(zip(*parts, strict=True)):
                source = noise_of_calls(self, problem, noise.at("group", g))
                sampler = _weights(problem, at, source)
                values.append(problem.log_likelihood(sampler, Batch(*part), at).sum())
            value = problem.scale(batch) * torch.stack(values).sum()
            return value, value

        return Gradient(*differentiate(target, problem.free(parameters)))

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """B_g = x_g(μ + σε_g), group by group."""
        parts = torch.tensor_split(x, min(self.groups, x.shape[0]))
        return torch.cat(
            [
                layer.linear(part, q.weights(q.draw(noise.at("group", g), layer.name)))
                for g, part in enumerate(parts)
            ]
        )


def _weights(problem: Problem, at: Parameters, source: Callable[[Layer], Noise]) -> Sampler:
    """One weight sample for a whole group."""

    def sample(layer: Layer, x: Tensor) -> Tensor:
        q = problem.posterior(layer, at)
        return layer.linear(x, q.weights(q.draw(source(layer), layer.name)))

    return sample
