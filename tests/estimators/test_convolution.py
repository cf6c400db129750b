"""The mean of every estimator on a convolution, against closed forms, at the nodes of a quadrature rule without error.

The problem: loss c·½Σ_m (Σ_t b_mt − y_m)², b_mt = Σ_k x_m,t+k w_k, over the channels too. With X_mk = Σ_t x_m,t+k and
r = Xμ − y the gradient in μ_k is c·Σ_m r_m X_mk whatever the noise. That in σ_k² is c·½Σ_m X_mk² where a weight's noise
is common to all locations, and c·½Σ_m Σ_t x²_m,t+k where every location has noise of its own: another objective.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from oracles import Array, HalfSquare, Linear, Moments
from torch import Tensor, nn

from estimators.flipout import Flipout
from estimators.naive import Naive
from vdbench.datasets import Dataset, Split
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.options import get
from vdbench.estimation.registry import names, register
from vdbench.noise import Noise
from vdbench.problems.from_module import noisy
from vdbench.problems.layers import Convolution, Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Problem

TOLERANCE = 1e-9
CHANNELS, KERNEL, PLACES = 2, 2, 3
TIMES = 2


class Sum(nn.Module):
    """The sum over channels and locations, (M, 1)."""

    def forward(self, b: Tensor) -> Tensor:
        return b.flatten(1).sum(1, keepdim=True)


@dataclass(frozen=True)
class Convolved:
    """M examples x (M, channels, width), targets y (M,), q = N(μ, σ²) of (channels, kernel) weights."""

    x: Array
    y: Array
    mu: Array
    sigma: Array

    @property
    def c(self) -> float:
        return float(TIMES)

    @property
    def patches(self) -> Array:
        """x_m,t+k, shape (M, locations, channels, kernel)."""
        where = [[t + k for k in range(KERNEL)] for t in range(PLACES)]
        return self.x[:, :, where].transpose(0, 2, 1, 3)

    @property
    def summed(self) -> Linear:
        """The linear problem on X that this is where noise is common to all locations."""
        x = self.patches.sum(1).reshape(len(self.x), -1)
        return Linear(x, self.y, self.mu.ravel(), self.sigma.ravel(), TIMES * len(self.x))

    @property
    def local_scale(self) -> Array:
        """Mean gradient of the log-likelihood in log σ² under noise of every location's own."""
        squares = (self.patches**2).sum((0, 1)).ravel()
        return -self.c / 2 * squares * self.sigma.ravel() ** 2

    def problem(self) -> Problem:
        with torch.random.fork_rng():
            layer = nn.Conv2d(CHANNELS, 1, (1, KERNEL), bias=False).double()
        x = torch.tensor(self.x)[:, :, None].tile(TIMES, 1, 1, 1)
        split = Split(x, torch.tensor(self.y)[:, None].tile(TIMES, 1))
        data = Dataset("images", split, split, 0)
        return noisy(nn.Sequential(layer, Sum()), data, likelihood=HalfSquare())

    def parameters(self) -> dict[str, Tensor]:
        shape = (1, CHANNELS, 1, KERNEL)
        return {
            "0.mean": torch.tensor(self.mu).reshape(shape),
            "0.log_variance": 2 * torch.tensor(self.sigma).log().reshape(shape),
        }

    def batch(self) -> Batch:
        return Batch(torch.tensor(self.x)[:, :, None], torch.tensor(self.y)[:, None])


def random_problem(seed: int, examples: int) -> Convolved:
    """Inputs of mixed sign; σ from 0.1 to 1; every second seed has an example that is all zero."""
    rng = np.random.default_rng((2015, seed))
    x = rng.normal(size=(examples, CHANNELS, PLACES + KERNEL - 1))
    if seed % 2 and examples > 1:
        x[0] = 0
    shape = (CHANNELS, KERNEL)
    return Convolved(
        x, rng.normal(size=examples), rng.normal(size=shape), rng.uniform(0.1, 1, size=shape)
    )


PROBLEMS = [random_problem(seed, 1 + seed % 2) for seed in range(4)]
"""Of one and of two examples."""

# estimator, options, nodes a dimension of normal noise: two are exact for the mean, which is of degree 2 in it
COMMON = [
    ("naive", {}, 2),
    ("per-example", {"chunk": 1}, 2),
    ("grouped", {"groups": 2}, 2),
    ("flipout", {}, 2),
    ("flipout", {"perturbations": 2}, 2),
    ("score", {}, 3),
    ("antithetic", {"of": "naive"}, 2),
    ("control-variate", {"of": "naive"}, 2),
    ("control-variate", {"of": "flipout", "curvature": "exact"}, 2),
    ("control-variate", {"of": "score", "kind": "delta"}, 3),
    ("control-variate", {"of": "score", "kind": "delta", "curvature": "sampled"}, 3),
]


def means(moments: Moments) -> Moments:
    """Without the variances."""
    return {role: (mean, np.zeros_like(mean)) for role, (mean, _) in moments.items()}


def exact(estimator: Estimator, of: Convolved, nodes: int) -> Moments:
    return oracles.exact(estimator, of, nodes)  # type: ignore[arg-type]


def weight_space(of: Convolved) -> Moments:
    """Means of the weight-space objective's gradient, the same for every unbiased estimator."""
    return means(oracles.naive(of.summed))


def local_noise(of: Convolved) -> Moments:
    """Means where every location has noise of its own: the gradient in μ does not change."""
    found = weight_space(of)
    return {**found, "scale": (of.local_scale, found["scale"][1])}


