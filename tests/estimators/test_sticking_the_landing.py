"""Sticking the landing: nothing left of the noise at the posterior, closed forms away from it, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracles
import pytest
import torch
from linear_problems import PROBLEMS, TOLERANCE
from oracles import HalfSquare, Linear, Moments, Oracle
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError
from vdbench.estimation.autodiff import differentiate
from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.draws import trace
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.priors import GaussianPrior, LogUniformPrior, NoPrior, Prior
from vdbench.problems.problem import Batch, Problem

KEY = Key(("landing",))
PRIOR = 0.7
At = tuple[Problem, dict[str, Tensor], Batch]


def conjugate(seed: int = 0) -> tuple[At, float]:
    """Linear regression of unit noise on orthogonal inputs, q its exact posterior; and the log-evidence.

    Orthogonal, because then the posterior is independent, and of the family of q. The minibatch is all of the data.
    """
    rng = np.random.default_rng((2017, seed))
    x = np.linalg.qr(rng.normal(size=(6, 3)))[0] * rng.uniform(0.5, 2, size=3)
    y = rng.normal(size=6)
    precision = (x**2).sum(0) + 1 / PRIOR
    split = Split(torch.tensor(x), torch.tensor(y)[:, None])
    layer = nn.Linear(3, 1, bias=False).double()
    problem = noisy(
        layer,
        Dataset("orthogonal", split, split, 0),
        likelihood=HalfSquare(),
        prior=GaussianPrior(PRIOR),
    )
    parameters = {
        "0.mean": torch.tensor(x.T @ y / precision)[None],
        "0.log_variance": -torch.tensor(precision).log()[None],
    }
    covariance = np.eye(6) + PRIOR * x @ x.T
    # HalfSquare leaves out ½ log 2π an example
    evidence = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1])
    return (problem, parameters, Batch(*split)), float(evidence)


def bound(estimator: Estimator, at: At, key: Key) -> Gradient:
    """What training follows: the estimate less the exact KL, value and gradient."""
    problem, parameters, _ = at
    found = estimator(*at, stream(key, dtype=torch.float64))

    def kl(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        value = problem.kl({**parameters, **free})
        return value, value

    value, slopes = differentiate(kl, problem.free(parameters))
    return Gradient(found.value - value, {n: g - slopes[n] for n, g in found.gradients.items()})


@pytest.mark.parametrize("seed", range(3))
def test_at_the_posterior_every_draw_is_the_evidence_and_its_gradient_nothing(seed: int) -> None:
    at, evidence = conjugate(seed)
    for k in range(20):
        found = bound(get("sticking-the-landing"), at, KEY / seed / k)
        assert abs(float(found.value) - evidence) < 1e-12 * (1 + abs(evidence))
        worst = max(float(g.abs().max()) for g in found.gradients.values())
        assert worst < 1e-12, (k, worst)


def test_with_its_score_the_sampled_bound_has_the_score_s_variance() -> None:
    """Draw by draw the difference is −∇log q(w): −ε/σ for μ, ½(1 − ε²) for log σ²; the exact KL's has its own."""
    at, evidence = conjugate()
    sigma = (0.5 * at[1]["0.log_variance"]).exp()
    for k in range(20):
        noise = stream(KEY / "score" / k, dtype=torch.float64)
        eps = noise("0", (1, 3))
        found = bound(get("sticking-the-landing", drop_score=False), at, KEY / "score" / k)
        torch.testing.assert_close(found.gradients["0.mean"], score_mean(eps, sigma))
        torch.testing.assert_close(found.gradients["0.log_variance"], 0.5 * (1 - eps**2))
        assert abs(float(found.value) - evidence) < 1e-12
    plain = [bound(get("naive"), at, KEY / k).gradients["0.mean"] for k in range(20)]
    assert float(torch.stack(plain).std(0).min()) > 1e-2


