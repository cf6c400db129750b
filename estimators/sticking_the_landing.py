"""Sticking the landing: sample the KL at the drawn weights, without the score of q."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from estimators.grouped import Grouped
from estimators.naive import Naive
from estimators.per_example import PerExample
from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    InputError,
    Noise,
    Parameters,
    Posterior,
    Problem,
    Wrapper,
    differentiate,
    need_posterior,
    register,
)
from vdbench.estimation.base import Declaration, add
from vdbench.noise import Kept
from vdbench.problems.layers import Layer
from vdbench.problems.priors import GaussianPrior

SAMPLES_WEIGHTS = (Naive, Grouped, PerExample)
"""The estimators that differentiate along sampled weights, and ask for nothing but the noise of those."""


@register("sticking-the-landing", version="1")
@dataclass(frozen=True)
class StickingTheLanding(Wrapper):
    r"""An estimator with weight samples, with the KL sampled instead of exact and the score of q dropped.

    Formula: $g + \nabla\mathrm{KL} - \nabla_\phi[\log q_{\bar\phi}(w) - \log p(w)]$, $w = \mu + \sigma\varepsilon$ the
    weights behind $g$, $\bar\phi$ the parameters held fixed, $p$ the prior.

    Training subtracts the exact $\nabla\mathrm{KL}$ again. What remains is the gradient of the sampled lower bound
    $\log p(y \mid x, w) + \log p(w) - \log q(w)$ along the path of $w$ alone. The omitted term is
    $-\nabla_\phi\log q_\phi(w)$ at fixed $w$. Its mean is 0, so the mean stays that of $g$.

    If q is the posterior itself, the bound equals the log-evidence at every $w$. Its gradient along the path is 0, and
    so is the variance of the whole minibatch's gradient. Neither the exact KL nor the sampled KL with its score has
    this property. Far from the posterior, dropping the score may also increase the variance. If training multiplies
    the KL by less than 1, the mean is still right, but the property is lost. With several weight samples (``grouped``,
    ``per-example``) the KL is their mean.

    Claim: as the wrapped estimator: unbiased for the ELBO of any layer kind.
    Cost: that of the wrapped estimator, and a few operations per weight.
    Source: Roeder, Wu & Duvenaud 2017.

    Attributes:
        of: ``naive``, ``grouped`` or ``per-example``. ``samples``, ``antithetic`` and similar wrappers go around this
            one.
        drop_score: Whether the score is dropped; if not, this is the plain estimator of the sampled bound.

    Example:
        >>> import vdbench
        >>> vdbench.get("sticking-the-landing", of="grouped")
        StickingTheLanding(of=Grouped(groups=4), drop_score=True)
    """

    of: Estimator = field(default_factory=Naive)
    drop_score: bool = True

    def __post_init__(self) -> None:
        """Refuse estimators that do not differentiate along weight samples."""
        super().__post_init__()
        if isinstance(self.of, SAMPLES_WEIGHTS):
            return
        name = self.of.declaration.name
        why = "does not differentiate along sampled weights; expected naive, grouped or per-example"
        if isinstance(self.of, Wrapper):
            why = (
                f"is made of another; put it outside, '{name}' of '{self.named}', which is the same"
            )
        raise InputError(f"{self.named}: estimator '{name}' {why}.")

    @property
    def declaration(self) -> Declaration:
        """That of the inner estimator, restricted to independent normal weights."""
        return replace(super().declaration, posteriors="independent-normal")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """The inner estimator's draw, plus the exact KL minus the sampled KL at its weights.

        Raises:
            CellError: The posterior has no density, or the prior no sampled KL whose gradient has a mean.
        """
        need_posterior(self, problem)
        prior = _need_gaussian(self.named, problem)
        kept = Kept(noise.source)
        gradient = self.of(problem, parameters, batch, Noise(kept, noise.path), state)
        drawn = {
            layer.name: torch.cat(
                [
                    z.reshape(-1, *layer.weight_shape)
                    for r, z in kept.answers.items()
                    if r.path[-1] == layer.name
                ]
            )
            for layer in problem.layers
        }

        def difference(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            value = torch.zeros_like(gradient.value)
            score = torch.zeros_like(gradient.value)
            for layer in problem.layers:
                q, z = _counted(layer, problem.posterior(layer, at), drawn[layer.name])
                value = value + problem.kl_weight * _exact_less_sampled(q, z, prior)
                if self.drop_score:
                    score = score + problem.kl_weight * _log_density_of_held(q, z)
            return value + score, value

        return add(gradient, Gradient(*differentiate(difference, problem.free(parameters))))


def _counted(layer: Layer, q: Posterior, z: Tensor) -> tuple[Posterior, Tensor]:
    """What of a layer's posterior and noise the KL counts: an embedding may have a row that stays 0."""
    counted = layer.counted(q)
    if counted is q:
        return q, z
    noise = [layer.counted(q._replace(mean=one)).mean for one in z]
    return counted, torch.stack(noise)


def _exact_less_sampled(q: Posterior, z: Tensor, prior: GaussianPrior) -> Tensor:
    """KL(q‖p) − log q(w)/p(w) at w = μ + σz, a mean over the samples: ½Σ[(σ²(1 − z²) − 2μσz)/s² + z² − 1].

    The terms log σ cancel. They are left out, because subtracting them would lose all digits if σ is small.

    Args:
        q: Posterior.
        z: (samples, *weights).
        prior: N(0, s²).
    """
    square = z.square()
    spread = q.variance * (1 - square) - 2 * q.mean * q.scale * z
    return 0.5 * (spread / prior.variance + square - 1).sum() / len(z)


def _log_density_of_held(q: Posterior, z: Tensor) -> Tensor:
    """Log q(w) at w = μ + σz held fixed, up to a constant, whose gradient is the score.

    The deviation w − μ is written (μ̄ − μ) + σ̄z, with μ̄ and σ̄ the detached values, which loses no digits if σ is small
    compared with μ.
    """
    deviation = ((q.mean.detach() - q.mean) + q.scale.detach() * z) / q.scale
    return (-0.5 * deviation.square() - q.scale.abs().log()).sum() / len(z)


def _need_gaussian(name: str, problem: Problem) -> GaussianPrior:
    if isinstance(problem.prior, GaussianPrior):
        return problem.prior
    raise CellError(
        f"estimator '{name}' samples log p(w), and under the prior '{problem.prior}' of problem '{problem.name}' its "
        "gradient has no mean (a log-uniform density has the derivative −1/w) or there is none; expected the prior "
        "gaussian."
    )
