"""ARMS: several samples that are antithetic to one another, for learned binary masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vdbench import InputError, Noise, register
from vdbench.estimation.binary_masks import Masked, MaskEstimator


@register(
    "arms",
    objective="elbo",
    unbiased=True,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class Arms(MaskEstimator):
    r"""Leave-one-out score function over S masks an example that avoid one another, corrected for their correlation.

    Formula: $\nabla_\varphi \leftarrow \sum_m\frac1{S-1}\sum_s\big(f_m(B_s) - \bar f_m\big)(B_s - q)\,\frac1{1-\rho}$,
    $\rho = \mathrm{Corr}(B_s, B_t)$.

    Each number of a mask has S uniform numbers from a Dirichlet copula: $d \sim \mathrm{Dirichlet}(1, \dots, 1)$, made
    of S exponential numbers divided by their sum. Let $p = \min(q, 1-q)$ be the probability of the rarer value. It is
    taken where $d_s > a = 1 - p^{1/(S-1)}$, which has probability $(1-a)^{S-1} = p$. Two samples take it together with
    probability $(1-2a)_+^{S-1} = t$, less than $p^2$, so that
    $\frac1{1-\rho} = \frac{1-p}{1-t/p}$, $t/p = (2 - p^{-1/(S-1)})_+^{S-1}$.

    It is unbiased because each number of a mask is drawn independently of the others. Given a pair of samples of one
    number, the other numbers have the same law in both, so the mean of $f(B_s) - f(B_t)$ is
    $(B_s - B_t)\,E[f(1) - f(0)]$. The mean of $\frac12(B_s - B_t)^2$ is $q(1-q)(1-\rho)$. The estimator is a mean over
    pairs. With S = 2 its law is that of ``disarm``. In θ and in the biases, the estimate is the mean of the ordinary
    gradients under the S masks.

    Claim: unbiased for the ELBO of learned masks, dense and convolution.
    Cost: S products forward, S backward for θ; S·M·K numbers of noise per layer.
    Source: Dimitriev & Zhou 2021 (*ARMS: Antithetic-REINFORCE-Multi-Sample gradient for binary variables*), with their
    Dirichlet copula.

    Attributes:
        samples: S, at least 2.

    Example:
        >>> import vdbench
        >>> vdbench.get("arms", samples=3)
        Arms(samples=3)
    """

    samples: int = 4

    def __post_init__(self) -> None:
        """Refuse fewer than two samples."""
        if self.samples < 2:
            raise InputError(
                f"arms: samples must be at least 2, not {self.samples}: one has nothing to be antithetic to."
            )

    @property
    def passes_together(self) -> int:
        """One for each sample."""
        return self.samples

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """The mean over samples of Σ_m f_m, plus the slopes of the corrected scores."""
        count = self.samples
        uniforms = [network.uniforms(noise.at("sample", s)) for s in range(count)]
        times = {n: torch.stack([_exponential(u[n]) for u in uniforms]) for n in network.logits}
        rare = [
            network.each(self._rare, {n: t[s] / t.sum(0) for n, t in times.items()})
            for s in range(count)
        ]
        costs = torch.stack([network.costs(network.each(_mask, one)) for one in rare])  # (S, M)
        above = (costs - costs.mean(0)) / (count - 1)
        slopes = [
            network.slope(mine, network.each(self._direction, one))
            for mine, one in zip(above, rare, strict=True)
        ]
        value = costs.mean(0).sum()
        return torch.stack(slopes).sum() + value, value

    def _root(self, logit: Tensor) -> Tensor:
        """p^{1/(S−1)}, p the probability of the rarer value."""
        return torch.exp(F.logsigmoid(-logit.abs()) / (self.samples - 1))

    def _rare(self, logit: Tensor, share: Tensor) -> Tensor:
        """Whether the rarer value is taken, 1 or 0."""
        return (share > 1 - self._root(logit)).to(share.dtype)

    def _direction(self, logit: Tensor, rare: Tensor) -> Tensor:
        """(B − mode)/(1 − ρ): the costs' deviations sum to 0, so any constant may stand for q."""
        together = (2 - 1 / self._root(logit)).clamp(min=0) ** (self.samples - 1)  # t/p
        sign = torch.where(logit > 0, -1.0, 1.0).to(rare.dtype)
        return sign * rare * torch.sigmoid(logit.abs()) / (1 - together)


def _mask(logit: Tensor, rare: Tensor) -> Tensor:
    """The mask: 1 is the rarer value where φ ≤ 0."""
    return torch.where(logit > 0, 1 - rare, rare)


def _exponential(uniform: Tensor) -> Tensor:
    """A standard exponential number, finite and above 0 also where the generator gives 0."""
    return -uniform.clamp(min=torch.finfo(uniform.dtype).tiny).log()
