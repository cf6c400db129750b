"""Normal weights with a covariance that is diagonal but for a part of low rank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vdbench.noise import Noise
from vdbench.problems.parameterization import Parameterization, between, whole
from vdbench.problems.posterior import Law, Posterior
from vdbench.problems.structure import NORMAL_ENTROPY, Correlated, Map, safe_sqrt


@dataclass(frozen=True)
class Factors(Correlated):
    """W − mean = d ∘ z' + Σ_r z''_r V_r, z = (z', z''): covariance diag(d²) + VᵀV.

    Attributes:
        own: d, of the weights' shape.
        factors: V, (rank, *weights).
    """

    own: Tensor
    factors: Tensor

    def noise_shape(self, weights: tuple[int, ...]) -> tuple[int, ...]:
        """A number for each weight, and one for each factor behind them."""
        return (math.prod(weights) + len(self.factors),)

    def perturbation(self, scale: Tensor, z: Tensor) -> Tensor:
        """Own ∘ z' + Σ_r z''_r V_r."""
        count, lead = self.own.numel(), z.shape[:-1]
        each = z[..., :count].reshape(*lead, *self.own.shape)
        shared = (z[..., count:] @ self.factors.flatten(1)).reshape(*lead, *self.own.shape)
        found: Tensor = self.own * each + shared
        return found

    def entropy(self, scale: Tensor) -> Tensor:
        """D times that of N(0, 1), plus ½ ln det of the covariance, Σ ln d² + ln det(I + V diag(d⁻²) Vᵀ).

        In float64: factors that have become alike leave a matrix that float32 cannot decompose.
        """
        ratio = (self.factors.double() / self.own.double()).flatten(1)
        inner = torch.eye(len(ratio), dtype=ratio.dtype, device=ratio.device) + ratio @ ratio.mT
        half = torch.linalg.cholesky(inner).diagonal().log().sum().to(self.own.dtype)
        found: Tensor = self.own.numel() * NORMAL_ENTROPY + self.own.log().sum() + half
        return found

    def covariance(self) -> Tensor:
        """Diag(d²) + VᵀV."""
        flat = self.factors.flatten(1)
        return torch.diag(self.own.square().flatten()) + flat.mT @ flat

    def spread(self, layer: Map, x: Tensor) -> Tensor:
        """Σ x²d² + Σ_r (xV_r)²."""
        shared = [layer.linear(x, factor).square() for factor in self.factors]
        return layer.squared(x, self.own.square()) + torch.stack(shared).sum(0)

    def preactivations(self, layer: Map, x: Tensor, noise: Noise) -> Tensor:
        """√(x²d²)·ζ + Σ_r ξ_r·xV_r, ζ for each output and ξ shared by the outputs of a row."""
        own = safe_sqrt(layer.squared(x, self.own.square()))
        b = own * noise(layer.name, own.shape)
        xi = noise.at("factors")(layer.name, (*x.shape[:-1], len(self.factors)))
        for r, factor in enumerate(self.factors):
            b = b + layer.linear(x, factor) * xi[..., r : r + 1]
        return b


@dataclass(frozen=True)
class LowRankPlusDiagonal(Parameterization):
    """vec W ~ N(vec μ, diag(d²) + VᵀV) for all weights of a layer, in (μ, log d², V).

    ``rank`` further numbers move all weights of the layer together. Mishkin et al. 2018 (*SLANG*) have such a
    covariance; Tomczak, Swaroop & Turner 2020 (*Efficient low rank Gaussian variational inference for neural
    networks*) its pre-activations.

    Attributes:
        sigma: Initial standard deviation of the weights, of which half the variance is the factors', on average.
        rank: Number of factors.
    """

    sigma: float = 0.05
    rank: int = 2
    name: ClassVar[str] = "low-rank-plus-diagonal"
    roles: ClassVar[dict[str, str]] = {
        "mean": "mean",
        "log_variance": "scale",
        "factors": "factor",
    }

    def __post_init__(self) -> None:
        """Refuse a scale that is no scale, and a rank that is none."""
        between("sigma", self.sigma, 0)
        whole("rank", self.rank, 1)

    @property
    def law(self) -> Law:
        """Structured."""
        return "structured"

    @property
    def normal_preactivations(self) -> bool:
        """They are: of one example jointly normal, with covariance diag(x²d²) + Σ_r (xV_r)(xV_r)ᵀ."""
        return True

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """μ = weight, d² = ½ sigma², V of shape (rank, *weights).

        The factors start as cosines over the weights: at V = 0 their gradient is 0, and equal ones would stay equal.
        """
        count = weight.numel()
        angle = torch.arange(count).to(weight) + 0.5
        terms = torch.arange(1, self.rank + 1).to(weight)
        waves = torch.cos(math.pi / count * terms[:, None] * angle)
        return {
            "mean": weight.clone(),
            "log_variance": torch.full_like(weight, math.log(0.5 * self.sigma**2)),
            "factors": (self.sigma / math.sqrt(self.rank) * waves).reshape(-1, *weight.shape),
        }

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """The variance of a weight is d² + Σ_r V_r²."""
        mean, factors = coordinates["mean"], coordinates["factors"]
        own = torch.exp(0.5 * coordinates["log_variance"])
        variance = own.square() + factors.square().sum(0)
        return Posterior(
            mean, variance.sqrt(), variance, law="structured", structure=Factors(own, factors)
        )
