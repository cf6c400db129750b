"""The quadratic model: what it leaves of a quadratic loss, its fit by dense linear algebra, and what it takes away."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from oracles import FIT, Array, Linear, network, random_linear

from vdbench.errors import CellError, InputError
from vdbench.estimation import curvature, perturbation
from vdbench.estimation.draws import gather, gradients, minibatch, trace
from vdbench.estimation.options import get
from vdbench.noise import Injected, Key, Noise, stream
from vdbench.problems.gaussian import MeanLogVariance

TOLERANCE = 1e-9


def of_rank(seed: int, rank: int) -> Linear:
    """Six examples whose inputs, four features, span so many dimensions, without the bias."""
    of = random_linear(seed, 6, 4, bias=True)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, rank)) @ rng.normal(size=(rank, 4))
    return Linear(x, of.y, of.mu, of.sigma, of.examples, of.beta)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_nothing_is_left_of_a_quadratic_loss_of_its_rank(rank: int) -> None:
    for seed in range(3):
        of = of_rank(seed, rank)
        found = oracles.exact(get("quadratic-control-variate", rank=rank, pilot=rank + 1), of, 3)
        for role, (mean, variance) in oracles.naive(of).items():
            room = TOLERANCE * (variance + mean**2)
            assert np.all(np.abs(found[role][0] - mean) <= TOLERANCE * (1 + np.abs(mean))), role
            assert np.all(found[role][1] <= room), (role, found[role][1], variance)


def test_exact_moments_given_a_model_of_too_low_a_rank() -> None:
    """H = −cG; with weights 1 on b and a on UTUᵀ left are linear: (H − aUTUᵀ)σε in μ, and so on."""
    for seed in range(3):
        of = random_linear(seed, 6, 4, bias=True)
        estimator = get("quadratic-control-variate", rank=2, pilot=3)
        state = estimator.fit(of.problem(), of.parameters(), FIT)
        t = oracles.Terms(of)
        u, sigma, k = state["basis"]["0"].flatten(1).numpy(), t.sigma[:4], 4
        model = u.T @ state["curve"].numpy() @ u
        w = {n: v.numpy() for n, v in state["weights"].items()}
        rest = state["rest"]["0.bias"].numpy()[:, 0] @ u
        left = -of.c * t.g[:k, :k] - w["0.mean"][1] * model
        bias = -of.c * t.g[k, :k] - w["0.bias"][1] * rest
        slope = -of.c * t.a[:k] - w["0.log_variance"][0] * state["slope"]["0"][0].numpy()
        bent = -of.c * t.g[:k, :k] - w["0.log_variance"][1] * model
        own, other = np.diag(bent), bent - np.diag(np.diag(bent))
        scale = slope**2 + other**2 @ sigma**2 + 2 * own**2 * sigma**2
        mean = {role: m for role, (m, _) in oracles.naive(of).items()}
        want = {
            "mean": (mean["mean"], left**2 @ sigma**2),
            "bias": (mean["bias"], np.atleast_1d(bias**2 @ sigma**2)),
            "scale": (mean["scale"], scale * (sigma / 2) ** 2),
        }
        wrong = oracles.mismatches(oracles.exact(estimator, of, 3, state), want, TOLERANCE)
        assert not wrong, "\n".join(wrong)


def test_the_fit_is_that_of_dense_linear_algebra() -> None:
    """On a ReLU network: the range by an SVD of σ∘o, T and V by least squares, the weights by regression."""
    problem, parameters = network(MeanLogVariance(sigma=0.3))
    rank, pilot = 2, 4
    estimator = get("quadratic-control-variate", rank=rank, pilot=pilot)
    state = estimator.fit(problem, parameters, FIT)
    sigma = flat({a.name: problem.posterior(a, parameters).scale for a in problem.layers})
    first = [pair(problem, parameters, FIT / "basis" / k) for k in range(pilot)]
    o = np.stack([flat({n: p[1][n] for n in p[0]}) for p in first])
    ranges = np.linalg.svd((o * sigma).T)[0][:, :rank]
    u = state["basis"]
    ours = flat({n: v[0] for n, v in u.items()}), flat({n: v[1] for n, v in u.items()})
    q = np.stack(ours, 1) * sigma[:, None]
    assert np.allclose(q @ q.T, ranges @ ranges.T, atol=1e-9)
    second = [pair(problem, parameters, FIT / "curve" / k) for k in range(pilot)]
    x = np.stack([flat(p[0]) / sigma @ q for p in second])
    y = np.stack([flat({n: p[1][n] for n in p[0]}) * sigma @ q for p in second])
    t = np.linalg.lstsq(x, y, rcond=None)[0].T
    assert np.allclose(state["curve"], (t + t.T) / 2, atol=1e-9 * np.abs(t).max())
    dense = np.stack(ours, 1) @ ((t + t.T) / 2) @ np.stack(ours, 1).T
    assert np.allclose(flat(state["diagonal"]), np.diag(dense), atol=1e-9 * np.abs(dense).max())
    for name in ("0.bias", "4.bias"):
        v = np.linalg.lstsq(x, np.stack([p[1][name].numpy() for p in second]), rcond=None)[0]
        assert np.allclose(state["rest"][name], v, atol=1e-9 * np.abs(v).max()), name


def pair(
    problem: oracles.Problem, parameters: dict[str, torch.Tensor], key: Key
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """σε and half the difference of the gradients at μ ± σε."""
    batch = gather(problem, minibatch(problem, problem.examples, key / "minibatch"))
    slope_of = curvature.cost_gradient(problem, parameters, batch)
    noise = stream(key, dtype=torch.float64)
    q = {a.name: problem.posterior(a, parameters) for a in problem.layers}
    delta = {n: p.scale * noise(n, tuple(p.scale.shape)) for n, p in q.items()}
    free = perturbation.without_noise(problem, parameters)
    up, down = (
        slope_of({**{n: q[n].mean + sign * d for n, d in delta.items()}, **free})[0]
        for sign in (1, -1)
    )
    return delta, {n: (up[n] - down[n]) / 2 for n in up}


def flat(parts: dict[str, torch.Tensor]) -> Array:
    return torch.cat([v.flatten() for v in parts.values()]).numpy()


def test_it_takes_variance_of_a_network_away() -> None:
    """Of all roles, on the whole data set of a ReLU network."""
    problem, parameters = network(MeanLogVariance(sigma=0.1))
    batch, draws = gather(problem, np.arange(problem.examples)), 400
    total = {}
    for name in ("naive", "quadratic-control-variate"):
        estimator = get(name)
        state = estimator.fit(problem, parameters, FIT)
        traced = trace(estimator, problem, parameters, batch, state)
        keys = [Key(("taken", d)) for d in range(draws)]
        drawn = gradients(
            estimator, problem, parameters, oracles.repeat(batch, draws), keys, traced, state
        )
        for role in ("mean", "log_variance", "bias"):
            rows = [v.flatten(1) for n, v in drawn.gradients.items() if n.endswith(role)]
            total[name, role] = float(torch.cat(rows, 1).var(0).sum())
    left = {
        r: total["quadratic-control-variate", r] / v for (n, r), v in total.items() if n == "naive"
    }
    assert all(share < 0.5 for share in left.values()), left


def test_what_is_refused() -> None:
    of = random_linear(1, 3, 2)
    problem, parameters, batch = of.problem(), of.parameters(), of.batch()
    with pytest.raises(CellError, match="has a model and was given none"):
        get("quadratic-control-variate")(problem, parameters, batch, Noise(Injected({})))
    for options, what in (
        ({"rank": 0}, "rank must be at least 1"),
        ({"rank": 4, "pilot": 3}, "pilot must be at least 4"),
        ({"epochs": 0}, "epochs must be at least 1"),
    ):
        with pytest.raises(InputError, match=what):
            get("quadratic-control-variate", **options)
    parameters["0.mean"][0, 0] = math.inf
    with pytest.raises(CellError, match=r"a pilot gradient on problem .* is not finite"):
        get("quadratic-control-variate").fit(problem, parameters, FIT)