@pytest.mark.parametrize("of", PROBLEMS, ids=range(len(PROBLEMS)))
@pytest.mark.parametrize(("name", "options", "nodes"), COMMON)
def test_noise_common_to_all_locations(
    name: str, options: dict[str, Any], nodes: int, of: Convolved
) -> None:
    wrong = oracles.mismatches(
        means(exact(get(name, **options), of, nodes)), weight_space(of), TOLERANCE
    )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("of", PROBLEMS, ids=range(len(PROBLEMS)))
def test_noise_of_every_location_is_another_objective(of: Convolved) -> None:
    for name in ("local", "score-local"):
        found = means(exact(get(name), of, 3))
        wrong = oracles.mismatches(found, local_noise(of), TOLERANCE)
        assert not wrong, f"{name}: " + "\n".join(wrong)
    assert len(oracles.mismatches(found, weight_space(of), 1e-3)) == CHANNELS * KERNEL


@pytest.mark.parametrize("of", PROBLEMS, ids=range(len(PROBLEMS)))
def test_variances_of_shared_and_separate_weight_samples(of: Convolved) -> None:
    """On the sum over locations a convolution under one weight is a linear layer on X."""
    for name, oracle in (("naive", oracles.naive), ("per-example", oracles.per_example)):
        wrong = oracles.mismatches(exact(get(name), of, 3), oracle(of.summed), TOLERANCE)
        assert not wrong, f"{name}: " + "\n".join(wrong)


def test_no_noise_has_no_scale_gradient() -> None:
    for of in PROBLEMS:
        found = exact(get("deterministic"), of, 1)
        wrong = oracles.mismatches(found, oracles.deterministic(of.summed), TOLERANCE)
        assert not wrong, "\n".join(wrong)


class PerPixel(Flipout):
    """Known bad: a sign of its own for every pixel, in and out."""

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        mean = layer.linear(x, q.mean)
        signs = noise.at("input")(layer.name, x.shape, law="sign")
        flipped = layer.linear(x * signs, q.scale * noise.at("base", 0)(layer.name, q.mean.shape))
        return mean + flipped * noise.at("output")(layer.name, mean.shape, law="sign")


class WholeSample(Naive):
    """Known bad: the mean is perturbed, not the deviation."""

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        return super().preactivation(layer, x, q._replace(mean=2 * q.mean), noise)


@pytest.mark.parametrize("bad", [PerPixel(), WholeSample()], ids=lambda e: type(e).__name__)
def test_estimators_that_are_wrong_are_caught(bad: Estimator) -> None:
    """By the comparison of `test_noise_common_to_all_locations`, on every problem."""
    for of in PROBLEMS:
        if len(of.x) == 1:
            found = means(exact(bad, of, 2))
            assert oracles.mismatches(found, weight_space(of), TOLERANCE)


def test_signs_of_every_pixel_serve_the_objective_of_local_noise() -> None:
    for of in PROBLEMS:
        if len(of.x) == 1:
            found = means(exact(PerPixel(), of, 2))
            wrong = oracles.mismatches(found, local_noise(of), TOLERANCE)
            assert not wrong, "\n".join(wrong)


# What an estimator serves, as data

LOCAL = "elbo-local-noise"


def served() -> Iterator[tuple[Estimator, str]]:
    others = {
        "local": LOCAL,
        "score-local": LOCAL,
        "deterministic": "mean-weights",
        "fast-dropout": "elbo-gaussian-preactivations",
    }
    for name in names():
        yield get(name), others.get(name, "elbo")
    yield get("samples", of="local"), LOCAL
    yield get("antithetic", of="local"), LOCAL
    yield get("samples", of=get("antithetic", of="local")), LOCAL
    yield get("samples", of="flipout"), "elbo"


@pytest.mark.parametrize(("estimator", "want"), list(served()), ids=lambda x: str(x))
def test_the_objective_on_a_convolution(estimator: Estimator, want: str) -> None:
    problem = PROBLEMS[0].problem()
    assert objective(estimator, problem) == want
    dense = noisy(
        nn.Sequential(nn.Flatten(), nn.Linear(8, 1)), problem.data, likelihood=HalfSquare()
    )
    assert objective(estimator, dense) == estimator.declaration.objective
    assert objective(estimator, dense) != LOCAL


def test_one_location_is_a_dense_layer() -> None:
    """A kernel as large as the image: local noise is a weight sample's, exactly."""
    of = PROBLEMS[1]
    whole = nn.Sequential(nn.Conv2d(CHANNELS, 1, (1, PLACES + KERNEL - 1)), Sum()).double()
    problem = noisy(whole, of.problem().data, likelihood=HalfSquare())
    assert isinstance(problem.layers[0], Convolution)
    assert objective(get("local"), problem) == "elbo"


def test_a_dense_layer_at_several_places_shares_its_weights() -> None:
    of = PROBLEMS[1]
    problem = noisy(
        nn.Sequential(nn.Linear(4, 1), Sum()), of.problem().data, likelihood=HalfSquare()
    )
    assert problem.uses["0"].places == CHANNELS
    assert objective(get("local"), problem) == LOCAL


def test_a_wrapper_cannot_declare_it() -> None:
    from vdbench.errors import InputError
    from vdbench.estimation.base import Wrapper

    with pytest.raises(InputError, match="declares objective_on_convolution, and a wrapper takes"):
        register("mine", objective_on_convolution=LOCAL)(type("Mine", (Wrapper,), {}))
