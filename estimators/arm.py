"""Augment-REINFORCE-merge (ARM) for learned binary masks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vdbench import Noise, register
from vdbench.estimation.binary_masks import Masked, MaskEstimator, flipped, kept


@register(
    "arm",
    objective="elbo",
    unbiased=True,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class Arm(MaskEstimator):
    r"""Two masks per example from one antithetic uniform number each, weighted with that number.

    Formula: $\nabla_\varphi \leftarrow
    \sum_m\big(f_m(1[u_m \ge \sigma(-\varphi)]) - f_m(1[u_m < \sigma(\varphi)])\big)(u_m - \frac12)$.

    Both masks follow Bernoulli(q). Write $B$ as $1[u \ge 1 - q]$. The score of the underlying logistic variable is
    $2u - 1$, and averaging that estimate over $u$ and $1 - u$ gives the formula. All masks of all layers are mirrored
    together, so two forward passes suffice for all logits. If the two masks of an example are equal, its contribution
    is 0. In θ and in the biases, the estimate is the mean of the ordinary gradients under both masks, each of which
    has the right distribution.

    Claim: unbiased for the ELBO of learned masks, dense and convolution.
    Cost: 2 products forward, 2 backward for θ; M·K numbers of noise per layer.
    Source: Yin & Zhou 2019 (*ARM: augment-REINFORCE-merge gradient for stochastic binary networks*).

    Example:
        >>> import vdbench
        >>> vdbench.get("arm").declaration.unbiased
        True
    """

    @property
    def draws_per_gradient(self) -> int:
        """Two masks."""
        return 2

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """The mean of both costs, plus the logits' slope along u − ½."""
        uniforms = network.uniforms(noise)
        one, other = (network.costs(network.each(side, uniforms)) for side in (kept, flipped))
        value = (0.5 * (one + other)).sum()
        directions = {name: u - 0.5 for name, u in uniforms.items()}
        return network.slope(one - other, directions) + value, value
