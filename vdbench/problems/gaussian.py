"""How q(w) is parameterised: the families of noise and the coordinates of each.

Variances of gradients in different coordinates are not comparable (with σ = √α·θ, ∂/∂θ at fixed α is
g_μ + √α·g_σ), so the parameterization is an option of the problem and is recorded with every figure.

| noise | parameterization |
|---|---|
| none | ``point`` |
| binary dropout; DropConnect | ``binary-dropout``; with ``sharing: weights`` |
| Gaussian dropout (type A) | ``theta-log_alpha`` with ``learned: false``, ``sharing: inputs`` |
| Gaussian weight noise (type B) | ``theta-log_alpha`` with ``learned: false`` |
| variational dropout, type A, type B | ``theta-log_alpha``, ``sharing: inputs`` or ``weights`` |
| additive (θ, log σ²), any σ | ``mean-log_variance`` |
| the same in σ, log σ or softplus⁻¹ σ | ``mean-scale`` |
| binary masks with a learned keep probability | ``learned-binary`` |
| additive, σ of low rank | ``low-rank-scale`` |
| uniform; normal within bounds | ``uniform``; ``truncated-normal`` |
| a direction and a radius | ``radial`` |
| row × column covariance; diagonal and low rank | ``matrix-normal``; ``low-rank-plus-diagonal`` |

Types A and B, with correlated and uncorrelated noise, are those of Kingma, Salimans & Welling 2015, section 3; the
additive coordinates are also those of Molchanov, Ashukha & Vetrov 2017, where α = σ²/θ² is computed from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from vdbench import kinds
from vdbench.errors import InputError
from vdbench.problems.dropout import BinaryDropout, LearnedBinary, Point
from vdbench.problems.families.bounded import TruncatedNormal, Uniform
from vdbench.problems.families.low_rank import LowRankPlusDiagonal
from vdbench.problems.families.low_rank_scale import LowRankScale
from vdbench.problems.families.matrix_normal import MatrixNormal
from vdbench.problems.families.radial import Radial
from vdbench.problems.parameterization import Parameterization, at, between, count, each, one_of
from vdbench.problems.posterior import OnDemand, Posterior, Sharing

SCALE_ROLES = ("scale", "factor", "alpha")
"""Roles of the parameters that set the spread of q."""

Per = Literal["layer", "input", "output", "weight"]


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
        between("sigma", self.sigma, 0)

    @property
    def elementwise(self) -> bool:
        """It is."""
        return True

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """μ = weight, log σ² = 2·log sigma."""
        return {
            "mean": weight.clone(),
            "log_variance": torch.full_like(weight, 2 * math.log(self.sigma)),
        }

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """σ = exp(½ log σ²), σ² = exp(log σ²)."""
        mean, log_variance = coordinates["mean"], coordinates["log_variance"]
        return OnDemand(
            mean,
            lambda: (0.5 * log_variance).exp_(),  # type: ignore[arg-type]
            lambda: torch.exp(log_variance),  # type: ignore[arg-type]
        )


SCALES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[float], float]]] = {
    "sigma": (lambda rho: rho, lambda sigma: sigma),
    "log-sigma": (torch.exp, math.log),
    "softplus": (torch.nn.functional.softplus, lambda sigma: sigma + math.log(-math.expm1(-sigma))),
}
"""σ of a coordinate ρ, and the ρ of a σ."""


@dataclass(frozen=True)
class MeanScale(Parameterization):
    """(μ, ρ): mean, and σ = ρ, exp ρ or log(1 + exp ρ) of every weight; the last is that of Blundell et al. 2015.

    The gradient in ρ is dσ/dρ times that in σ, for every estimator. Their ratios at one weight are therefore the same
    in all coordinates of the scale; those of averages over weights are, where σ is the same for all weights.

    Attributes:
        sigma: Initial standard deviation of every weight.
        coordinate: ``sigma``, ``log-sigma`` or ``softplus``. Only the first lets σ pass through 0; the law is then that
            of its magnitude.
    """

    sigma: float = 0.05
    coordinate: Literal["sigma", "log-sigma", "softplus"] = "softplus"
    name: ClassVar[str] = "mean-scale"
    roles: ClassVar[dict[str, str]] = {"mean": "mean", "rho": "scale"}

    def __post_init__(self) -> None:
        """Refuse a scale that is no scale, and a coordinate there is not."""
        between("sigma", self.sigma, 0)
        one_of("coordinate", self.coordinate, SCALES)

    @property
    def elementwise(self) -> bool:
        """It is."""
        return True

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """μ = weight, and the ρ of sigma."""
        rho = SCALES[self.coordinate][1](self.sigma)
        return {"mean": weight.clone(), "rho": torch.full_like(weight, rho)}

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """σ as the coordinate has it."""
        scale = SCALES[self.coordinate][0](coordinates["rho"])
        return Posterior(coordinates["mean"], scale, scale.square())


@dataclass(frozen=True)
class ThetaLogAlpha(Parameterization):
    """(θ, log α): q(w) = N(θ, αθ²); Kingma, Salimans & Welling 2015.

    Attributes:
        alpha: Initial α; p/(1−p) of the equivalent dropout rate p. A list gives one for each noisy layer, first
            to last.
        learned: Whether α is a parameter (variational dropout) or fixed (Gaussian dropout, Gaussian weight noise).
        per: What has an α of its own: every ``layer``, ``input`` feature, ``output`` neuron or ``weight``; of a
            convolution every input or output channel.
        sharing: ``weights``, noise of its own for every weight (type B, uncorrelated), or ``inputs``, one number
            for every input feature (type A, correlated), with one α for a layer or for each of them.
    """

    alpha: float | tuple[float, ...] = 0.5
    learned: bool = True
    per: Per = "layer"
    sharing: Sharing = "weights"
    name: ClassVar[str] = "theta-log_alpha"
    roles: ClassVar[dict[str, str]] = {"theta": "theta", "log_alpha": "alpha"}

    def __post_init__(self) -> None:
        """Refuse an alpha that is no variance, and a granularity that the noise cannot have."""
        object.__setattr__(self, "alpha", each("alpha", self.alpha))
        between("alpha", self.alpha, 0)
        if not isinstance(self.learned, bool):
            raise InputError(
                f"learned of the posterior must be true or false, not {self.learned!r}."
            )
        one_of("per", self.per, get_args(Per))
        one_of("sharing", self.sharing, get_args(Sharing))
        if self.sharing == "inputs" and self.per in ("output", "weight"):
            raise InputError(
                f"per of the posterior is '{self.per}' with sharing 'inputs': all outputs share the one noise of an "
                "input feature, so that its α cannot differ between them; expected per 'layer' or 'input'."
            )

    def __repr__(self) -> str:
        # The names of blocks and checkpoints older than the last two options contain the others alone.
        later = [("per", self.per, "layer"), ("sharing", self.sharing, "weights")]
        changed = "".join(f", {name}={value!r}" for name, value, usual in later if value != usual)
        return f"ThetaLogAlpha(alpha={self.alpha!r}, learned={self.learned!r}{changed})"

    @property
    def layers(self) -> int | None:
        """As many layers as there are α in a list."""
        return count(self.alpha)

    @property
    def fixed(self) -> tuple[str, ...]:
        """``log_alpha`` unless it is learned."""
        return () if self.learned else ("log_alpha",)

    @property
    def elementwise(self) -> bool:
        """It is."""
        return True

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """θ = weight; log α of shape (1,), or of the weights' with 1 for the dimensions that share it."""
        outputs, inputs, *kernel = weight.shape
        shape = {
            "layer": (1,),
            "input": (1, inputs, *(1 for _ in kernel)),
            "output": (outputs, 1, *(1 for _ in kernel)),
            "weight": tuple(weight.shape),
        }[self.per]
        log_alpha = math.log(at(self.alpha, place))
        return {"theta": weight.clone(), "log_alpha": weight.new_full(shape, log_alpha)}

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """σ = √α·θ, σ² = αθ²."""
        theta, log_alpha = coordinates["theta"], coordinates["log_alpha"]
        return OnDemand(
            mean=theta,
            scale=lambda: torch.exp(0.5 * log_alpha) * theta,  # type: ignore[arg-type]
            variance=lambda: torch.exp(log_alpha) * theta.square(),  # type: ignore[arg-type]
            log_alpha=log_alpha,
            sharing=self.sharing,
        )


PARAMETERIZATIONS: dict[str, type[Parameterization]] = {
    cls.name: cls
    for cls in (
        *(MeanLogVariance, MeanScale, ThetaLogAlpha, BinaryDropout, LearnedBinary, Point),
        *(LowRankScale, Uniform, TruncatedNormal, Radial, MatrixNormal, LowRankPlusDiagonal),
    )
}


def from_spec(spec: object) -> Parameterization:
    """Build the parameterization a suite asks for.

    Args:
        spec: A name (``'mean-log_variance'``), or a mapping with the name under ``kind`` and options beside it
            (``{'kind': 'theta-log_alpha', 'alpha': 0.5, 'learned': False}``).

    Raises:
        InputError: The form, the name or an option is not one there is.
    """
    return kinds.build("parameterization", PARAMETERIZATIONS, spec)
