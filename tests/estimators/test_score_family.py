"""Score functions with baselines, and measure-valued derivatives: closed forms, refusals.

The toy cost is f = (x − k)² under N(μ, σ²): a linear-Gaussian problem of one input 1 and one example, counted twice.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from oracles import Array, Linear, Moments, random_linear
from score_places import DRAWS, TOLERANCE, place, toy
from torch import Tensor
from twins import EXAMPLES, LAYERS, log_likelihood
from twins_score import scores

from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.draws import gather, minibatch, trace, vectorised
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems.dropout import BinaryDropout

TOYS = [(1.0, 1.0, 0.3), (0.4, 1.3, -1.0), (1.0, 0.2, 1.0)]
"""μ, σ, k."""


def moments(mu: float, sigma: float, k: float, of_mu: float, of_sigma: float) -> Moments:
    """Of −f in (μ, log σ²), from variances in (μ, σ)."""
    mean, scale = np.array([-2 * (mu - k)]), np.array([-(sigma**2)])
    return {
        "mean": (mean, np.array([of_mu])),
        "scale": (scale, np.array([of_sigma * sigma**2 / 4])),
    }


@pytest.mark.parametrize("at", TOYS, ids=str)
def test_variances_of_the_toy_cost(at: tuple[float, float, float]) -> None:
    """Mohamed et al. 2020, with a = μ − k, exactly."""
    mu, sigma, k = at
    a2, s2, of = (mu - k) ** 2, sigma**2, toy(mu, sigma, k)
    plain = moments(*at, a2**2 / s2 + 14 * a2 + 15 * s2, 2 * a2**2 / s2 + 60 * a2 + 74 * s2)
    cases = {
        "score": plain,
        "score-local": plain,  # one input 1: the pre-activation is the weight
        "naive": moments(*at, 4 * s2, 4 * a2 + 8 * s2),
    }
    for name, want in cases.items():
        wrong = oracles.mismatches(oracles.exact(get(name), of, 5), want, TOLERANCE)
        assert not wrong, f"{name}: " + "\n".join(wrong)


@pytest.mark.parametrize("name", ["score", "score-local"])
@pytest.mark.parametrize("at", TOYS, ids=str)
def test_variances_of_the_toy_cost_with_optimal_baselines(
    at: tuple[float, float, float], name: str
) -> None:
    """With the coefficients E[fh²]/E[h²] given: a² + 3σ² for μ, and a² + 5σ² for σ."""
    mu, sigma, k = at
    a2, s2 = (mu - k) ** 2, sigma**2
    cost = torch.tensor(-(a2 + s2), dtype=torch.float64)  # any other reference gives the same
    best = {"0.mean": -(a2 + 3 * s2), "0.log_variance": -(a2 + 5 * s2)}
    state = {
        "cost": cost,
        "offset": {n: (b - cost).reshape(1, 1) for n, b in best.items()},
    }
    found = oracles.exact(get(name, baseline="optimal"), toy(mu, sigma, k), 5, state)
    wrong = oracles.mismatches(found, moments(*at, 8 * a2 + 6 * s2, 40 * a2 + 24 * s2), TOLERANCE)
    assert not wrong, "\n".join(wrong)


def rayleigh(nodes: int) -> tuple[Array, Array]:
    """Gauss rule of the Weibull(2, √2) law, exact to rounding: Legendre in its distribution's tail, cut at 12."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    r = 6 * (points + 1)
    density = 6 * weights * r * np.exp(-(r**2) / 2)
    return r, density / density.sum()


def maxwell_uniform(nodes: int) -> tuple[Array, Array]:
    """Points (D, U) of the double-sided Maxwell and uniform laws, and their weights."""
    d, w = oracles.grid([nodes])
    u, v = np.polynomial.legendre.leggauss(nodes)
    mesh = [t.ravel() for t in np.meshgrid(d[:, 0], (u + 1) / 2, indexing="ij")]
    weights = np.outer(w * d[:, 0] ** 2, v / 2).ravel()
    return np.stack(mesh, 1), weights / weights.sum()


def measured(of: Linear, n: Array, weights: Array, role: str) -> tuple[Array, Array]:
    """Mean and variance of a role's gradient over numbers n, (points, 3), of a problem with one weight."""
    estimator = get("measure-valued")
    problem, parameters = of.problem(), of.parameters()
    (request,) = trace(estimator, problem, parameters, of.batch()).requests
    noise = {request: torch.tensor(n).reshape(-1, *request.shape)}
    batches = oracles.repeat(of.batch(), len(n))
    drawn = vectorised(estimator, problem, parameters, batches, noise).gradients
    rows = drawn[f"0.{role}"].flatten(1).numpy()
    mean = weights @ rows
    return mean, weights @ (rows - mean) ** 2


