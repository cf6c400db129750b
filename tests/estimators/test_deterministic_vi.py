"""Deterministic variational inference: formulas by quadrature, where it is exact, how far off elsewhere, refusals."""

from __future__ import annotations

import re
from typing import Any

import convolution_twins
import families
import numpy as np
import oracles
import pytest
import torch
from oracles import network
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor, nn

from estimators.deterministic_vi import Joint, propagate, rectified
from estimators.moment_matching import walk
from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError, InputError
from vdbench.estimation.draws import gather, gradients, trace
from vdbench.estimation.options import get
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.likelihoods import Categorical, GaussianNoise
from vdbench.problems.priors import NoPrior
from vdbench.problems.problem import Batch, Problem

FORM = MeanLogVariance(0.3)
NODES = 12

At = tuple[Problem, dict[str, Tensor], Batch]


def found(estimator: str, at: At, **options: Any) -> Any:
    """The one gradient that an estimator without noise has."""
    return get(estimator, **options)(*at, None)


# The formulas


def product_moment(m: list[float], s: list[float], rho: float) -> float:
    """E[x₊ y₊] by adaptive quadrature over x, y given x being normal."""

    def inside(z: float) -> float:
        mean, spread = m[1] + s[1] * rho * z, s[1] * (1 - rho * rho) ** 0.5
        t = mean / spread
        return (m[0] + s[0] * z) * (mean * norm.cdf(t) + spread * norm.pdf(t)) * norm.pdf(z)  # type: ignore[no-any-return]

    start = -m[0] / s[0]
    return float(quad(inside, start, max(start, 0) + 12, epsabs=1e-13, limit=400)[0])


@pytest.mark.parametrize("rho", [-0.95, -0.5, 0.0, 0.3, 0.8, 0.95])
@pytest.mark.parametrize(
    ("m", "s"), [([0.2, -0.4], [1.0, 2.0]), ([-1.5, -1.0], [0.7, 1.0]), ([3.0, 0.0], [1.0, 0.1])]
)
def test_the_covariance_of_two_rectified_units(m: list[float], s: list[float], rho: float) -> None:
    c = rho * s[0] * s[1]
    b = Joint(
        torch.tensor([m]).double(),
        torch.tensor([[[s[0] ** 2, c], [c, s[1] ** 2]]]).double(),
        False,
    )
    h = rectified(b, NODES)
    firsts = [a * norm.cdf(a / b) + b * norm.pdf(a / b) for a, b in zip(m, s, strict=True)]
    want = product_moment(m, s, rho) - firsts[0] * firsts[1]
    assert float(h.covariance[0, 0, 1]) == pytest.approx(want, abs=2e-7 * s[0] * s[1])
    assert torch.allclose(h.covariance, h.covariance.mT, rtol=1e-12)


def test_two_units_that_are_one_are_nearly_so() -> None:
    """At correlation 1 the covariance is the variance, which has a formula of its own; the integral's error is 1e-4."""
    b = Joint(torch.tensor([[0.3, 0.3]]).double(), torch.ones(1, 2, 2).double(), False)
    h = rectified(b, NODES).covariance[0]
    assert float(h[0, 1]) == pytest.approx(float(h[0, 0]), rel=1e-4)


def test_the_expected_likelihood_under_joint_normal_outputs() -> None:
    """To second order, so that an eighth of the covariance has 1/64 of the error; less than without covariances."""
    mean = torch.tensor([[0.4, 0.1, -0.2]]).double()
    root = torch.tensor([[0.5, 0.0, 0.0], [0.4, 0.2, 0.0], [0.3, 0.1, 0.2]]).double()
    points, weights = oracles.grid([12, 12, 12])
    target, softmax = torch.tensor([1]), Categorical()

    def errors(share: float) -> tuple[float, float]:
        covariance = share * (root @ root.T)[None]
        outputs = mean + share**0.5 * torch.tensor(points) @ root.T
        exact = float(weights @ softmax(outputs, target.expand(len(outputs))).numpy())
        joint = float(softmax.expected_jointly(mean, covariance, target))
        own = float(softmax.expected(mean, covariance.diagonal(dim1=1, dim2=2), target))
        return joint - exact, own - exact

    (whole, apart), (eighth, _) = errors(1.0), errors(1 / 8)
    assert abs(whole) < 0.2 * abs(apart), (whole, apart)
    assert 32 < whole / eighth < 128, (whole, eighth)
    y = torch.tensor([[1.0, 0.2, 0.3]]).double()
    covariance = (root @ root.T)[None]
    residual = (mean - y).square().sum() + covariance.diagonal(dim1=1, dim2=2).sum()
    want = float(-0.5 * (residual / 0.6 + 3 * np.log(2 * np.pi * 0.6)))
    assert float(GaussianNoise(0.6).expected_jointly(mean, covariance, y)) == pytest.approx(want)


