"""Flipout: one weight perturbation, with independent random signs for every example."""

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
    version="2",
    posteriors="sign-symmetric",
)
@dataclass(frozen=True)
class Flipout(Pathwise):
    r"""A weight perturbation shared by the minibatch, with independent random signs for every example.

    Formula: $b_m = x_m\mu + ((x_m \circ s_m)\,\Delta W)\circ t_m$, $\Delta W = \sigma\varepsilon$,
    $\varepsilon \sim N(0, 1)$, $s_m, t_m$ vectors of independent random signs.

    $s_{mi}\,t_{mj}\,\Delta W_{ij}$ has the same distribution as $\Delta W_{ij}$, because that distribution is
    symmetric about 0. Every example therefore sees a correctly distributed weight sample, and its term of the
    objective keeps its expectation. In a convolution the signs belong to channels and are the same at every location.
    A sign for every pixel would give every location a different weight sample, and so change the objective.

    That takes $s_i\,t_j\,\Delta W_{ij}$ to have the law of $\Delta W$ for any signs: so it is for independent
    noise that is symmetric about 0, normal, uniform or truncated, and for radial noise, whose direction is uniform on
    the sphere, so that a change of signs, a rotation with reflections, leaves its law as it is. It is not for
    correlated weights: the signs multiply $\mathrm{Cov}(W_{ij}, W_{kl})$ by $s_i s_k t_j t_l$, whose mean is 0.

    The signs make the samples of different examples uncorrelated, and with them the gradients in $\mu$ of a linear
    layer. The samples are not independent: all share $|\varepsilon|$. This leaves a part in the gradient of $\sigma$
    that does not fall with M. It falls with the number P of perturbations, each shared by about M/P examples.

    Claim: unbiased for the ELBO of dense and convolutional layers.
    Cost: 2 products forward, 4 backward per layer; P·K·L normal numbers and M·(K + L) signs.
    Source: Wen, Vicol, Ba, Tran & Grosse 2018; one perturbation is their equation 4. Several perturbations are new
    here.

    Attributes:
        perturbations: P; limited to the number of examples.

    Example:
        >>> import vdbench
        >>> vdbench.get("flipout").declaration.laws
        ('normal', 'sign')
    """

    perturbations: int = 1

    def __post_init__(self) -> None:
        """Refuse fewer than one perturbation."""
        if self.perturbations < 1:
            raise InputError(
                f"flipout: perturbations must be at least 1, not {self.perturbations}."
            )

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """B = xμ + ((x∘s)ΔW)∘t; signs apply to the perturbation only."""
        mean = layer.linear(x, q.mean)
        flipped = x * noise.at("input")(layer.name, layer.sign_shape(x), law="sign")
        parts = torch.tensor_split(flipped, min(self.perturbations, x.shape[0]))
        perturbed = torch.cat(
            [
                layer.linear(part, q.perturbation(q.draw(noise.at("base", p), layer.name)))
                for p, part in enumerate(parts)
            ]
        )
        return mean + perturbed * noise.at("output")(layer.name, layer.sign_shape(mean), law="sign")