@pytest.mark.parametrize("at", TOYS, ids=str)
def test_coupled_measure_valued_derivatives_of_the_toy_cost(at: tuple[float, float, float]) -> None:
    """a²(16/π − 4) for μ and 4a² + 4σ² for σ, below pathwise: by a rule for R, and by one for (D, U)."""
    mu, sigma, k = at
    a2, of = (mu - k) ** 2, toy(mu, sigma, k)
    want = moments(*at, a2 * (16 / math.pi - 4), 4 * a2 + 4 * sigma**2)
    r, weights = rayleigh(60)
    n = np.stack([np.zeros_like(r), r, np.zeros_like(r)], 1)
    found = {"mean": measured(of, n, weights, "mean")}
    points, weights = maxwell_uniform(12)
    d, u = points.T
    n = np.stack([d * u, np.abs(d) * np.sqrt(1 - u**2), np.zeros_like(d)], 1)
    found["scale"] = measured(of, n, weights, "log_variance")
    wrong = oracles.mismatches(found, want, 1e-8)
    assert not wrong, "\n".join(wrong)


def measure_valued(of: Linear) -> Moments:
    """(4/π)A² − a_i² for μ and A² + G_ii²σ_i² for σ, A² = a_i² + Σ_{j≠i} G_ij²σ_j²; biases as in naive sampling.

    Given the other weights the cost is quadratic in one: a toy cost whose slope at its mean is a_i + Σ G_ijσ_jε_j.
    """
    t = oracles.Terms(of)
    own = np.diag(t.g) ** 2 * t.sigma**2
    slope2 = t.a**2 + (t.g**2) @ t.sigma**2 - own
    found = oracles.assemble(of, 4 / np.pi * slope2 - t.a**2, slope2 + own)
    return found | {"bias": oracles.naive(of)["bias"]}


def moderate(seed: int, m: int, k: int, times: int) -> Linear:
    """A problem whose σ is neither tiny nor large, so that 4,000 draws estimate a fourth moment."""
    of = random_linear(seed, m, k, True, times)
    return replace(of, sigma=0.3 + 0.5 * of.sigma / of.sigma.max())


def test_measure_valued_moments_through_the_noise_streams() -> None:
    comparisons = []
    for seed, (m, k, times) in enumerate([(3, 2, 1), (4, 3, 2)]):
        of = moderate(seed, m, k, times)
        rows = oracles.sampled(get("measure-valued"), of, DRAWS, Key(("measure", seed)))
        comparisons += oracles.compare(f"measure-valued {seed}", rows, measure_valued(of))
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def best(of: Linear) -> tuple[dict[str, Tensor], Moments]:
    """E[L h²]/E[h²] of every parameter of the score function by quadrature, and the moments that it leaves."""
    eps, weights = oracles.grid([6] * len(of.mu))
    error = (of.mu + eps * of.sigma) @ of.x.T + (of.beta or 0.0) - of.y
    cost = -of.c * 0.5 * (error**2).sum(1)[:, None]
    found, numbers = oracles.naive(of), {}
    for name, role, h in (
        ("0.mean", "mean", eps / of.sigma),
        ("0.log_variance", "scale", (eps**2 - 1) / 2),
    ):
        b = weights @ (cost * h**2) / (weights @ h**2)
        numbers[name] = torch.tensor(b)[None]
        found[role] = oracles.scored(cost - b, h, weights, 1, False)
    return numbers, found


@pytest.mark.parametrize("seed", range(4))
def test_optimal_baselines_are_unbiased_and_the_least(seed: int) -> None:
    """Given the exact numbers; moved either way, every variance grows."""
    of = random_linear(seed, 3, 2, seed % 2 == 1, 2)
    numbers, want = best(of)
    zero = torch.zeros((), dtype=torch.float64)
    estimator = get("score", baseline="optimal")

    def moments_at(factor: float) -> Moments:
        offset = {n: factor * b for n, b in numbers.items()}
        if of.beta is not None:
            offset["0.bias"] = torch.zeros(1, dtype=torch.float64)
        return oracles.exact(estimator, of, 6, {"cost": zero, "offset": offset})

    wrong = oracles.mismatches(moments_at(1.0), want, TOLERANCE)
    assert not wrong, "\n".join(wrong)
    for factor in (0.9, 1.1):
        moved = moments_at(factor)
        for role in ("mean", "scale"):
            np.testing.assert_allclose(moved[role][0], want[role][0], rtol=1e-8, atol=1e-8)
            assert (moved[role][1] > want[role][1]).all()


@pytest.mark.parametrize("name", ["score", "score-local"])
def test_fitted_baselines_leave_the_mean_as_it_is(name: str) -> None:
    """Exactly, whatever the pilot draws were: few of them, and the moving average moved far off."""
    for seed in range(3):
        of = random_linear(seed, 2, 2, True, 2)
        want = oracles.naive(of)
        for baseline in ("moving-average", "optimal"):
            estimator = get(name, baseline=baseline, pilot=3, samples=1)
            state = estimator.fit(of.problem(), of.parameters(), Key(("few", seed)))
            for cost in (state["cost"], torch.tensor(-1e2, dtype=torch.float64)):
                found = oracles.exact(estimator, of, 5, {**state, "cost": cost})
                means = {role: (mean, np.zeros_like(mean)) for role, (mean, _) in found.items()}
                target = {role: (mean, np.zeros_like(mean)) for role, (mean, _) in want.items()}
                wrong = oracles.mismatches(means, target, TOLERANCE)
                assert not wrong, f"{baseline}: " + "\n".join(wrong)


