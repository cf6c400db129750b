"""Leave-one-out with a second, linear control variate of the other samples' gradients, for learned binary masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench import InputError, Noise, register
from vdbench.estimation.binary_masks import Masked, MaskEstimator, kept, score


@register(
    "double-control-variate",
    objective="elbo",
    unbiased=True,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class DoubleControlVariate(MaskEstimator):
    r"""Leave-one-out score function, with a linear function of the masks subtracted whose slopes are other samples'.

    Formula: $\nabla_\varphi \leftarrow \sum_m\frac1S\sum_s\big[f_m(B_s) - a_s\cdot B_s - \frac1{S-1}\sum_{t\ne
    s}(f_m(B_t) - a_s\cdot B_t)\big](B_s - q) + a_s\,q(1-q)$, $a_s = \frac1{S-1}\sum_{t\ne s}\nabla_Bf_m(B_t)$.

    The first control variate is the mean of the other samples, as in ``rloo``. The second is $a_s\cdot B$, a Taylor
    polynomial of the cost. Its slopes $a_s$ are those at the *other* samples, which are independent of $B_s$. Given
    them, $E[(a_s\cdot B_s)(B_s - q)] = a_s\,q(1-q)$, because the masks are independent Bernoulli variables; this is
    added back. So the estimator is unbiased, whatever the cost is between 0 and 1. If the cost is linear in the
    masks, no noise is left in the logits. In θ and in the biases, the estimate is the mean of the ordinary
    gradients under the S masks.

    Claim: unbiased for the ELBO of learned masks, dense and convolution; the cost must be differentiable in the masks.
    Cost: 2·S products forward, S backward for the masks and S for θ; S·M·K numbers of noise per layer.
    Source: derived here; the idea is that of Titsias & Shi 2022 (*Double control variates for gradient estimation in
    discrete latent variable models*), whose coefficients differ.

    Attributes:
        samples: S, at least 2.

    Example:
        >>> import vdbench
        >>> vdbench.get("double-control-variate", samples=4)
        DoubleControlVariate(samples=4)
    """

    samples: int = 2

    def __post_init__(self) -> None:
        """Refuse fewer than two samples."""
        if self.samples < 2:
            raise InputError(
                f"double-control-variate: samples must be at least 2, not {self.samples}: with one there are no others."
            )

    @property
    def passes_together(self) -> int:
        """Two for each sample."""
        return 2 * self.samples

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """The mean over samples of Σ_m f_m, plus that of the slopes of scores and linear parts."""
        count = self.samples
        drawn = [network.each(kept, network.uniforms(noise.at("sample", s))) for s in range(count)]
        costs = torch.stack([network.costs(masks) for masks in drawn])  # (S, M)
        found = [network.mask_slopes(masks) for masks in drawn]
        ones = torch.ones_like(costs[0].detach())
        terms = []
        for s, masks in enumerate(drawn):
            others = [t for t in range(count) if t != s]
            slopes = {n: torch.stack([found[t][n] for t in others]).mean(0) for n in masks}
            rest = (costs.sum(0) - costs[s]) / (count - 1)
            less = costs[s] - rest
            for name, mask in masks.items():
                mean = torch.stack([drawn[t][name] for t in others]).mean(0)
                less = less - (slopes[name] * (mask - mean)).flatten(1).sum(1)
            terms.append(network.slope(less, network.each(score, masks)))
            terms.append(network.slope(ones, network.each(_spread, slopes)))
        value = costs.mean(0).sum()
        return torch.stack(terms).sum() / count + value, value


def _spread(logit: Tensor, slope: Tensor) -> Tensor:
    """Slope · q(1−q), computed without the cancellation in 1 − q."""
    return slope * torch.sigmoid(logit) * torch.sigmoid(-logit)
