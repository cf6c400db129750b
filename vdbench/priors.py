"""Priors over noisy weights, as the KL term of the evidence lower bound, in nats.

A prior turns the mean and variance of q(w) = N(μ, σ²) into one number, KL(q‖prior) summed over the
weights. Both priors here have it in closed form, so no term of it is sampled and none of its
gradient's variance is the estimator's.

The log-uniform prior p(ln|w|) ∝ 1 is improper. Its KL exists only up to an additive constant, and
the posterior it would give is improper too (Hron, Matthews & Ghahramani 2018, *Variational Bayesian
dropout: pitfalls and fixes*): the term is a *regulariser* that favours large α = σ²/μ², and a lower
bound that contains it is comparable only with another that contains the same term.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from vdbench import specs
from vdbench.dawson import dawson_integral
from vdbench.errors import InputError

__all__ = ["GaussianPrior", "LogUniformPrior", "Prior", "from_spec", "log_uniform_kl"]

_SMALLEST_VARIANCE = torch.finfo(torch.float32).tiny
_SMALLEST_LOG_ALPHA = -1000.0  # e^500 is still a float64


@runtime_checkable
class Prior(Protocol):
    """What a problem asks of its prior: the KL of a factorised Gaussian posterior from it."""

    def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Sum KL(N(mean, variance) ‖ prior) over the weights.

        Args:
            mean: Posterior means, any shape.
            variance: Posterior variances (not standard deviations), of the same shape or one that
                broadcasts to it.

        Returns:
            A scalar in nats, in the dtype and on the device of ``mean``; differentiable.
        """
        ...


@dataclass(frozen=True)
class GaussianPrior:
    """The prior N(0, variance) on every weight.

    KL(N(μ, σ²) ‖ N(0, s²)) = ½ (σ²/s² + μ²/s² − 1 − ln(σ²/s²)).

    Attributes:
        variance: The prior's variance s², positive and finite.

    Raises:
        InputError: The variance is not a positive finite number.
    """

    variance: float = 1.0

    def __post_init__(self) -> None:
        value = self.variance
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise InputError(
                f"prior 'gaussian': option 'variance' is {value!r}, expected a positive number."
            )

    def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Sum the KL over the weights; see ``Prior.kl``.

        A variance below 1.2e-38 counts as that, so that value and gradient stay finite.
        """
        ratio = _positive(variance) / self.variance
        per_weight = 0.5 * (ratio + mean.square() / self.variance - 1 - ratio.log())
        return per_weight.sum()

    def __str__(self) -> str:
        return f"gaussian(variance={self.variance:g})"


@dataclass(frozen=True)
class LogUniformPrior:
    """The improper prior p(ln|w|) ∝ 1 on every weight (Kingma, Salimans & Welling 2015).

    The KL depends on α = σ²/μ² alone and is exact, up to the constant that makes it 0 at α = ∞:
    with x = μ/(σ√2), KL = 2∫₀ˣ D(t) dt with D the Dawson function. A regulariser rather than a
    divergence from a posterior: see the head of this module.
    """

    def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Sum the KL over the weights; see ``Prior.kl``.

        At μ = 0, α is infinite: the KL is 0, and its gradient in μ is 0 (x is kept with the sign of
        μ, in which the KL is even and smooth). As σ → 0 the KL grows as −ln σ; a variance below
        1.2e-38 counts as that, so that value and gradient stay finite. Computed in float64.

        Where α is itself a parameter, as in N(θ, αθ²), use `log_uniform_kl`: at θ = 0 the pair
        (θ, αθ²) no longer tells what α is.
        """
        x = mean.double() / (2 * _positive(variance.double())).sqrt()
        return dawson_integral(x).sum().to(mean.dtype)

    def __str__(self) -> str:
        return "log-uniform"


def log_uniform_kl(log_alpha: Tensor) -> Tensor:
    """KL of N(θ, αθ²) from the log-uniform prior, a weight, as a function of ln α.

    KL(α) − KL(∞) = 2∫₀ˣ D(t) dt with x = 1/√(2α), and dKL/d ln α = −x·D(x), which lies between
    −0.65 and 0 and tends to −½ as α → 0.

    Args:
        log_alpha: ln α, any shape; ±∞ allowed.

    Returns:
        The KL in nats, elementwise, in the shape and dtype of ``log_alpha`` (computed in float64).
    """
    wide = log_alpha.double()
    x = (-0.5 * wide.clamp(min=_SMALLEST_LOG_ALPHA)).exp() / math.sqrt(2)
    # Below the clamp x would overflow, and the KL is −½ ln α plus a constant to all digits.
    beyond = 0.5 * torch.relu(_SMALLEST_LOG_ALPHA - wide)
    return (dawson_integral(x) + beyond).to(log_alpha.dtype)


def from_spec(spec: object) -> Prior:
    """Build the prior a suite asks for.

    Args:
        spec: A name (``'log-uniform'``), or a mapping with the name under ``kind`` and the prior's
            options beside it (``{'kind': 'gaussian', 'variance': 1.0}``).

    Returns:
        The prior.

    Raises:
        InputError: The form, the name or an option is not one there is.
    """
    return specs.build("prior", _PRIORS, spec)


_PRIORS: dict[str, type[Prior]] = {
    "gaussian": GaussianPrior,
    "log-uniform": LogUniformPrior,
}


def _positive(variance: Tensor) -> Tensor:
    """Raise a variance that has underflowed to the smallest normal float32 (gradient 0 there)."""
    return variance.clamp(min=_SMALLEST_VARIANCE)
