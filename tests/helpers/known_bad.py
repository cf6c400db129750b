"""Known-bad estimators: defects that real libraries had, each as small as it can be, and the test that must see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from estimators.local import Local, safe_sqrt
from estimators.svrg import Svrg
from vdbench.estimation.base import Declaration, Estimator, Gradient, pathwise_gradient
from vdbench.estimation.pathwise import Pathwise
from vdbench.noise import Noise
from vdbench.problems.families.low_rank import Factors
from vdbench.problems.families.radial import Sphere
from vdbench.problems.layers import Layer, Sampler
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Parameters, Problem

Sample = Callable[[Layer, Tensor, Posterior, Noise], Tensor]


class Defect(NamedTuple):
    """A defect, the test that must fail, and where; what it must suggest, if there is a mistake of that name."""

    estimator: Estimator
    test: str
    where: str
    suggests: str = ""


DEFECTS: dict[str, Defect] = {}


def declared(name: str, **change: Any) -> Declaration:
    values: dict[str, Any] = {
        "name": name,
        "objective": "elbo",
        "unbiased": True,
        "laws": ("normal",),
        "independent_examples": False,
        "version": "1",
    }
    return Declaration(**(values | change))


def pathwise(
    test: str, where: str, suggests: str = "", **change: Any
) -> Callable[[Sample], Sample]:
    """Make a pathwise estimator of a sampler, and list it."""

    def decorate(sample: Sample) -> Sample:
        name = sample.__name__.replace("_", "-")

        def preactivation(
            self: Pathwise, layer: Layer, x: Tensor, q: Posterior, noise: Noise
        ) -> Tensor:
            return sample(layer, x, q, noise)

        body = {"declared": declared(name, **change), "preactivation": preactivation}
        cls = dataclass(frozen=True)(type("Bad", (Pathwise,), body))
        DEFECTS[name] = Defect(cls(), test, where, suggests)
        return sample

    return decorate


# Families of noise


def _flipped(layer: Layer, x: Tensor, perturbation: Tensor, q: Posterior, noise: Noise) -> Tensor:
    mean = layer.linear(x, q.mean)
    signs = noise.at("input")(layer.name, layer.sign_shape(x), law="sign")
    out = noise.at("output")(layer.name, layer.sign_shape(mean), law="sign")
    return mean + layer.linear(x * signs, perturbation) * out


@pathwise("unbiased", "matrix-normal", laws=("normal", "sign"), posteriors="normal-preactivations")
def flipout_of_correlated_weights(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """Signs take the covariances of the weights away."""
    return _flipped(layer, x, q.perturbation(q.draw(noise, layer.name)), q, noise)


@pathwise(
    "pre-activations", "matrix-normal: layer 0, covariance of outputs",
    independent_examples=True, posteriors="normal-preactivations",
)  # fmt: skip
def local_without_the_covariance_of_outputs(
    layer: Layer, x: Tensor, q: Posterior, noise: Noise
) -> Tensor:
    mean = layer.linear(x, q.mean)
    return mean + safe_sqrt(q.spread(layer, x)) * noise(layer.name, mean.shape)


@pathwise(
    "pre-activations", "low-rank-plus-diagonal: layer 0, covariance of examples",
    independent_examples=True, posteriors="normal-preactivations",
)  # fmt: skip
def examples_share_the_factors(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """One number of each factor for the whole minibatch."""
    mean = layer.linear(x, q.mean)
    if not isinstance(q.structure, Factors):
        return Local().preactivation(layer, x, q, noise)
    own = safe_sqrt(layer.squared(x, q.structure.own.square()))
    xi = noise.at("factors")(layer.name, (len(q.structure.factors),))
    shared = layer.linear(x, torch.einsum("r,roi->oi", xi, q.structure.factors))
    return mean + own * noise(layer.name, mean.shape) + shared


@pathwise(
    "pre-activations", "uniform: layer 0, fourth moment", "whatever its law",
    laws=("normal", "sign"), posteriors="sign-symmetric",
)  # fmt: skip
def flipout_draws_normal_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """Whatever the law of the posterior."""
    return _flipped(layer, x, q.scale * noise(layer.name, q.mean.shape), q, noise)


@pathwise(
    "pre-activations", "radial: layer 0, fourth moment", "whatever its law",
    laws=("normal", "sign"), posteriors="sign-symmetric",
)  # fmt: skip
def flipout_on_the_sphere(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """The direction of radial noise without its radius."""
    eps = noise(layer.name, q.mean.shape)
    if isinstance(q.structure, Sphere):
        eps = eps * (eps.numel() ** 0.5 / eps.square().sum().sqrt())
    return _flipped(layer, x, q.scale * eps, q, noise)


# Where the noise enters


@pathwise("unbiased", "scale", "sampling path forgotten")
def forgets_the_sampling_path(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """The gradient in the sampled weights, taken for that in μ."""
    return layer.linear(x, q.mean + (q.scale * noise(layer.name, q.mean.shape)).detach())


@pathwise("pre-activations", "variance", laws=("normal", "sign"))
def flipout_perturbs_with_the_whole_sample(
    layer: Layer, x: Tensor, q: Posterior, noise: Noise
) -> Tensor:
    sample = q.mean + q.scale * noise(layer.name, q.mean.shape)
    mean = layer.linear(x, q.mean)
    signs = noise.at("input")(layer.name, layer.sign_shape(x), law="sign")
    out = noise.at("output")(layer.name, layer.sign_shape(mean), law="sign")
    return mean + layer.linear(x * signs, sample) * out


@pathwise("unbiased", "convolution", laws=("normal", "sign"))
def flipout_signs_are_of_pixels(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """On outputs every pixel has a sign of its own, where a channel should have one."""
    mean = layer.linear(x, q.mean)
    signs = noise.at("input")(layer.name, layer.sign_shape(x), law="sign")
    out = noise.at("output")(layer.name, mean.shape, law="sign")
    perturbed = layer.linear(x * signs, q.scale * noise(layer.name, q.mean.shape))
    return mean + perturbed * out


@pathwise("unbiased", "convolution", "'elbo-local-noise'", independent_examples=True)
def local_on_convolutions_claims_the_elbo(
    layer: Layer, x: Tensor, q: Posterior, noise: Noise
) -> Tensor:
    return _local(layer, x, layer.squared(x, q.variance), q, noise)


def _local(layer: Layer, x: Tensor, variance: Tensor, q: Posterior, noise: Noise) -> Tensor:
    mean = layer.linear(x, q.mean)
    return mean + safe_sqrt(variance) * noise(layer.name, mean.shape)


@pathwise("pre-activations", "variance", independent_examples=True)
def variance_is_squared_twice(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return _local(layer, x, layer.squared(x, q.variance.square()), q, noise)


@pathwise("pre-activations", "variance", independent_examples=True)
def variance_is_over_the_wrong_axis(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    variance = q.variance.mean(0, keepdim=True).expand_as(q.variance)
    return _local(layer, x, layer.squared(x, variance), q, noise)


@pathwise("pre-activations", "variance", independent_examples=True)
def square_of_the_product(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """(xσ)² for x²σ²."""
    return _local(layer, x, layer.linear(x, q.scale).square(), q, noise)


@pathwise("pre-activations", "covariance of examples", independent_examples=True)
def examples_share_their_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    mean = layer.linear(x, q.mean)
    return mean + safe_sqrt(layer.squared(x, q.variance)) * noise(layer.name, mean[:1].shape)


@pathwise("finite", "as it is", independent_examples=True)
def root_of_zero(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    mean = layer.linear(x, q.mean)
    return mean + layer.squared(x, q.variance).sqrt() * noise(layer.name, mean.shape)


@pathwise("finite", "as it is", independent_examples=True)
def bias_in_the_variance(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """Something of either sign is added to the variance, as a bias passed into its convolution is."""
    mean = layer.linear(x, q.mean)
    variance = layer.add_bias(layer.squared(x, q.variance), q.mean.flatten(1).sum(1))
    return mean + variance.sqrt() * noise(layer.name, mean.shape)


BUFFERS: dict[str, Tensor] = {}


@pathwise("several draws", "one backward pass")
def buffer_is_written_over(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """The noise of the last forward is what the backward of all of them meets."""
    drawn = noise(layer.name, q.mean.shape)
    name = f"{layer.name} {drawn.shape} {drawn.dtype}"
    buffer = BUFFERS.setdefault(name, torch.empty_like(drawn))
    buffer.data.copy_(drawn)
    return layer.linear(x, q.mean + q.scale * buffer)


@pathwise("repeatable", "global generators", laws=())
def noise_of_the_global_generator(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return layer.linear(x, q.mean + q.scale * torch.randn(q.mean.shape, dtype=q.mean.dtype))


@pathwise("unbiased", "convolution", independent_examples=False)
def no_noise_in_grouped_convolutions(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = noise(layer.name, q.mean.shape)
    alone = getattr(layer, "groups", 1) == 1
    return layer.linear(x, q.mean + q.scale * eps if alone else q.mean)


@pathwise("unbiased", "deep", independent_examples=False)
def no_noise_from_the_third_layer_on(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = noise(layer.name, q.mean.shape)
    return layer.linear(x, q.mean if layer.name == "4" else q.mean + q.scale * eps)


@pathwise("unbiased", "dense", laws=())
def noise_is_always_the_same(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    fixed = torch.randn(q.mean.shape, generator=generator, dtype=q.mean.dtype)
    return layer.linear(x, q.mean + q.scale * fixed)


# What is made of the gradient


@dataclass(frozen=True)
class Changed(Local):
    """The local estimator with something done to its gradient."""

    change: Callable[[Gradient, Problem, Batch], Gradient] = lambda g, problem, batch: g

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        right = super().__call__(problem, parameters, batch, noise, state)
        return self.change(right, problem, batch)


def _each(gradient: Gradient, change: Callable[[str, Tensor], Tensor]) -> Gradient:
    return Gradient(gradient.value, {n: change(n, g) for n, g in gradient.gradients.items()})


def changed(
    name: str, where: str, suggests: str, change: Callable[[Gradient, Problem, Batch], Gradient]
) -> None:
    local = Local.declared
    own = declared(
        name, independent_examples=True, objective_on_convolution=local.objective_on_convolution
    )
    cls = dataclass(frozen=True)(type("Bad", (Changed,), {"declared": own}))
    DEFECTS[name] = Defect(cls(change), "unbiased", where, suggests)


changed(
    "scale-n-over-m-is-missing", "linear", "N/M is missing",
    lambda g, problem, batch: _each(g, lambda _, t: t / problem.scale(batch)),
)  # fmt: skip
changed(
    "gradients-are-off-by-one", "mean", "off by one",
    lambda g, *_: _each(g, lambda n, t: t.roll(1, -1) if n.endswith(("mean", "theta")) else t),
)  # fmt: skip
changed(
    "wrong-on-larger-minibatches", "linear", "half the gradient",
    lambda g, problem, batch: _each(g, lambda _, t: t / 2 if len(batch.inputs) > 4 else t),
)  # fmt: skip
changed(
    "scale-n-over-m-is-cut-off", "linear", "",
    lambda g, problem, batch: _each(g, lambda _, t: t * min(1.0, 5 / problem.scale(batch))),
)  # fmt: skip
changed(
    "blank-examples-are-left-out-of-the-mean", "linear", "",
    lambda g, problem, batch: _each(g, lambda _, t: t * (batch.inputs.flatten(1) != 0).any(1).double().mean()),
)  # fmt: skip
changed("gradient-of-the-loss", "linear", "opposite sign", lambda g, *_: _each(g, lambda _, t: -t))


# Score functions


@dataclass(frozen=True)
class BadScore(Estimator):
    """Two samples of the score function, the density and the baseline given."""

    density: Callable[[Posterior, Tensor], Tensor]
    baseline: Callable[[Tensor], Tensor]
    samples: int = 1

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        def sampler(at: Parameters) -> Sampler:
            def sample(layer: Layer, x: Tensor) -> Tensor:
                weight, _ = drawn[layer.name]
                return layer.linear(x, weight)

            return sample

        total = None
        costs, scores, ordinary = [], [], []
        for s in range(self.samples):
            drawn: dict[str, tuple[Tensor, Tensor]] = {}
            for layer in problem.layers:
                q = problem.posterior(layer, parameters)
                eps = noise.at("sample", s)(layer.name, q.mean.shape)
                drawn[layer.name] = ((q.mean + q.scale * eps).detach(), eps)
            g = pathwise_gradient(problem, parameters, batch, sampler, problem.scale(batch))
            costs.append(g.value)
            ordinary.append(g.gradients)
            scores.append(self._score(problem, parameters, drawn))
        cost = torch.stack(costs)
        factors = cost - self.baseline(cost)
        for s in range(self.samples):
            one = {n: factors[s] * v + ordinary[s][n] for n, v in scores[s].items()}
            total = one if total is None else {n: total[n] + v for n, v in one.items()}
        assert total is not None
        return Gradient(cost.mean(), {n: v / self.samples for n, v in total.items()})

    def _score(
        self,
        problem: Problem,
        parameters: Parameters,
        drawn: dict[str, tuple[Tensor, Tensor]],
    ) -> dict[str, Tensor]:
        from vdbench.estimation.autodiff import differentiate as gradient

        def log_density(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            laws = {layer.name: problem.posterior(layer, at) for layer in problem.layers}
            total = torch.stack([self.density(q, drawn[n][0]) for n, q in laws.items()]).sum()
            return total, total

        return gradient(log_density, problem.free(parameters))[1]


def none(cost: Tensor) -> Tensor:
    return torch.zeros_like(cost)


def own_mean(cost: Tensor) -> Tensor:
    return cost.mean()


def by_difference(q: Posterior, weight: Tensor) -> Tensor:
    """Right in exact arithmetic; w − μ loses its digits."""
    return -(q.scale.abs().log() + 0.5 * ((weight - q.mean) / q.scale).square()).sum()


def without_the_constant(q: Posterior, weight: Tensor) -> Tensor:
    """−log σ is no constant."""
    return -(0.5 * ((weight - q.mean) / q.scale).square()).sum()


def score(name: str, bad: BadScore, test: str, where: str, suggests: str = "") -> None:
    cls = dataclass(frozen=True)(type("Bad", (BadScore,), {"declared": declared(name)}))
    DEFECTS[name] = Defect(cls(bad.density, bad.baseline, bad.samples), test, where, suggests)


score("score-misses-a-term", BadScore(without_the_constant, none), "unbiased", "scale")
score(
    "baseline-contains-the-cost", BadScore(by_difference, own_mean, 2), "unbiased", "linear",
    "contains the very cost",
)  # fmt: skip
score("log-density-by-difference", BadScore(by_difference, none), "float32", "σ = 1e-5")


# Anchors


@dataclass(frozen=True)
class OfTwoPlaces(Svrg):
    """What is subtracted is taken at the parameters, the mean that is added at the anchor."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, name="svrg-of-two-places")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        moved = {**state, "anchor": dict(parameters)}
        return super().__call__(problem, parameters, batch, noise, moved)


DEFECTS["svrg-of-two-places"] = Defect(
    OfTwoPlaces(of=Local()), "fitted elsewhere", "mean", "of one anchor"
)
