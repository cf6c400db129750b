"""Straight-through Gumbel for learned binary masks, with its slope averaged given the masks: biased."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench import InputError, Noise, register
from vdbench.estimation.binary_masks import (
    Masked,
    MaskEstimator,
    kept,
    logistic,
    need_temperature,
)


@register(
    "straight-through-gumbel",
    objective="elbo",
    unbiased=False,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class StraightThroughGumbel(MaskEstimator):
    r"""Binary masks in the forward pass; the backward pass has the slope of a relaxed mask that lies on the same side.

    Formula: $\nabla_\varphi \leftarrow \sum_m \frac{\partial f_m}{\partial B}(B_m)\cdot\frac1K\sum_k
    \frac{c_k(1-c_k)}\lambda$, $c_k = \sigma(z_k/\lambda)$, $z_k \sim p(z\mid B_m)$, $z = \varphi + \ln\frac
    u{1-u}$, $B = 1[z \ge 0]$.

    With the mask's own $z$ in place of $z_k$ this is the straight-through Gumbel estimator. Only the mask enters
    the cost, so the slope may be replaced by its mean given the mask (Rao–Blackwell): the mean stays, and the
    variance can only fall. With K = 1 the slope comes from one fresh $z$, and the law is that of straight-through
    Gumbel; as K grows, its noise given the mask is averaged. The bias is that of the relaxation, in the logits: the
    slope at one end stands for the difference $f(1) - f(0)$. In θ and in the biases, the estimate is the ordinary,
    unbiased gradient.

    Claim: biased in the logits for the ELBO of learned masks.
    Cost: 1 product forward, 1 backward; (K + 1)·M·K' numbers of noise per layer of K' inputs.
    Source: Jang, Gu & Poole 2017; averaged slope: Paulus, Maddison & Krause 2021 (*Rao-Blackwellizing the
    straight-through Gumbel-softmax gradient estimator*).

    Attributes:
        temperature: λ.
        slopes: K, relaxed masks given the mask.

    Example:
        >>> import vdbench
        >>> vdbench.get("straight-through-gumbel", slopes=8)
        StraightThroughGumbel(temperature=0.5, slopes=8)
    """

    temperature: float = 0.5
    slopes: int = 1

    def __post_init__(self) -> None:
        """Refuse an invalid temperature or number of slopes."""
        need_temperature("straight-through-gumbel", self.temperature)
        if self.slopes < 1:
            raise InputError(
                f"straight-through-gumbel: slopes must be at least 1, not {self.slopes}."
            )

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Σ_m f_m under masks whose backward pass has the averaged slope."""
        masks = network.each(kept, network.uniforms(noise))
        places = [network.uniforms(noise.at("slope", k)) for k in range(self.slopes)]
        each = [network.each(self._slope, masks, place) for place in places]
        mean = {n: torch.stack([slope[n] for slope in each]).mean(0) for n in masks}
        value = network.costs(network.carried(masks, mean)).sum()
        return value, value

    def _slope(self, logit: Tensor, mask: Tensor, place: Tensor) -> Tensor:
        """c(1−c)/λ at a z with the mask's sign, whose place within its side is uniform."""
        # |z| given the side: with s the side's probability, P(|z| > a) = σ(±φ − a)/s
        side = torch.where(mask > 0.5, torch.sigmoid(logit), torch.sigmoid(-logit))
        far = -logistic(side * place)
        toward = torch.where(mask > 0.5, logit, -logit)
        t = (far + toward).clamp(min=0) / self.temperature
        return torch.sigmoid(t) * torch.sigmoid(-t) / self.temperature
