"""The prior over learned binary masks, and the KL from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vdbench.errors import InputError


@dataclass(frozen=True)
class BernoulliPrior:
    """The prior Bernoulli(keep) on every number of a mask, for the posterior ``learned-binary``; none on θ.

    With q = σ(φ) and keep = σ(κ),

        KL(q ‖ keep) = q ln(q/keep) + (1−q) ln((1−q)/(1−keep)) = σ(φ)(φ − κ) − ln(1 + e^φ) + ln(1 + e^κ),

    which is finite at any logit φ.

    Attributes:
        keep: The prior probability that a number is kept, above 0 and below 1.

    Raises:
        InputError: It is no such probability.
    """

    keep: float = 0.5

    def __post_init__(self) -> None:
        value = self.keep
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < 1:
            raise InputError(
                f"prior 'bernoulli': option 'keep' is {value!r}, expected a number above 0 and below 1."
            )

    def kl_logit(self, logit: Tensor) -> Tensor:
        """KL of one number of a mask as a function of its logit, elementwise, in nats.

        Args:
            logit: Any shape.
        """
        prior = math.log(self.keep / (1 - self.keep))
        return torch.sigmoid(logit) * (logit - prior) - F.softplus(logit) - math.log1p(-self.keep)

    def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Sum of the KL over weights with a mask of their own each, from their moments qθ and q(1−q)θ².

        Weights of 0 do not tell q, and count as q = ½; where the logit is known, `kl_logit` is what to take.
        """
        smallest = torch.finfo(mean.dtype).tiny
        ratio = mean.square().clamp(min=smallest).log() - variance.clamp(min=smallest).log()
        return self.kl_logit(ratio).sum()

    def __str__(self) -> str:
        return f"bernoulli(keep={self.keep:g})"
