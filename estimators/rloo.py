"""REINFORCE with a leave-one-out baseline (RLOO) for learned binary masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench import InputError, Noise, register
from vdbench.estimation.binary_masks import Masked, MaskEstimator, kept, score


@register(
    "rloo",
    objective="elbo",
    unbiased=True,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class Rloo(MaskEstimator):
    r"""Score function over several masks per example, each cost minus the mean cost of the others.

    Formula: $\nabla_\varphi \leftarrow
    \sum_m\frac1S\sum_s\Big(f_m(B_{ms}) - \frac1{S-1}\sum_{t\ne s} f_m(B_{mt})\Big)(B_{ms} - q)$.

    It is unbiased because the baseline of a sample contains only the other samples, which are independent of it. A
    mean that included its own cost would shrink the gradient by (S−1)/S. What all masks of an example have in common
    cancels, including additive constants. In θ and in the biases, the estimate is the mean of the ordinary gradients
    under the S masks.

    Claim: unbiased for the ELBO of learned masks, dense and convolution.
    Cost: S products forward, S backward for θ; S·M·K numbers of noise per layer.
    Source: Salimans & Knowles 2014; Kool, van Hoof & Welling 2019 (*Buy 4 REINFORCE samples, get a baseline for
    free!*).

    Attributes:
        samples: S, at least 2.

    Example:
        >>> import vdbench
        >>> vdbench.get("rloo", samples=4)
        Rloo(samples=4)
    """

    samples: int = 2

    def __post_init__(self) -> None:
        """Refuse fewer than two samples."""
        if self.samples < 2:
            raise InputError(
                f"rloo: samples must be at least 2, not {self.samples}: with one there is nothing to leave in."
            )

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """The mean over samples of Σ_m f_m, plus that of the slopes of the scores."""
        drawn = [
            network.each(kept, network.uniforms(noise.at("sample", s))) for s in range(self.samples)
        ]
        costs = torch.stack([network.costs(masks) for masks in drawn])  # (S, M)
        others = (costs.sum(0) - costs) / (self.samples - 1)
        slopes = [
            network.slope(mine, network.each(score, masks))
            for mine, masks in zip(costs - others, drawn, strict=True)
        ]
        value = costs.mean(0).sum()
        return torch.stack(slopes).mean() + value, value
