"""Score function (REINFORCE) in weight space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vdbench import Batch, Layer, Noise, Parameters, Posterior, Problem, register
from vdbench.estimation.score_function import LikelihoodRatio


@register(
    "score",
    objective="elbo",
    unbiased=True,
    laws=("normal",),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class Score(LikelihoodRatio):
    r"""Score function (REINFORCE) over weight samples, with an optional baseline.

    Formula: $\frac1S\sum_s (L_s - b_s)\,\nabla\log q(W_s)$, $W_s \sim q$.

    $L_s$ is the whole N/M-scaled log-likelihood under sample $s$, including constants: an additive constant changes
    the variance. It is unbiased by $\nabla E_q[L] = E_q[L\,\nabla\log q]$ and $E_q[\nabla\log q] = 0$, for any
    baseline $b_s$ that does not depend on $W_s$:

    - ``leave-one-out`` is the mean $L$ of the *other* samples. A mean that included $L_s$ itself would shrink the
      gradient by $(S-1)/S$.
    - ``moving-average`` is a mean of earlier costs.
    - ``optimal`` is $E[L h^2]/E[h^2]$ for every parameter, where $h$ is its entry of $\nabla\log q$.

    The last two are fitted to pilot draws (`vdbench.estimation.score_function`), and results are conditional on these
    draws. Biases are deterministic and get their ordinary gradient, averaged over the samples.

    Claim: unbiased for the ELBO of any layer kind, differentiable or not; heavy-tailed if σ ∝ |μ|.
    Cost: 1 product forward per sample, 1 backward per layer for the biases; S·K·L noise.
    Source: Williams 1992; Ranganath et al. 2014; leave-one-out: Salimans & Knowles 2014, Kool et al. 2019; moving
    average: Mnih & Gregor 2014; optimal: Greensmith, Bartlett & Baxter 2004, Weaver & Tao 2001.

    Attributes:
        samples: S, the number of weight samples.
        baseline: ``none``, ``moving-average``, ``leave-one-out`` (needs two samples) or ``optimal``.
        decay: Share of the moving average that is kept at a training step.
        pilot: Pilot draws, each on a separate minibatch of 64 examples.

    Example:
        >>> import vdbench
        >>> vdbench.get("score", samples=4, baseline="leave-one-out")
        Score(samples=4, baseline='leave-one-out', decay=0.9, pilot=1024)
    """

    def sample(
        self, problem: Problem, at: Parameters, batch: Batch, noise: Noise
    ) -> tuple[Tensor, Any]:
        """The whole cost under one weight sample, (1,), and the normal numbers behind the sample."""
        with torch.no_grad():  # what is drawn is a constant
            q = posteriors(problem, at)
            eps = normals(q, noise)
            weights = {
                name: torch.addcmul(law.mean, law.scale, eps[name]) for name, law in q.items()
            }

        def sampler(layer: Layer, x: Tensor) -> Tensor:
            return layer.linear(x, weights[layer.name])

        cost = problem.scale(batch) * problem.log_likelihood(sampler, batch, at).sum()
        return cost[None], eps

    def log_density(self, problem: Problem, at: Parameters, drawn: Any) -> Tensor:
        """Log q(W), (1,)."""
        return log_density(posteriors(problem, at), drawn)[None]

    def weighted_density(
        self, problem: Problem, at: Parameters, drawn: Sequence[Any], weights: Tensor
    ) -> Tensor:
        """Linear in μ and σ, with ∂ log q/∂μ = ε/σ and ∂ log q/∂σ = (ε² − 1)/σ of all samples as its slopes."""
        terms = []
        for name, law in posteriors(problem, at).items():
            mean = scale = torch.zeros_like(law.mean)
            for eps, weight in zip(drawn, weights[:, 0], strict=True):
                mean = torch.addcmul(mean, weight, eps[name])
                scale = torch.addcmul(scale, weight, eps[name].square())
            scale = scale - weights.sum()
            unit = law.scale.detach()
            terms.append((law.mean * (mean / unit) + law.scale * (scale / unit)).sum())
        return torch.stack(terms).sum()


def posteriors(problem: Problem, at: Parameters) -> dict[str, Posterior]:
    """The posterior of every layer, by layer name; an embedding's padding row, which has no noise, is left out."""
    return {layer.name: layer.scored(problem.posterior(layer, at)) for layer in problem.layers}


def normals(q: dict[str, Posterior], noise: Noise) -> dict[str, Tensor]:
    """The ε of one weight sample W = μ + σε, by layer."""
    return {name: noise(name, law.mean.shape) for name, law in q.items()}


def log_density(q: dict[str, Posterior], eps: dict[str, Tensor]) -> Tensor:
    """Log q(w) up to its constant, −½ Σ [log σ² + (w − μ)²/σ²], at the weights w = μ₀ + σ₀ε held fixed.

    With μ₀ and σ₀ the detached μ and σ, w − μ is written (μ₀ − μ) + σ₀ε, of value σ₀ε to the last digit. The
    difference w − μ of the rounded weight would lose as many digits as σ is smaller than μ, and σ² underflow.
    """
    terms = []
    for name, law in q.items():
        deviation = (law.mean.detach() - law.mean) + law.scale.detach() * eps[name]
        square = (deviation / law.scale).square()
        terms.append((law.scale.abs().log() + 0.5 * square).sum())
    return -torch.stack(terms).sum()
