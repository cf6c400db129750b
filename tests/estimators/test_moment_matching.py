"""Moment matching: its formulas against quadrature, where it is exact, how far off it is elsewhere, what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import oracles
import pytest
import torch
from oracles import HalfSquare, random_linear
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor, nn

from estimators.moment_matching import Moments, affine, propagate, relu, walk
from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError
from vdbench.estimation.draws import gradients, trace
from vdbench.estimation.options import get
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.likelihoods import Categorical, GaussianNoise
from vdbench.problems.problem import Batch, Problem

KEY = Key(("moments",))


# The formulas


@pytest.mark.parametrize("t", [-4.0, -3.0, -0.5, 0.0, 0.7, 2.0, 6.0])
def test_moments_of_a_rectified_normal_number(t: float) -> None:
    s = 1.7
    h = relu(
        Moments(torch.tensor(t * s, dtype=torch.float64), torch.tensor(s * s, dtype=torch.float64))
    )
    powers = [
        quad(
            lambda z, n=n: (s * (t + z)) ** n * norm.pdf(z),
            -t,
            max(-t, 0) + 40,
            epsabs=0,
            limit=200,
        )[0]
        for n in (1, 2)
    ]
    np.testing.assert_allclose(float(h.mean), powers[0], rtol=1e-6)
    np.testing.assert_allclose(float(h.variance), powers[1] - powers[0] ** 2, rtol=1e-6)


def test_a_sure_unit_keeps_its_digits_in_float32() -> None:
    """Where the mean is 10⁵ standard deviations, E[h²] − E[h]² would have no digit left."""
    mean, variance = torch.tensor([1.0, -1.0, 1.0]), torch.tensor([1e-10, 1e-10, 0.0])
    h = relu(Moments(mean, variance))
    assert h.mean.tolist() == [1.0, 0.0, 1.0]
    np.testing.assert_allclose(h.variance, [1e-10, 0.0, 0.0], rtol=1e-6)


def test_the_expected_likelihood_of_outputs_without_variance_is_the_likelihood() -> None:
    outputs = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3)
    classes = torch.tensor([0, 1, 2, 1])
    for likelihood, targets in ((Categorical(), classes), (GaussianNoise(0.3), outputs.flip(0))):
        got = likelihood.expected(outputs, 0 * outputs, targets)
        assert torch.equal(got, likelihood(outputs, targets))


def test_expected_likelihoods_by_quadrature() -> None:
    """Gaussian: exactly. Categorical: to second order, so that an eighth of the variance has 1/64 of the error."""
    mean = torch.tensor([[0.4, 0.1]], dtype=torch.float64)
    points, weights = oracles.grid([30, 30])

    def exact(likelihood: Callable[[Tensor, Tensor], Tensor], variance: Tensor, y: Tensor) -> float:
        outputs = mean + variance.sqrt() * torch.tensor(points)
        values = likelihood(outputs, y.expand(len(outputs), *y.shape[1:]))
        return float(weights @ values.numpy())

    variance = torch.tensor([[0.2, 0.1]], dtype=torch.float64)
    gaussian, y = GaussianNoise(0.6), torch.tensor([[1.0, 0.2]], dtype=torch.float64)
    got = float(gaussian.expected(mean, variance, y))
    np.testing.assert_allclose(got, exact(gaussian, variance, y), rtol=1e-10)
    softmax, target = Categorical(), torch.tensor([1])
    errors = [
        float(softmax.expected(mean, v, target)) - exact(softmax, v, target)
        for v in (variance, variance / 8)
    ]
    assert 32 < errors[0] / errors[1] < 128, errors


# Where it is exact


@pytest.mark.parametrize("seed", range(6))
def test_one_layer_with_a_gaussian_likelihood_is_exact(seed: int) -> None:
    """The mean that every unbiased estimator has, and no variance at all."""
    of = random_linear(seed, 3, 2, bool(seed % 2), 2)
    problem = noisy(
        nn.Linear(2, 1, bias=of.beta is not None).double(),
        of.problem().data,
        likelihood=GaussianNoise(0.4),
    )
    found = get("moment-matching")(problem, of.parameters(), of.batch(), None)  # type: ignore[arg-type]
    want = {role: mean / 0.4 for role, (mean, _) in oracles.naive(of).items()}
    for name, gradient in found.gradients.items():
        np.testing.assert_allclose(
            gradient.flatten(), want[oracles.ROLES[name]], rtol=1e-10, atol=1e-10
        )
    t = oracles.Terms(of)
    value = -0.5 * ((t.r**2 + t.v) / 0.4 + math.log(2 * math.pi * 0.4)).sum() * of.c
    np.testing.assert_allclose(float(found.value), value, rtol=1e-12)


def test_moments_of_two_layers_given_independent_normal_preactivations() -> None:
    """Monte Carlo of exactly that model: each unit normal with its moments, then weights of its own for each draw."""
    problem, parameters = oracles.network(MeanLogVariance(0.3))
    x, draws = problem.data.train.inputs[:1], 40_000
    first, second = (problem.posterior(layer, parameters) for layer in problem.layers[:2])
    b = affine(problem.layers[0], Moments(x, 0 * x), first)
    got = affine(problem.layers[1], relu(b), second)
    generator = torch.Generator().manual_seed(2013)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    h = (b.mean + b.variance.sqrt() * normal(draws, b.mean.shape[1])).relu()
    weights = second.mean + second.scale * normal(draws, *second.mean.shape)
    found = torch.einsum("doi,di->do", weights, h).numpy()
    comparisons = []
    for j in range(found.shape[1]):
        rows = found[:, j]
        squares = (rows - rows.mean()) ** 2 * (draws / (draws - 1))
        comparisons.append(oracles.compare_rows(f"mean {j}", rows, float(got.mean[0, j])))
        comparisons.append(
            oracles.compare_rows(f"variance {j}", squares, float(got.variance[0, j]))
        )
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def test_without_spread_it_is_the_network_at_its_mean() -> None:
    problem, parameters = oracles.network(MeanLogVariance(0.3))
    sure = {n: v - 400 if n.endswith("log_variance") else v for n, v in parameters.items()}
    batch = Batch(*(t[:5] for t in problem.data.train))
    out = propagate(problem, list(walk(problem)), sure, batch.inputs)
    want = get("deterministic")(problem, sure, batch, None)  # type: ignore[arg-type]
    got = get("moment-matching")(problem, sure, batch, None)  # type: ignore[arg-type]
    assert float(out.variance.max()) < 1e-100
    torch.testing.assert_close(got.value, want.value)
    for name, gradient in want.gradients.items():
        torch.testing.assert_close(got.gradients[name], gradient)


def test_its_bias_is_there() -> None:
    """On a network of two hidden layers, beside local's mean: means and scales both are off, as it declares."""
    estimator = get("moment-matching")
    assert not estimator.declaration.unbiased
    problem, parameters = oracles.network(MeanLogVariance(0.3))
    batch, draws = Batch(*(t[:5] for t in problem.data.train)), 4000
    traced = trace(get("local"), problem, parameters, batch)
    keys = [KEY / k for k in range(draws)]
    repeated = oracles.repeat(batch, draws)
    rows = gradients(get("local"), problem, parameters, repeated, keys, traced).gradients
    ours = estimator(problem, parameters, batch, None).gradients  # type: ignore[arg-type]
    biased: dict[str, int] = {}
    for name, values in rows.items():
        found = [
            oracles.compare_rows(name, row, float(truth))
            for row, truth in zip(values.flatten(1).T.numpy(), ours[name].flatten(), strict=True)
        ]
        biased[name.rpartition(".")[2]] = biased.get(name.rpartition(".")[2], 0) + len(
            oracles.alarms(found)
        )
    assert biased["mean"] >= 3, biased
    assert biased["log_variance"] >= 3, biased


