"""How the scale of q(w) = N(mean, variance) is parameterised.

Variances of gradients in different coordinates are not comparable (with σ = √α·θ, ∂/∂θ at fixed α is
g_μ + √α·g_σ), so the parameterization is an option of the problem and is recorded with every figure.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from vdbench import specs
from vdbench.errors import InputError

SCALE_ROLES = ("scale", "alpha")
"""Roles of the parameters that set the spread of q."""


class Gaussian(NamedTuple):
    """A factorised Gaussian over the weights of one layer.

    ``log_alpha`` is log σ²/μ² where it is a coordinate, of a shape that broadcasts to the weights, else None.
    ``scale`` multiplies standard normal noise and may be negative (σ = √α·θ has the sign of θ; the law is the
    same); ``variance`` is its square, computed without a root so that it is smooth at zero.
    """

    mean: Tensor
    scale: Tensor
    variance: Tensor
    log_alpha: Tensor | None = None


class Parameterization(ABC):
    """The coordinates of q(w) for one layer. Names of coordinates end the names of parameters (``fc1.mean``)."""

    name: ClassVar[str]
    roles: ClassVar[dict[str, str]]

    @abstractmethod
    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """Coordinates of a q centred on ``weight``, as new tensors of its dtype and device.

        Args:
            weight: Of the layer.
            place: Number of the layer among the noisy ones, for coordinates that start elsewhere in each.
        """

    @abstractmethod
    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Gaussian:
        """The Gaussian at these coordinates, differentiable in them."""

    @property
    def fixed(self) -> tuple[str, ...]:
        """Coordinates that are held fixed: no gradient is taken in them."""
        return ()

    @property
    def layers(self) -> int | None:
        """How many noisy layers the coordinates are meant for; None for any number."""
        return None


@dataclass(frozen=True)
class MeanLogVariance(Parameterization):
    """(μ, log σ²): mean and log-variance of every weight; Graves 2011, Blundell et al. 2015.

    Attributes:
        sigma: Initial standard deviation of every weight.
    """

    sigma: float = 0.05
    name: ClassVar[str] = "mean-log_variance"
    roles: ClassVar[dict[str, str]] = {"mean": "mean", "log_variance": "scale"}

    def __post_init__(self) -> None:
        """Refuse a scale that is no scale."""
        _positive("sigma", self.sigma)

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """μ = weight, log σ² = 2·log sigma."""
        return {
            "mean": weight.clone(),
            "log_variance": torch.full_like(weight, 2 * math.log(self.sigma)),
        }

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Gaussian:
        """σ = exp(½ log σ²)."""
        scale = torch.exp(0.5 * coordinates["log_variance"])
        return Gaussian(coordinates["mean"], scale, scale.square())


@dataclass(frozen=True)
class ThetaLogAlpha(Parameterization):
    """(θ, log α), one α a layer: q(w) = N(θ, αθ²); Kingma, Salimans & Welling 2015.

    Attributes:
        alpha: Initial α; p/(1−p) of the equivalent dropout rate p. A list gives one for each noisy layer, first
            to last.
        learned: Whether α is a parameter (variational dropout) or fixed (Gaussian dropout).
    """

    alpha: float | tuple[float, ...] = 0.5
    learned: bool = True
    name: ClassVar[str] = "theta-log_alpha"
    roles: ClassVar[dict[str, str]] = {"theta": "theta", "log_alpha": "alpha"}

    def __post_init__(self) -> None:
        """Refuse an alpha that is no variance."""
        if isinstance(self.alpha, list | tuple):
            object.__setattr__(self, "alpha", tuple(self.alpha))
            if not self.alpha:
                raise InputError("alpha of the posterior is an empty list.")
        for alpha in self._alphas:
            _positive("alpha", alpha)
        if not isinstance(self.learned, bool):
            raise InputError(
                f"learned of the posterior must be true or false, not {self.learned!r}."
            )

    @property
    def _alphas(self) -> tuple[float, ...]:
        return self.alpha if isinstance(self.alpha, tuple) else (self.alpha,)

    @property
    def layers(self) -> int | None:
        """As many layers as there are α in a list."""
        return len(self.alpha) if isinstance(self.alpha, tuple) else None

    @property
    def fixed(self) -> tuple[str, ...]:
        """``log_alpha`` unless it is learned."""
        return () if self.learned else ("log_alpha",)

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """θ = weight, log α one scalar for the layer, shape (1,)."""
        alpha = self._alphas[place] if self.layers else self._alphas[0]
        return {"theta": weight.clone(), "log_alpha": weight.new_full((1,), math.log(alpha))}

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Gaussian:
        """σ = √α·θ, σ² = αθ²."""
        theta, log_alpha = coordinates["theta"], coordinates["log_alpha"]
        return Gaussian(
            mean=theta,
            scale=torch.exp(0.5 * log_alpha) * theta,
            variance=torch.exp(log_alpha) * theta.square(),
            log_alpha=log_alpha,
        )


def _positive(name: str, value: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):
        raise InputError(f"{name} of the posterior must be a finite number above 0, not {value!r}.")


PARAMETERIZATIONS: dict[str, type[Parameterization]] = {
    cls.name: cls for cls in (MeanLogVariance, ThetaLogAlpha)
}


def from_spec(spec: object) -> Parameterization:
    """Build the parameterization a suite asks for.

    Args:
        spec: A name (``'mean-log_variance'``), or a mapping with the name under ``kind`` and options beside it
            (``{'kind': 'theta-log_alpha', 'alpha': 0.5, 'learned': False}``).

    Raises:
        InputError: The form, the name or an option is not one there is.
    """
    return specs.build("parameterization", PARAMETERIZATIONS, spec)
