"""What families in (μ, log σ²) share: each weight has a deviation of its own, and the noise a structure."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vdbench.problems.parameterization import Parameterization, between
from vdbench.problems.posterior import Law, Posterior
from vdbench.problems.structure import Structure


@dataclass(frozen=True)
class Around(Parameterization):
    """W = μ + σ ∘ z, with z of a structure that keeps its law when inputs and outputs change sign.

    Attributes:
        sigma: Initial standard deviation of every weight.
    """

    sigma: float = 0.05
    roles: ClassVar[dict[str, str]] = {"mean": "mean", "log_variance": "scale"}

    def __post_init__(self) -> None:
        """Refuse a scale that is no scale."""
        between("sigma", self.sigma, 0)

    @property
    @abstractmethod
    def structure(self) -> Structure:
        """What makes z."""

    @property
    def law(self) -> Law:
        """Structured."""
        return "structured"

    @property
    def sign_symmetric(self) -> bool:
        """It is: see each structure."""
        return True

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """μ = weight, log σ² = 2·log sigma."""
        log_variance = torch.full_like(weight, 2 * math.log(self.sigma))
        return {"mean": weight.clone(), "log_variance": log_variance}

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """Mean μ, deviation σ, and the structure's noise."""
        scale = torch.exp(0.5 * coordinates["log_variance"])
        return Posterior(
            coordinates["mean"], scale, scale.square(), law="structured", structure=self.structure
        )
