"""Independent normal weights whose deviations form a matrix of low rank and positive terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vdbench.problems.parameterization import Parameterization, between, whole
from vdbench.problems.posterior import Posterior


@dataclass(frozen=True)
class LowRankScale(Parameterization):
    """W_ji ~ N(μ_ji, σ_ji²) independent, σ = Σ_r u_r v_rᵀ with positive u_r (outputs) and v_r (inputs).

    An output and an input have ``rank`` numbers each in place of one σ a weight, so that many weights give their
    gradients to each. The weights stay independent and normal, and every estimator for such weights is valid. Of a
    convolution, the second factor has a number for each input channel and place of the kernel. Swiatkowski et al. 2020,
    *The k-tied Normal Distribution*, with its factors as exponentials here.

    Attributes:
        sigma: Initial standard deviation of every weight.
        rank: Number of terms.
    """

    sigma: float = 0.05
    rank: int = 1
    name: ClassVar[str] = "low-rank-scale"
    roles: ClassVar[dict[str, str]] = {
        "mean": "mean",
        "log_rows": "factor",
        "log_columns": "factor",
    }

    def __post_init__(self) -> None:
        """Refuse a scale that is no scale, and a rank that is none."""
        between("sigma", self.sigma, 0)
        whole("rank", self.rank, 1)

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """μ = weight; log u of shape (rank, outputs) and log v of shape (rank, weights of an output).

        The terms' shares of σ start apart from one another: equal terms would have equal gradients for ever.
        """
        outputs, columns = weight.shape[0], weight[0].numel()
        half = 0.5 * math.log(self.sigma)
        angle = torch.arange(outputs).to(weight) + 0.5
        terms = torch.arange(1, self.rank + 1).to(weight)
        uneven = 0.2 * torch.cos(math.pi / outputs * terms[:, None] * angle)
        return {
            "mean": weight.clone(),
            "log_rows": torch.log_softmax(uneven, 0) + half,
            "log_columns": weight.new_full((self.rank, columns), half),
        }

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """σ = Σ_r exp(log u_r) exp(log v_r)ᵀ."""
        mean = coordinates["mean"]
        rows, columns = coordinates["log_rows"].exp(), coordinates["log_columns"].exp()
        scale = (rows.mT @ columns).reshape(mean.shape)
        return Posterior(mean, scale, scale.square())
