"""Priors over noisy weights, as the KL term of the evidence lower bound, in nats.

A prior turns the mean and variance of q(w) = N(μ, σ²) into one number, KL(q‖prior) summed over the
weights. The priors here have it as a function of mean and variance, so no term of it is sampled and
none of its gradient's variance is the estimator's.

The log-uniform prior p(ln|w|) ∝ 1 is improper. Its KL exists only up to an additive constant, and
the posterior it would give is improper too (Hron, Matthews & Ghahramani 2018, *Variational Bayesian
dropout: pitfalls and fixes*): the term is a *regulariser* that favours large α = σ²/μ², and a lower
bound that contains it is comparable only with another that contains the same term.

Three forms of it are in use: the exact one, the cubic of Kingma, Salimans & Welling 2015, and the fit
of Molchanov, Ashukha & Vetrov 2017 (*Variational dropout sparsifies deep neural networks*). All are
given here with the constant that makes their values comparable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from vdbench import kinds
from vdbench.errors import InputError, nearest
from vdbench.problems.bernoulli_prior import BernoulliPrior
from vdbench.problems.dawson import dawson_integral

__all__ = ["BernoulliPrior", "GaussianPrior", "LogUniformPrior", "NoPrior", "Prior", "from_spec"]

_SMALLEST_VARIANCE = torch.finfo(torch.float32).tiny
_SMALLEST_LOG_ALPHA = -1000.0  # e^500 is still a float64

_CUBIC = (1.161451241083230, -1.502041176441722, 0.586299206427007)
# KL(1) + c₁ + c₂ + c₃, with the exact KL(1) = ½ Σ_k (−1)^k/((k+1)(2k+1)!!) = 0.426685604296.
_CUBIC_CONSTANT = 0.6723948753645297
_MOLCHANOV = (0.63576, 1.8732, 1.48695)
_SMALLEST_X, _LARGEST_X = 1e-150, 1e150  # squares of what lies between are float64s


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

    def kl_and_slopes(self, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The KL of `kl` and its slopes in (μ, log σ²), μ/s² and ½(σ²/s² − 1), without automatic differentiation.

        Args:
            mean: Posterior means, any shape.
            log_variance: ln σ², of the same shape.

        Returns:
            A scalar in nats, and two slopes of that shape; not to be written to, for one may be ``mean`` itself.
        """
        variance, share = log_variance.exp(), 1 / self.variance
        least = None
        if mean.device.type != "cpu" or float(variance.min()) < _SMALLEST_VARIANCE:
            least = variance < _SMALLEST_VARIANCE
            variance = _positive(variance)
            log_variance = log_variance.clamp(min=math.log(_SMALLEST_VARIANCE))
        terms = torch.sub(variance if share == 1 else variance * share, log_variance)
        terms.addcmul_(mean, mean, value=share)
        constant = mean.numel() * (math.log(self.variance) - 1)
        slope = torch.rsub(variance, -0.5, alpha=-0.5 * share)
        if least is not None:
            slope.masked_fill_(least, 0)
        return (terms.sum() + constant) / 2, mean if share == 1 else mean * share, slope

    def cross_entropy(self, mean: Tensor, variance: Tensor) -> Tensor:
        """E_q[−log N(w; 0, s²)] summed over the weights, of any law q with this mean and variance of each weight."""
        squares = (mean.square() + variance) / self.variance
        return 0.5 * (squares + math.log(2 * math.pi * self.variance)).sum()

    def decay(self, weights: Tensor) -> Tensor:
        """−log N(weights; 0, variance) summed over the weights: weight decay, for weights without a density of q."""
        return (
            0.5 * (weights.square() / self.variance + math.log(2 * math.pi * self.variance)).sum()
        )

    def __str__(self) -> str:
        return f"gaussian(variance={self.variance:g})"