# What it refuses


def small(*parts: nn.Module, likelihood: object = None) -> tuple[Problem, Batch]:
    split = Split(torch.rand(4, 1, 4, 4), torch.arange(4) % 2)
    with torch.random.fork_rng():
        problem = noisy(
            nn.Sequential(*parts), Dataset("images", split, split, 2), likelihood=likelihood
        )  # type: ignore[arg-type]
    return problem, Batch(*split)


REFUSED = [
    ([nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)],
     "module '1' of problem 'module' is a MaxPool2d"),
    ([nn.Flatten(), nn.Sequential(nn.Linear(16, 4), nn.Tanh()), nn.Linear(4, 2)],
     "module '1.1' of problem 'module' is a Tanh"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "message"), REFUSED)
def test_modules_without_a_rule_are_refused(parts: list[nn.Module], message: str) -> None:
    problem, batch = small(*parts)
    with pytest.raises(CellError) as caught:
        get("moment-matching")(problem, problem.start, batch, None)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "nn.Sequential of nn.Linear, nn.Conv2d, nn.ReLU, nn.Flatten" in str(caught.value)


def test_a_network_that_is_no_chain_is_refused() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) + self.fc(x.flatten(1))

    split = Split(torch.rand(4, 16), torch.arange(4) % 2)
    problem = noisy(Residual(), Dataset("rows", split, split, 2))
    with pytest.raises(
        CellError, match="and the network of problem 'module' is a Residual; expected"
    ):
        get("moment-matching")(problem, problem.start, Batch(*split), None)  # type: ignore[arg-type]


def test_a_likelihood_without_an_expectation_is_refused() -> None:
    of = random_linear(0, 2, 1)
    assert isinstance(of.problem().likelihood, HalfSquare)
    with pytest.raises(
        CellError, match="which HalfSquare of problem 'linear' does not give; expected"
    ):
        get("moment-matching")(of.problem(), of.parameters(), of.batch(), None)  # type: ignore[arg-type]
