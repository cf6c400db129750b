"""Score function (REINFORCE) in weight space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vdbench import Estimator, Gradient, InputError, register
from vdbench.autodiff import differentiate
from vdbench.estimator import need_posterior
from vdbench.layers import Layer, Sampler
from vdbench.noise import Noise
from vdbench.posteriors import Gaussian
from vdbench.problem import Batch, Parameters, Problem


@register(
    "score",
    objective="elbo",
    unbiased=True,
    laws=("normal",),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class Score(Estimator):
    r"""Score function (REINFORCE) over weight samples, with an optional baseline.

    Formula: $\frac1S\sum_s (L_s - b_s)\,\nabla\log q(W_s)$, $W_s \sim q$.

    $L_s$ is the N/M-scaled log-likelihood under sample $s$, the whole of it, constants included: an additive
    constant changes the variance. Unbiased by $\nabla E_q[L] = E_q[L\,\nabla\log q]$ and
    $E_q[\nabla\log q] = 0$ for any baseline $b_s$ that does not depend on $W_s$. ``leave-one-out`` takes the
    mean of the *other* samples' $L$; a mean that contained $L_s$ itself would shrink the gradient by
    $(S-1)/S$. Biases are deterministic and get their ordinary gradient, averaged over the samples.

    Claim: unbiased for the ELBO of any layer kind, differentiable or not; heavy-tailed when σ ∝ |μ|.
    Cost: 1 product forward a sample, 1 backward a layer for the biases; S·K·L noise.
    Source: Williams 1992; Ranganath et al. 2014; leave-one-out: Salimans & Knowles 2014, Kool et al. 2019.

    Attributes:
        samples: S, the number of weight samples.
        baseline: ``none`` or ``leave-one-out`` (needs two samples).

    Example:
        >>> import vdbench
        >>> vdbench.get("score", samples=4, baseline="leave-one-out")
        Score(samples=4, baseline='leave-one-out')
    """

    samples: int = 1
    baseline: Literal["none", "leave-one-out"] = "none"

    def __post_init__(self) -> None:
        """Refuse too few samples."""
        least = 2 if self.baseline == "leave-one-out" else 1
        if self.samples < least:
            raise InputError(
                f"score: baseline '{self.baseline}' needs samples ≥ {least}, not {self.samples}."
            )

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Surrogate whose gradient is the estimate; the weights are constants in it."""
        need_posterior(self, problem)

        def surrogate(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            q = {layer.name: problem.posterior(layer, at) for layer in problem.layers}
            drawn = [_normals(q, noise.at("sample", s)) for s in range(self.samples)]
            values = torch.stack(
                [_log_likelihood(problem, at, batch, _weights(q, eps)) for eps in drawn]
            )
            scores = torch.stack([_log_density(q, eps) for eps in drawn])
            cost = values.detach()
            # the second term carries ∂L/∂bias; its gradient in (μ, σ) is zero since the weights are detached
            return ((cost - self._baseline(cost)) * scores + values).mean(), cost.mean()

        return Gradient(*differentiate(surrogate, problem.free(parameters)))

    def _baseline(self, cost: Tensor) -> Tensor:
        if self.baseline == "none":
            return torch.zeros_like(cost)
        return (cost.sum() - cost) / (self.samples - 1)


def _normals(q: dict[str, Gaussian], noise: Noise) -> dict[str, Tensor]:
    return {name: noise(name, law.mean.shape) for name, law in q.items()}


def _weights(q: dict[str, Gaussian], normals: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: (law.mean + law.scale * normals[name]).detach() for name, law in q.items()}


def _log_likelihood(
    problem: Problem, parameters: Parameters, batch: Batch, weights: dict[str, Tensor]
) -> Tensor:
    def sampler(layer: Layer, x: Tensor) -> Tensor:
        return layer.linear(x, weights[layer.name])

    sample: Sampler = sampler
    return problem.scale(batch) * problem.log_likelihood(sample, batch, parameters).sum()


def _log_density(q: dict[str, Gaussian], normals: dict[str, Tensor]) -> Tensor:
    """Log q(w) up to its constant, −½ Σ [log σ² + (w − μ)²/σ²], at the weights w = μ₀ + σ₀ε held fixed.

    With μ₀ and σ₀ the detached μ and σ, w − μ is written (μ₀ − μ) + σ₀ε, of value σ₀ε to the last digit. The
    difference w − μ of the rounded weight would lose as many digits as σ is smaller than μ, and σ² underflow.
    """
    terms = []
    for name, law in q.items():
        deviation = (law.mean.detach() - law.mean) + law.scale.detach() * normals[name]
        square = (deviation / law.scale).square()
        terms.append((law.scale.abs().log() + 0.5 * square).sum())
    return -torch.stack(terms).sum()
