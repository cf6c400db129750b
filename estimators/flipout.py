"""Flipout: one weight perturbation, with random signs of its own for every example."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench import InputError, Layer, Noise, Pathwise, Posterior, register


@register(
    "flipout",
    objective="elbo",
    unbiased=True,
    laws=("normal", "sign"),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class Flipout(Pathwise):
    r"""A weight perturbation shared by the minibatch, with random signs of its own for every example.

    Formula: $b_m = x_m\mu + ((x_m \circ s_m)\,\Delta W)\circ t_m$, $\Delta W = \sigma\varepsilon$,
    $\varepsilon \sim N(0, 1)$, $s_m, t_m$ vectors of independent random signs.

    $s_{mi}\,t_{mj}\,\Delta W_{ij}$ has the law of $\Delta W_{ij}$, because that law is symmetric about 0, so every
    example sees a weight sample of the right law and its term of the objective keeps its expectation. In a convolution
    the signs are those of channels, the same at every location: a sign for every pixel would break the weight sample
    into a different one at each location, and with it the objective. The signs make
    the samples of different examples uncorrelated, and with them the gradients in $\mu$ of a linear layer. Not
    independent: all share $|\varepsilon|$, which leaves in the gradient of $\sigma$ a part that does not fall with M.
    It falls with the number P of perturbations, each shared by about M/P examples.

    Claim: unbiased for the ELBO of dense and convolutional layers.
    Cost: 2 products forward, 4 backward a layer; P·K·L normal numbers and M·(K + L) signs.
    Source: Wen, Vicol, Ba, Tran & Grosse 2018; one perturbation, their equation 4. Several are ours.

    Attributes:
        perturbations: P; as many as there are examples, if those are fewer.

    Example:
        >>> import vdbench
        >>> vdbench.get("flipout").declaration.laws
        ('normal', 'sign')
    """

    perturbations: int = 1

    def __post_init__(self) -> None:
        """Refuse no perturbation at all."""
        if self.perturbations < 1:
            raise InputError(
                f"flipout: perturbations must be at least 1, not {self.perturbations}."
            )

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """B = xμ + ((x∘s)ΔW)∘t: the mean's part has no sign, and the perturbation no mean."""
        mean = layer.linear(x, q.mean)
        flipped = x * noise.at("input")(layer.name, layer.sign_shape(x), law="sign")
        parts = torch.tensor_split(flipped, min(self.perturbations, x.shape[0]))
        perturbed = torch.cat(
            [
                layer.linear(part, q.scale * noise.at("base", p)(layer.name, q.mean.shape))
                for p, part in enumerate(parts)
            ]
        )
        return mean + perturbed * noise.at("output")(layer.name, layer.sign_shape(mean), law="sign")
