"""Evolution strategies over the weights: costs of whole weight samples, one-sided or mirrored."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from estimators.score import log_density, posteriors
from vdbench import (
    Batch,
    Gradient,
    InputError,
    Noise,
    Parameters,
    Posterior,
    Problem,
    differentiate,
    need_posterior,
    register,
)
from vdbench.estimation import perturbation
from vdbench.estimation.base import Declaration
from vdbench.estimation.perturbation import Perturbation


@register(
    "evolution-strategies",
    objective="elbo",
    unbiased=True,
    laws=("normal",),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class EvolutionStrategies(Perturbation):
    r"""Differences of costs at mirrored weight samples, times the noise that made them.

    Formula: $g_\mu = \frac{L(\mu + \sigma\varepsilon) - L(\mu - \sigma\varepsilon)}2\cdot\frac\varepsilon\sigma$,
    $g_\sigma = \Big(\frac{L(\mu + \sigma\varepsilon) + L(\mu - \sigma\varepsilon)}2 -
    L(\mu)\Big)\frac{\varepsilon^2 - 1}\sigma$, $\varepsilon \sim N(0, 1)$.

    With normal noise of full rank, the smoothed cost of evolution strategies is the ELBO's $E_q[L]$ itself, and each
    sample is a score function $\frac\varepsilon\sigma$, $\frac{\varepsilon^2-1}\sigma$. Not mirrored and without
    baseline it is ``score``; mirrored and without baseline it is ``antithetic`` of ``score``. The baseline $L(\mu)$,
    ``centre``, does not depend on $\varepsilon$, so it changes no mean. In μ of mirrored samples it cancels; in σ it
    removes the size of the cost, and a second difference is left.

    With a ``rank`` $r$, the noise of a layer is $AB^\top/\sqrt r$ with normal factors A (outputs × r) and B (inputs
    × r): r·(outputs + inputs) numbers and no full-rank matrix to draw. Its entries have mean 0, variance 1 and no
    correlation, so that μ is unbiased for a quadratic cost. They are not normal, and not independent: elsewhere,
    and in σ, the mean is wrong. The factor of σ then has another kurtosis, $3 + 6/r$ instead of 3. It is declared
    biased.

    Biases are deterministic and get their ordinary gradient, averaged over the samples.

    Claim: unbiased for the ELBO of any layer kind, differentiable or not; with ``rank``, biased.
    Cost: 2 products forward per sample (1 if not mirrored) and 1 for the baseline; 1 backward for the biases; S·K·L
    noise.
    Source: Rechenberg 1973; Wierstra et al. 2014 (σ); Salimans, Ho, Chen, Sidor & Sutskever 2017 (mirrored).

    Attributes:
        samples: S, pairs if mirrored.
        mirrored: Whether every sample comes with its mirror image.
        baseline: ``centre``, the cost at the means, or ``none``.
        rank: r of the noise of each layer's weights, flattened behind their first dimension; 0 for full rank.

    Example:
        >>> import vdbench
        >>> vdbench.get("evolution-strategies", rank=1).declaration.unbiased
        False
    """

    samples: int = 1
    mirrored: bool = True
    baseline: Literal["centre", "none"] = "centre"
    rank: int = 0

    def __post_init__(self) -> None:
        """Refuse too few samples, and a rank that is none."""
        for option, least in (("samples", 1), ("rank", 0)):
            if getattr(self, option) < least:
                raise InputError(
                    f"evolution-strategies: {option} must be at least {least}, not {getattr(self, option)}."
                )

    @property
    def declaration(self) -> Declaration:
        """Biased where the noise is not normal."""
        return replace(self.declared, unbiased=False) if self.rank else self.declared

    @property
    def draws_per_gradient(self) -> int:
        """Two for each mirrored sample."""
        return self.samples * (2 if self.mirrored else 1)

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """A surrogate whose gradient is the estimate; what was drawn is a constant in it.

        Raises:
            CellError: The posterior is not normal and independent.
        """
        need_posterior(self, problem)
        q = posteriors(problem, parameters)
        drawn = [self._drawn(q, noise.at("sample", s)) for s in range(self.samples)]
        every = [
            {name: sign * value for name, value in eps.items()}
            for eps in drawn
            for sign in ((1, -1) if self.mirrored else (1,))
        ]
        weights = [
            {name: (law.mean + law.scale * eps[name]).detach() for name, law in q.items()}
            for eps in every
        ]
        centre = self._centre(problem, parameters, batch, q)

        def surrogate(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            laws = posteriors(problem, at)
            found = [perturbation.costs(problem, at, batch, w) for w in weights]
            # example by example: the sums over a minibatch have fewer digits in common
            above = [(cost.detach() - centre).sum() for cost in found]
            scored = [a * log_density(laws, eps) for a, eps in zip(above, every, strict=True)]
            value = torch.stack(found).sum(1).mean()
            return torch.stack(scored).mean() + value, value.detach()

        return Gradient(*differentiate(surrogate, problem.free(parameters)))

    def _centre(
        self, problem: Problem, parameters: Parameters, batch: Batch, q: dict[str, Posterior]
    ) -> Tensor:
        """What is subtracted from each example's cost."""
        if self.baseline == "none":
            return torch.zeros((), device=problem.device, dtype=problem.dtype)
        means = {name: law.mean for name, law in q.items()}
        return perturbation.costs(problem, parameters, batch, means).detach()

    def _drawn(self, q: dict[str, Posterior], noise: Noise) -> dict[str, Tensor]:
        """ε of every layer."""
        if not self.rank:
            return {name: noise(name, law.mean.shape) for name, law in q.items()}
        found = {}
        for name, law in q.items():
            outputs = law.mean.shape[0]
            left = noise.at("left")(name, (outputs, self.rank))
            right = noise.at("right")(name, (law.mean.numel() // outputs, self.rank))
            found[name] = (left @ right.T / math.sqrt(self.rank)).reshape(law.mean.shape)
        return found