def test_optimal_baselines_from_pilot_draws_approach_the_exact_ones() -> None:
    """All examples in every pilot minibatch, so that what is fitted is what quadrature gives."""
    of = moderate(1, 3, 2, 1)
    numbers, want = best(of)
    state = get("score", baseline="optimal", pilot=DRAWS).fit(
        of.problem(), of.parameters(), oracles.FIT
    )
    for name, b in numbers.items():
        gap = float(((state["cost"] + state["offset"][name]) / b - 1).abs().max())
        assert gap < 0.15, f"{name}: {gap:.3g}"
    found = oracles.exact(get("score", baseline="optimal"), of, 5, state)
    for role in ("mean", "scale"):
        assert (found[role][1] < 1.05 * want[role][1]).all()


def test_fit_has_a_slow_twin() -> None:
    """Pilot draw by pilot draw: the mean cost, and Σ Lh²/Σ h² with h written out."""
    problem, parameters, _ = place()
    state = get("score", baseline="optimal", pilot=5).fit(problem, parameters, Key(("slow",)))
    leaves = {n: v.clone() for n, v in parameters.items()}
    costs, slopes = [], []
    for k in range(5):
        key = Key(("slow",)) / "pilot" / k
        rows = minibatch(problem, EXAMPLES, key / "minibatch")
        noise = stream(key, dtype=torch.float64)
        eps = {a: noise(a, tuple(leaves[f"{a}.mean"].shape)) for a in LAYERS}
        drawn = {
            a: leaves[f"{a}.mean"] + (leaves[f"{a}.log_variance"] / 2).exp() * eps[a]
            for a in LAYERS
        }
        batch = gather(problem, rows)
        parts = [
            log_likelihood(leaves, x, int(y), lambda layer, h, w=drawn: w[layer] @ h)
            for x, y in zip(*batch, strict=True)
        ]
        costs.append(torch.stack(parts).sum())
        slopes.append(scores(leaves, eps))
    mean = torch.stack(costs).mean()
    torch.testing.assert_close(state["cost"], mean, rtol=1e-10, atol=0)
    for name in slopes[0]:
        h2 = torch.stack([slope[name] ** 2 for slope in slopes])
        cost = torch.stack(costs).reshape(-1, *[1] * (h2.dim() - 1))
        b = (cost * h2).sum(0) / h2.sum(0)
        torch.testing.assert_close(state["cost"] + state["offset"][name], b, rtol=1e-9, atol=1e-9)
    assert not any(bool(v.any()) for n, v in state["offset"].items() if n.endswith("bias"))


LARGE: list[tuple[Estimator, str]] = [
    (
        get("measure-valued", limit=77),
        "takes 3 forward passes for every weight, and problem 'module' has 78 weights; expected at most 77, or a "
        "higher value of its option limit.",
    ),
    (
        get("control-variate", of="score", kind="delta", limit=77),
        "'control-variate' takes a Hessian product for every weight, and problem 'module' has 78",
    ),
    (
        get("control-variate", curvature="exact", limit=77),
        "one draw of 'naive' takes 78; expected at most 77, a higher value of its option limit, or curvature: "
        "sampled.",
    ),
]


@pytest.mark.parametrize(("estimator", "message"), LARGE, ids=lambda x: str(x)[:20])
def test_problems_above_the_limit_are_refused(estimator: Estimator, message: str) -> None:
    with pytest.raises(CellError) as caught:
        estimator(*place(), stream(Key(("large",)), dtype=torch.float64))
    assert message in str(caught.value)
    larger = replace(estimator, limit=78)  # type: ignore[type-var]
    assert isinstance(larger(*place(), stream(Key(("large",)), dtype=torch.float64)), Gradient)


def test_a_posterior_that_is_not_normal_is_refused() -> None:
    noise = stream(Key(("binary",)), dtype=torch.float64)
    at = place(BinaryDropout(rate=0.2))
    with pytest.raises(CellError, match="has binary noise; expected normal noise"):
        get("control-variate")(*at, noise)
    for name in ("score-local", "measure-valued"):
        with pytest.raises(CellError, match="is derived for independent normal weights"):
            get(name)(*at, noise)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("score-local", {"baseline": "leave-one-out"}, "score-local: baseline 'leave-one-out' needs samples ≥ 2, not 1."),
    ("score", {"decay": 1.0}, "score: decay must be at least 0 and below 1, not 1.0."),
    ("score", {"pilot": 0}, "score: pilot must be at least 1 draw, not 0."),
    ("measure-valued", {"limit": 0}, "measure-valued: limit must be at least 1 weight, not 0."),
    ("control-variate", {"pilot": 0}, "control-variate: pilot must be at least 1, not 0."),
    ("control-variate", {"of": "naive", "kind": "delta"}, "'naive' has no cost times a score of weights"),
    ("control-variate", {"of": "score-local", "kind": "delta"}, "'score-local' has no cost times a score of weights"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "message"), BAD)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        get(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