# Where it is exact


@pytest.mark.parametrize("sizes", [((2, 2),), ((1, 2), (2, 2)), ((1, 2), (2, 1), (1, 2))])
def test_a_linear_network_with_a_gaussian_likelihood_is_exact(sizes: Any) -> None:
    """Value and gradient of naive sampling by quadrature that has no error: gradients are polynomials in the noise."""
    at = families.problem(FORM, sizes, 2, likelihood=GaussianNoise(0.4), activation=nn.Identity)
    want = families.moments(get("naive"), at, 3)
    mine = found("deterministic-vi", at)
    for name, value in {"value": mine.value, **mine.gradients}.items():
        np.testing.assert_allclose(value, want[name][0], rtol=1e-10, atol=1e-10, err_msg=name)


def test_mean_and_covariance_of_one_hidden_layer_s_outputs() -> None:
    """Monte Carlo of weight samples, at a family-wise false-alarm rate of 1e-5; outputs are correlated."""
    problem, parameters, batch = hidden(3, Categorical())
    out = propagate(problem, list(walk(problem)), parameters, batch.inputs[:1], NODES)
    draws = 40_000
    generator = torch.Generator().manual_seed(2019)
    h = batch.inputs[:1].expand(draws, 1, -1)
    for layer in problem.layers:
        q = problem.posterior(layer, parameters)
        z = torch.randn(draws, *q.mean.shape, generator=generator, dtype=torch.float64)
        b = (q.mean + q.scale * z) @ h.mT
        h = b.mT + parameters[f"{layer.name}.bias"]
        h = h.relu() if layer is not problem.layers[-1] else h
    rows = h[:, 0].numpy()
    mean, covariance = out.mean[0].numpy(), out.covariance[0].numpy()
    compared = [
        oracles.compare_rows(f"mean {j}", rows[:, j], float(mean[j])) for j in range(len(mean))
    ]
    for j in range(len(mean)):
        for k in range(j + 1):
            products = (rows[:, j] - mean[j]) * (rows[:, k] - mean[k])
            compared.append(oracles.compare_rows(f"covariance {j}{k}", products, covariance[j, k]))
    wrong = oracles.alarms(compared)
    assert not wrong, "\n".join(wrong)
    apart = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.abs(apart - np.eye(len(mean))).max() > 0.05


def hidden(outputs: int, likelihood: Any, sigma: float = 0.3) -> At:
    """One hidden layer of ReLU on random data; the minibatch is all of it."""
    form = MeanLogVariance(sigma)
    sizes = ((3, 4), (4, outputs))
    kind = None if isinstance(likelihood, Categorical) else likelihood
    problem, parameters, batch = families.problem(
        form, sizes, 4, likelihood=kind, activation=nn.ReLU
    )
    for name, value in parameters.items():
        if name.endswith("log_variance"):
            parameters[name] = torch.full_like(value, 2 * float(np.log(sigma)))
    return problem, parameters, batch


