"""The straight-through estimator for learned binary masks: biased."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench import Noise, register
from vdbench.estimation.binary_masks import Masked, MaskEstimator, kept


@register(
    "straight-through",
    objective="elbo",
    unbiased=False,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class StraightThrough(MaskEstimator):
    r"""Binary masks in the forward pass; the backward pass treats each mask as its mean q.

    Formula: $\nabla_\varphi \leftarrow \sum_m \frac{\partial f_m}{\partial B}(B_m)\; q(1-q)$,
    $B_m \sim \mathrm{Bernoulli}(q)$.

    The true gradient $q(1-q)E[f(1) - f(0)]$ contains the difference $f(1) - f(0)$. Here it is replaced by the slope of
    $f$ at one of the two ends. This is exact for a cost that is linear in the mask, and biased for any other. In θ and
    in the biases, the estimate is the ordinary, unbiased gradient under the drawn masks.

    Claim: biased in the logits for the ELBO of learned masks.
    Cost: 1 product forward, 1 backward; M·K numbers of noise per layer.
    Source: Hinton 2012 (lectures); Bengio, Léonard & Courville 2013.

    Example:
        >>> import vdbench
        >>> vdbench.get("straight-through").declaration.unbiased
        False
    """

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Σ_m f_m under masks whose backward pass has the slope of q."""
        masks = network.each(kept, network.uniforms(noise))
        value = network.costs(network.carried(masks, network.each(_slope))).sum()
        return value, value


def _slope(logit: Tensor) -> Tensor:
    """q(1−q), computed without the cancellation in 1 − q."""
    return torch.sigmoid(logit) * torch.sigmoid(-logit)
