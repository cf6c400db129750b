"""Defects of score functions, of several samples and of control variates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from zoo_making import Made, OfNaive, add, declared

from vdbench.estimation.autodiff import differentiate
from vdbench.estimation.base import Estimator, Gradient, pathwise_gradient
from vdbench.noise import Noise, antithetic
from vdbench.problems.layers import Layer, Sampler
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Parameters, Problem

Density = Callable[[Posterior, Tensor], Tensor]
Baseline = Callable[[Tensor], Tensor]


def density(q: Posterior, weight: Tensor) -> Tensor:
    """Log q up to a constant."""
    return -(q.scale.abs().log() + 0.5 * ((weight - q.mean) / q.scale).square()).sum()


def without_log_scale(q: Posterior, weight: Tensor) -> Tensor:
    """−log σ is no constant."""
    return -(0.5 * ((weight - q.mean) / q.scale).square()).sum()


def without_half(q: Posterior, weight: Tensor) -> Tensor:
    """The exponent without its ½."""
    return -(q.scale.abs().log() + ((weight - q.mean) / q.scale).square()).sum()


def twice_the_log(q: Posterior, weight: Tensor) -> Tensor:
    """Twice log σ, as of log σ² for log σ."""
    return -(2 * q.scale.abs().log() + 0.5 * ((weight - q.mean) / q.scale).square()).sum()


def with_variance_for_scale(q: Posterior, weight: Tensor) -> Tensor:
    """σ² for σ in the exponent."""
    return -(q.scale.abs().log() + 0.5 * ((weight - q.mean) / q.variance).square()).sum()


def none(cost: Tensor) -> Tensor:
    """No baseline."""
    return torch.zeros_like(cost)


def own_mean(cost: Tensor) -> Tensor:
    """A baseline that contains the cost it is subtracted from."""
    return cost.mean()


def others(cost: Tensor) -> Tensor:
    """The mean of the other costs."""
    return (cost.sum() - cost) / (len(cost) - 1)


def largest(cost: Tensor) -> Tensor:
    """The best of all samples, its own among them."""
    return cost.amax()


def _given(drawn: dict[str, Tensor]) -> Callable[[Parameters], Sampler]:
    def sample(layer: Layer, x: Tensor) -> Tensor:
        return layer.linear(x, drawn[layer.name])

    return lambda at: sample


@dataclass(frozen=True)
class ScoreOf(Estimator):
    """S samples of the score function with a density and a baseline."""

    log_density: Density = density
    baseline: Baseline = others
    samples: int = 4
    factor: float = 1.0

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Costs less a baseline, times scores; biases have their ordinary gradient."""
        costs, scores, ordinary = [], [], []
        for s in range(self.samples):
            drawn: dict[str, Tensor] = {}
            for layer in problem.layers:
                q = problem.posterior(layer, parameters)
                eps = noise.at("sample", s)(layer.name, q.mean.shape)
                drawn[layer.name] = (q.mean + q.scale * eps).detach()

            g = pathwise_gradient(problem, parameters, batch, _given(drawn), problem.scale(batch))
            costs.append(g.value)
            ordinary.append(g.gradients)
            scores.append(self._score(problem, parameters, drawn))
        cost = torch.stack(costs)
        weights = self.factor * (cost - self.baseline(cost))
        total = {
            n: torch.stack([weights[s] * scores[s][n] + ordinary[s][n] for s in range(self.samples)]).mean(0)
            for n in scores[0]
        }  # fmt: skip
        return Gradient(cost.mean(), total)

    def _score(
        self, problem: Problem, parameters: Parameters, drawn: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            laws = {layer.name: problem.posterior(layer, at) for layer in problem.layers}
            total = torch.stack([self.log_density(q, drawn[n]) for n, q in laws.items()]).sum()
            return total, total

        return differentiate(target, problem.free(parameters))[1]


def score(name: str, about: str, **fields: Any) -> None:
    """List one."""
    cls: Any = dataclass(frozen=True)(type("Score", (ScoreOf,), {"declared": declared(name)}))
    add(name, cls(**fields), about)


# what they get wrong is a constant, whose product with a cost less the mean of others has mean 0: no baseline
score(
    "score-without-log-scale",
    "the score forgets −log σ",
    log_density=without_log_scale,
    baseline=none,
)
score("score-without-half", "the exponent has no ½", log_density=without_half)
score(
    "score-with-twice-the-log",
    "log σ² for log σ in the density",
    log_density=twice_the_log,
    baseline=none,
)
score(
    "score-with-variance-for-scale", "σ² for σ in the exponent", log_density=with_variance_for_scale
)
score(
    "baseline-of-two-contains-the-cost",
    "S = 2, own cost in the baseline",
    baseline=own_mean,
    samples=2,
)
score("baseline-of-four-contains-the-cost", "S = 4, own cost in the baseline", baseline=own_mean)
score("baseline-is-the-best-sample", "the best of the samples is the baseline", baseline=largest)
score("score-has-the-wrong-sign", "costs for log-likelihoods", factor=-1.0)


Combine = Callable[[Gradient, Gradient], Gradient]


@dataclass(frozen=True)
class PairOf(OfNaive):
    """Two draws, made one."""

    combine: Combine = lambda a, b: a
    opposite: bool = False

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Of ±ε or of two samples."""
        pair = antithetic(noise) if self.opposite else (noise, noise.at("second"))
        one, two = (
            super(PairOf, self).__call__(problem, parameters, batch, n, state) for n in pair
        )
        return self.combine(one, two)


def _mixed(a: Gradient, b: Gradient, mix: Callable[[Tensor, Tensor], Tensor]) -> Gradient:
    return Gradient(a.value, {n: mix(g, b.gradients[n]) for n, g in a.gradients.items()})


def pair(
    name: str, about: str, mix: Callable[[Tensor, Tensor], Tensor], opposite: bool = False
) -> None:
    """List one."""
    made = Made(PairOf, {"laws": ("posterior",), "posteriors": "any"})
    add(name, made(name, combine=lambda a, b: _mixed(a, b, mix), opposite=opposite), about)


pair("antithetic-pair-is-added", "the pair ±ε is added and not averaged", lambda a, b: a + b, True)
pair("antithetic-pair-is-subtracted", "the pair ±ε is subtracted", lambda a, b: (a - b) / 2, True)
pair("two-samples-are-added", "two samples are added and not averaged", lambda a, b: a + b)
pair("two-samples-are-multiplied", "the root of the product of two samples",
     lambda a, b: a.sign() * (a.abs() * b.abs()).sqrt())  # fmt: skip
pair("the-larger-of-two-samples", "the larger of two samples, coordinate by coordinate",
     lambda a, b: torch.where(a.abs() > b.abs(), a, b))  # fmt: skip
pair("the-smaller-of-two-samples", "the smaller of two samples, coordinate by coordinate",
     lambda a, b: torch.where(a.abs() < b.abs(), a, b))  # fmt: skip
pair("control-variate-without-its-mean", "a control variate whose mean is not added back",
     lambda a, b: a - 0.5 * b)  # fmt: skip