def score_mean(eps: Tensor, sigma: Tensor) -> Tensor:
    """−∂/∂μ log q_φ(w) at fixed w, for the path's part at the posterior is 0."""
    return -eps / sigma


def landed(of: Linear, drop: bool = True) -> Moments:
    """One weight sample, prior N(0, 1): ∂/∂w of the sampled bound is A_i + Σ_j B_ij ε_j, and its score on top."""
    t = oracles.Terms(of)
    k = len(of.mu)
    s = of.sigma
    a = -of.c * t.a[:k] - of.mu
    b = -of.c * t.g[:k, :k] * s + np.diag((1 / s if drop else 0 * s) - s)
    found = oracles.naive(of)
    mean, scale = np.zeros((2, k))
    for i in range(k):
        others = (np.delete(b[i], i) ** 2).sum()
        mean[i] = others + b[i, i] ** 2
        scale[i] = s[i] ** 2 / 4 * (a[i] ** 2 + others + 2 * b[i, i] ** 2)
    return {
        **found,
        "mean": (found["mean"][0], mean),
        "scale": (found["scale"][0], scale),
    }


CLOSED: list[tuple[bool, Oracle]] = [(True, landed), (False, lambda of: landed(of, False))]


@pytest.mark.parametrize(("drop", "oracle"), CLOSED, ids=["dropped", "kept"])
def test_exact_moments(drop: bool, oracle: Oracle) -> None:
    """Means are those of every estimator; variances by the closed form, at nodes that are exact for them."""
    estimator = get("sticking-the-landing", drop_score=drop)
    for of in [p for p in PROBLEMS if len(p.mu) <= 3][:12]:
        wrong = oracles.mismatches(oracles.exact(estimator, of, 3), oracle(of), TOLERANCE)
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("inner", ["grouped", "per-example"])
def test_several_weight_samples_keep_the_mean(inner: str) -> None:
    of = next(p for p in PROBLEMS if p.x.shape == (3, 2))
    got = oracles.exact(get("sticking-the-landing", of=inner), of, 3)
    want = oracles.naive(of)
    means = [{r: (m, np.zeros_like(m)) for r, (m, _) in part.items()} for part in (got, want)]
    wrong = oracles.mismatches(means[0], means[1], TOLERANCE)
    assert not wrong, "\n".join(wrong)


# What is refused


def with_prior(prior: Prior) -> At:
    (problem, parameters, batch), _ = conjugate()
    return replace(problem, prior=prior), parameters, batch


@pytest.mark.parametrize("prior", [NoPrior(), LogUniformPrior()], ids=str)
def test_priors_without_a_sampled_term_are_refused(prior: Prior) -> None:
    with pytest.raises(
        CellError, match=f"under the prior '{prior}' of problem 'module' its gradient"
    ):
        trace(get("sticking-the-landing"), *with_prior(prior))


def test_posteriors_without_a_density_are_refused() -> None:
    problem, parameters = oracles.network(ThetaLogAlpha(0.4, sharing="inputs"), prior=NoPrior())
    batch = Batch(*(t[:5] for t in problem.data.train))
    with pytest.raises(CellError, match="'sticking-the-landing' is derived for independent normal"):
        trace(get("sticking-the-landing"), problem, parameters, batch)


def test_wrappers_go_around_it() -> None:
    """Two samples of the sampled bound are the mean of two; and pairs, and coupled draws, are made of it too."""
    problem, parameters = oracles.network(MeanLogVariance(0.3))
    at = problem, parameters, Batch(*(t[:5] for t in problem.data.train))
    inner, noise = get("sticking-the-landing"), stream(KEY, dtype=torch.float64)
    both = [inner(*at, noise.at("sample", s)).gradients for s in (0, 1)]
    got = get("samples", of=inner, samples=2)(*at, noise).gradients
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, (both[0][name] + both[1][name]) / 2)
    for name in ("antithetic", "latin-hypercube", "sobol"):
        trace(get(name, of=inner), *at)