def bias_rows(estimator: str, at: At, draws: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The estimator's gradient, and rows of local's, which has no bias, by parameter."""
    problem, parameters, batch = at
    local = get("local")
    traced = trace(local, problem, parameters, batch)
    keys = [Key(("reference", k)) for k in range(draws)]
    rows = gradients(local, problem, parameters, oracles.repeat(batch, draws), keys, traced)
    return (
        {n: v.flatten().numpy() for n, v in found(estimator, at).gradients.items()},
        {n: v.flatten(1).numpy() for n, v in rows.gradients.items()},
    )


def test_one_hidden_layer_with_a_gaussian_likelihood_has_no_bias() -> None:
    """Each entry of its gradient beside local's mean of 4,000 draws, at a family-wise false-alarm rate of 1e-5."""
    mine, rows = bias_rows("deterministic-vi", hidden(2, GaussianNoise(0.5)), 4000)
    compared = [
        oracles.compare_rows(f"{name}[{i}]", rows[name][:, i], float(value[i]))
        for name, value in mine.items()
        for i in range(len(value))
    ]
    wrong = oracles.alarms(compared)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("sigma", [0.3, 0.6])
def test_the_bias_of_one_hidden_layer_with_a_softmax_is_below_moment_matching_s(
    sigma: float,
) -> None:
    """Squared distance from local's mean of 8,000 draws, less the part that local's noise adds to it."""
    at = hidden(3, Categorical(), sigma)
    squares = {}
    for estimator in ("deterministic-vi", "moment-matching"):
        mine, rows = bias_rows(estimator, at, 8000)
        squares[estimator] = sum(
            float(((rows[n].mean(0) - v) ** 2 - rows[n].var(0, ddof=1) / len(rows[n])).sum())
            for n, v in mine.items()
        )
    assert squares["deterministic-vi"] < 0.8 * squares["moment-matching"], squares


def test_without_spread_it_is_the_network_at_its_mean() -> None:
    problem, parameters = network(FORM)
    sure = {n: v - 400 if n.endswith("log_variance") else v for n, v in parameters.items()}
    at = (problem, sure, gather(problem, np.arange(5)))
    want, got = found("deterministic", at), found("deterministic-vi", at)
    torch.testing.assert_close(got.value, want.value)
    for name, gradient in want.gradients.items():
        torch.testing.assert_close(got.gradients[name], gradient, msg=name)


# What is refused


def test_convolutions_are_refused() -> None:
    problem, parameters = convolution_twins.network(FORM)
    batch = gather(problem, np.arange(5))
    message = (
        "estimator 'deterministic-vi' propagates covariances through dense layers that each example meets once, and "
        "layer '0' of problem 'module' is another; expected another estimator, such as moment-matching."
    )
    with pytest.raises(CellError, match=re.escape(message)):
        found("deterministic-vi", (problem, parameters, batch))


def of_module(body: nn.Module, targets: Tensor, **options: Any) -> At:
    split = Split(torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).double(), targets)
    problem = noisy(body.double(), Dataset("random", split, split, 2), **options)
    return problem, problem.start, Batch(*(t[:6] for t in split))


@pytest.mark.parametrize(
    ("body", "likelihood", "message"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), None, "'1' of problem 'module' is a Tanh"),
        (nn.Sequential(nn.Linear(3, 1)), "binary", "which Bernoulli of problem 'module' does not give"),
        (nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (2, 2)), nn.Flatten()), None, "unflattens them after a layer"),
    ],
)  # fmt: skip
def test_other_networks_and_likelihoods_are_refused(
    body: nn.Module, likelihood: str | None, message: str
) -> None:
    at = of_module(body, torch.arange(6) % 2, likelihood=likelihood)
    with pytest.raises(CellError, match=re.escape(message)):
        found("deterministic-vi", at)


def test_a_layer_that_is_too_wide_is_refused() -> None:
    at = of_module(
        nn.Sequential(
            nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1600), nn.ReLU(), nn.Linear(1600, 2)
        ),
        torch.arange(6) % 2,
    )
    with pytest.raises(
        CellError, match=re.escape("would hold 6 · 1600² · 12 numbers for layer '2'")
    ):
        found("deterministic-vi", at)


def test_one_hidden_layer_is_not_counted_as_several() -> None:
    """The integral over nodes is between two hidden layers only: with nodes counted, this would be refused."""
    at = of_module(
        nn.Sequential(nn.Linear(3, 1600), nn.ReLU(), nn.Linear(1600, 2)), torch.arange(6) % 2
    )
    gradient = found("deterministic-vi", at)
    assert all(torch.isfinite(g).all() for g in gradient.gradients.values())


def test_noise_that_outputs_share_is_refused() -> None:
    problem, parameters = network(
        ThetaLogAlpha(0.4, per="layer", sharing="inputs"), prior=NoPrior()
    )
    with pytest.raises(
        CellError, match="'deterministic-vi' is derived for independent normal weights"
    ):
        found("deterministic-vi", (problem, parameters, gather(problem, np.arange(5))))


def test_nodes_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="nodes must be a number from 1 to 100, not 0"):
        get("deterministic-vi", nodes=0)