@dataclass(frozen=True)
class NoPrior:
    """No term at all: maximum likelihood under the noise, which shrinks the noise to 0 wherever it is learned."""

    def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros((), dtype=mean.dtype, device=mean.device)

    def __str__(self) -> str:
        return "none"


@dataclass(frozen=True)
class LogUniformPrior:
    """The improper prior p(ln|w|) ∝ 1 on every weight (Kingma, Salimans & Welling 2015).

    The KL depends on α = σ²/μ² alone, up to a constant. A regulariser rather than a divergence from a
    posterior: see the head of this module. With x = μ/(σ√2), so that α = 1/(2x²), its forms are

    - ``exact``: 2∫₀ˣ D(t) dt, D the Dawson function; 0 at α = ∞, −½ ln α + ½(γ + ln 2) as α → 0;
    - ``kingma``: −½ ln α − c₁α − c₂α² − c₃α³ + 0.672394875, a fit for α ≤ 1 only, where the cubic soon
      runs away (at α = 2 it is 0.9 too low). *Beyond 1, α counts as 1 and the gradient is 0*: nothing
      then holds α but the likelihood: keep α at or below `largest_alpha` in training; `outside` tells
      where it is not. The paper leaves the constant out; with the one here the form equals the
      exact KL at α = 1, the end of its domain. Largest error 0.0055 for 0.1 ≤ α ≤ 1, and up to 0.0372
      below that, for as α → 0 the constant would have to be ½(γ + ln 2) = 0.635181423;
    - ``molchanov``: ½ ln(1 + 1/α) + k₁(1 − s(k₂ + k₃ ln α)), s the logistic function; 0 at α = ∞ as it
      is, so its constant is 0. Largest error 0.0094, at α = 0.03.

    Attributes:
        form: ``exact``, ``kingma`` or ``molchanov``.

    Raises:
        InputError: The form is not one there is.
    """

    form: str = "exact"

    def __post_init__(self) -> None:
        text = self.form if isinstance(self.form, str) else ""
        if text not in _FORMS:
            raise InputError(
                f"prior 'log-uniform': option 'form' is {self.form!r}.{nearest(text, _FORMS)}"
            )

    @property
    def largest_alpha(self) -> float:
        """The end of the form's domain (0, largest_alpha]; infinite where it has none."""
        return 1.0 if self.form == "kingma" else math.inf

    def outside(self, mean: Tensor, variance: Tensor, log_alpha: Tensor | None = None) -> Tensor:
        """Where α is beyond `largest_alpha`, and the KL therefore constant.

        Args:
            mean: Posterior means, any shape.
            variance: Posterior variances, of a shape that broadcasts with it.
            log_alpha: ln α where it is a coordinate; it then decides, at θ = 0 too.

        Returns:
            Booleans, in the shape of ``log_alpha`` where it is given, else in that of the weights.
        """
        if log_alpha is not None:
            return log_alpha > math.log(self.largest_alpha)
        if math.isinf(self.largest_alpha):
            return torch.zeros_like(mean * variance, dtype=torch.bool)
        return variance > self.largest_alpha * mean.square()

    def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Sum the KL over the weights; see ``Prior.kl``.

        At μ = 0, α is infinite: the KL is that of the largest α, and its gradient in μ is 0 (x is kept
        with the sign of μ, in which the KL is even and smooth). As σ → 0 the KL grows as −ln σ; a
        variance below 1.2e-38 counts as that, so that value and gradient stay finite. Computed in
        float64.

        Where α is itself a parameter, as in N(θ, αθ²), use `kl_alpha`: at θ = 0 the pair (θ, αθ²) no
        longer tells what α is.
        """
        x = mean.double() / (2 * _positive(variance.double())).sqrt()
        return _FORMS[self.form](x).sum().to(mean.dtype)

    def kl_alpha(self, log_alpha: Tensor) -> Tensor:
        """KL of N(θ, αθ²) from the prior, a weight, as a function of ln α.

        The exact form's slope is dKL/d ln α = −x·D(x) with x = 1/√(2α), which lies between −0.65 and 0
        and tends to −½ as α → 0, as that of the other two does.

        Args:
            log_alpha: ln α, any shape; ±∞ allowed.

        Returns:
            The KL in nats, elementwise, in the shape and dtype of ``log_alpha`` (computed in float64).
        """
        wide = log_alpha.double()
        x = (-0.5 * wide.clamp(min=_SMALLEST_LOG_ALPHA)).exp() / math.sqrt(2)
        # Below the clamp x would overflow, and the KL is −½ ln α plus a constant to all digits.
        beyond = 0.5 * torch.relu(_SMALLEST_LOG_ALPHA - wide)
        return (_FORMS[self.form](x) + beyond).to(log_alpha.dtype)

    def __repr__(self) -> str:
        # The default's is part of the names of blocks and checkpoints older than the option.
        return f"LogUniformPrior({'' if self.form == 'exact' else f'form={self.form!r}'})"

    def __str__(self) -> str:
        return "log-uniform" if self.form == "exact" else f"log-uniform(form={self.form})"


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
    return kinds.build("prior", PRIORS, spec)


PRIORS: dict[str, type[Prior]] = {
    "bernoulli": BernoulliPrior,
    "gaussian": GaussianPrior,
    "log-uniform": LogUniformPrior,
    "none": NoPrior,
}


def _positive(variance: Tensor) -> Tensor:
    """Raise a variance that has underflowed to the smallest normal float32 (gradient 0 there)."""
    return variance.clamp(min=_SMALLEST_VARIANCE)


def _kingma(x: Tensor) -> Tensor:
    """The cubic at α = 1/(2x²), or at 1 where that is above 1."""
    size = x.abs().clamp(min=1 / math.sqrt(2))
    alpha = 0.5 * size.reciprocal().square()
    c1, c2, c3 = _CUBIC
    cubic = alpha * (c1 + alpha * (c2 + alpha * c3))
    return size.log() + 0.5 * math.log(2) + _CUBIC_CONSTANT - cubic  # −½ ln α = ln x + ½ ln 2


class _Molchanov(torch.autograd.Function):
    """½ ln(1 + r²) + k₁ s(k₃ ln r² − k₂) with r² = 2x² = 1/α, s the logistic function: 1 − s(t) = s(−t).

    The derivative is written out: found by automatic differentiation it costs several times as much, and in training
    that was most of a step.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        size = x.abs()
        square = 2 * size.clamp(max=_LARGEST_X).square()
        beyond = (size.clamp(min=_LARGEST_X) / _LARGEST_X).log()
        return 0.5 * square.log1p() + beyond + _MOLCHANOV[0] * _share(size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        size = x.abs()
        inverse = x.sign() / size.clamp(min=_SMALLEST_X)
        near = 2 * x / (1 + 2 * size.clamp(max=_LARGEST_X).square())
        share = _share(size)
        k1, _, k3 = _MOLCHANOV
        logistic = 2 * k1 * k3 * share * (1 - share) * inverse
        return gradient * (torch.where(size < _LARGEST_X, near, inverse) + logistic)


def _share(size: Tensor) -> Tensor:
    """S(k₃ ln 2x² − k₂)."""
    _, k2, k3 = _MOLCHANOV
    return torch.sigmoid(k3 * (2 * size.clamp(min=_SMALLEST_X).log() + math.log(2)) - k2)


def _molchanov(x: Tensor) -> Tensor:
    """Molchanov's fit at r = 1/√α = x√2, smooth at 0 and without cancellation at either end."""
    return cast(Callable[[Tensor], Tensor], _Molchanov.apply)(x)


_FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "exact": dawson_integral,
    "kingma": _kingma,
    "molchanov": _molchanov,
}
"""The forms of the log-uniform prior's KL, as functions of x = μ/(σ√2)."""
