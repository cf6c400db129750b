"""Grouped weight samples: a few weight samples, each shared by a part of the minibatch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench import InputError, Layer, Noise, Pathwise, Posterior, register


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
    groups are consecutive parts of the minibatch, whose order is random.

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

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """B_g = x_g(μ + σε_g), group by group."""
        parts = torch.tensor_split(x, min(self.groups, x.shape[0]))
        return torch.cat(
            [
                layer.linear(part, q.weights(q.draw(noise.at("group", g), layer.name)))
                for g, part in enumerate(parts)
            ]
        )
