"""Estimators that perturb a weight sample, and scales from the curvature: closed forms, identities, kinks, refusals.

On the linear-Gaussian problem (tests/helpers/oracles.py) the gradient in the weights at ε is −c(a + Gσε), so that
E[γ_j²] = c²(a_j² + Σ_k G_jk²σ_k²), and the Hessian is −cG. All moments below are derived from these two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
import torch
from agreement import gaps
from oracles import Linear, Moments, Terms, random_linear
from torch import nn
from twins import BATCH, EXAMPLES

from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Gradient
from vdbench.estimation.draws import gather
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.kinks import kinks
from vdbench.problems.likelihoods import GaussianNoise

TOLERANCE = 1e-9
PROBLEMS = [random_linear(seed, 3, 2, times=4) for seed in (1, 2, 3)]
"""Two weights: with two normal numbers a weight, four dimensions of quadrature."""


def of_weights(of: Linear, variance_mu: Any) -> Moments:
    """Moments of what has the naive mean, with its own variance in μ; that in σ is not compared."""
    t = Terms(of)
    found = oracles.assemble(of, variance_mu, np.zeros_like(t.sigma))
    return {"mean": found["mean"], "scale": (found["scale"][0], None)}


def squares(of: Linear) -> tuple[Any, Any]:
    """E[γ²] and Var[γ] of each weight over c²."""
    t = Terms(of)
    spread = (t.g**2) @ t.sigma**2
    return t.a**2 + spread, spread


def expected(name: str, of: Linear) -> Moments:
    t = Terms(of)
    second, spread = squares(of)
    total, s2 = second.sum(), t.sigma**2
    variance = {
        "forward-gradient": total + second + spread,
        "spsa": total - second + spread,
        "activity-perturbation": spread + 2 * (t.x**2).T @ (t.r**2 + t.v),
        "evolution-strategies": ((t.a**2) @ s2 + t.a**2 * s2) / s2,
        "price-hessian": spread,
        "gradsq": spread,
    }[name]
    return of_weights(of, variance)


def compare(got: Moments, want: Moments) -> list[str]:
    full = {
        role: (m, got[role][1] if variance is None else variance)
        for role, (m, variance) in want.items()
    }
    return oracles.mismatches(got, full, TOLERANCE)


@pytest.mark.parametrize("of", PROBLEMS, ids=["1", "2", "3"])
@pytest.mark.parametrize(
    "name",
    [
        "forward-gradient", "spsa", "activity-perturbation", "evolution-strategies", "price-hessian",
    ],
)  # fmt: skip
def test_mean_and_variance_in_closed_form(name: str, of: Linear) -> None:
    """The mean in μ and σ, the variance in μ; SPSA has no bias for a quadratic cost."""
    wrong = compare(oracles.exact(get(name), of, 4), expected(name, of))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("of", PROBLEMS, ids=["1", "2", "3"])
@pytest.mark.parametrize("probes", [1, 2])
def test_the_scale_s_variance_by_price_is_the_row_of_the_hessian(of: Linear, probes: int) -> None:
    """c²σ_i² Σ_{j≠i} G_ij² / P: no residual is in it."""
    t = Terms(of)
    rest = (t.g**2).sum(1) - np.diag(t.g) ** 2
    found = oracles.exact(get("price-hessian", probes=probes), of, 2)
    want = oracles.assemble(of, squares(of)[1], t.sigma**2 * rest / probes)
    wrong = oracles.mismatches(found, want, TOLERANCE)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("of", PROBLEMS, ids=["1", "2", "3"])
def test_the_scale_s_variance_of_mirrored_samples(of: Linear) -> None:
    """Of −½c(σε)ᵀG(σε)·(ε_i² − 1)/σ_i, by quadrature over the textbook formula."""
    t = Terms(of)
    eps, weights = oracles.grid([5, 5])
    step = eps * t.sigma
    rows = -0.5 * of.c * ((step @ t.g) * step).sum(1)[:, None] * (eps**2 - 1) / 2
    mean = weights @ rows
    found = oracles.exact(get("evolution-strategies"), of, 5)["scale"]
    assert np.allclose(found[0], mean, rtol=1e-9)
    assert np.allclose(found[1], weights @ (rows - mean) ** 2, rtol=1e-9)


@pytest.mark.parametrize("of", PROBLEMS, ids=["1", "2", "3"])
def test_the_mean_of_squared_gradients(of: Linear) -> None:
    """−σ_i c²(a_i² + Σ_j G_ij²σ_j²) of the minibatch's, −σ_i c Σ_m x_mi²(r_m² + v_m) of each example's."""
    t = Terms(of)
    half = t.sigma / 2
    each = (t.x**2).T @ (t.r**2 + t.v)
    means = {"minibatch": of.c**2 * squares(of)[0], "examples": of.c * each}
    for which, mean in means.items():
        found = oracles.exact(get("gradsq", squares=which), of, 5)
        assert np.allclose(found["scale"][0], -t.sigma * mean * half, rtol=1e-9), which
        assert np.allclose(found["mean"][0], -of.c * t.a, rtol=1e-9), which


# Identities


def network(form: Any = None) -> Any:
    problem, parameters = oracles.network(form or MeanLogVariance(0.3), EXAMPLES)
    return problem, parameters, gather(problem, np.arange(BATCH))


def one(name: str, at: Any, **options: Any) -> Gradient:
    return get(name, **options)(*at, stream(Key(("identity",)), dtype=torch.float64))


def test_price_s_first_order_form_is_the_pathwise_gradient() -> None:
    """½ε∇L/σ in σ² is the pathwise gradient of the same draw, entry by entry: ∂/∂log σ² = σ²·∂/∂σ²."""
    at = network()
    problem, parameters, _ = at
    found = one("naive", at)
    for layer in problem.layers:
        q = problem.posterior(layer, parameters)
        eps = stream(Key(("identity",)), dtype=torch.float64)(layer.name, q.mean.shape)
        price = 0.5 * eps * found.gradients[f"{layer.name}.mean"] / q.scale
        ours = found.gradients[f"{layer.name}.log_variance"]
        assert torch.allclose(q.variance * price, ours, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("form", [MeanLogVariance(0.3), ThetaLogAlpha(0.4)], ids=["sigma", "alpha"])
def test_evolution_strategies_without_baseline_are_the_score_function(form: Any) -> None:
    """One-sided: score; mirrored: antithetic pairs of it."""
    at = network(form)
    for mirrored, (name, options) in {
        False: ("score", {"samples": 2}),
        True: ("antithetic", {"of": get("score", samples=2)}),
    }.items():
        ours = one("evolution-strategies", at, samples=2, mirrored=mirrored, baseline="none")
        wrong = gaps(ours, one(name, at, **options), 1e-10)
        assert not wrong, "\n".join(wrong)


# Kinks


def kinked(activation: nn.Module) -> tuple[str, ...]:
    split = Split(torch.randn(6, 3), torch.randn(6, 2))
    body = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2))
    made = noisy(body, Dataset("random", split, split, 0), likelihood=GaussianNoise())
    return kinks(made)


@pytest.mark.parametrize(
    ("activation", "found"),
    [
        (nn.ReLU(), ("relu",)),
        (nn.LeakyReLU(), ("leaky_relu",)),
        (nn.Hardtanh(), ("hardtanh",)),
        (nn.SELU(), ("elu",)),
        (nn.ELU(2.0), ("elu",)),
        (nn.PReLU(), ("_prelu_kernel",)),
        (nn.Softshrink(), ("softshrink",)),
        (nn.Hardswish(), ("hardswish",)),
        (nn.ELU(), ()),
        (nn.Tanh(), ()),
        (nn.GELU(), ()),
        (nn.Softplus(), ()),
        (nn.SiLU(), ()),
        (nn.LayerNorm(4), ()),
    ],
    ids=str,
)
def test_kinks_are_found_by_operation(activation: nn.Module, found: tuple[str, ...]) -> None:
    assert kinked(activation) == found


def test_a_network_with_kinks_is_refused_where_none_are_promised() -> None:
    assert get("price-hessian").declaration.unbiased is False
    assert get("price-hessian", smooth=True).declaration.unbiased is True
    with pytest.raises(CellError, match=r"uses relu, whose derivative jumps; expected smooth"):
        one("price-hessian", network(), smooth=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("forward-gradient", {"directions": 0}, "directions must be at least 1, not 0"),
        ("activity-perturbation", {"directions": -1}, "directions must be at least 1, not -1"),
        ("activity-perturbation", {"of": "score"}, "more than a sampler of pre-activations"),
        ("activity-perturbation", {"of": "grouped"}, "more than a sampler of pre-activations"),
        ("spsa", {"step": 0.0}, "step must be a finite number above 0"),
        ("spsa", {"step": float("inf")}, "step must be a finite number above 0"),
        ("evolution-strategies", {"samples": 0}, "samples must be at least 1"),
        ("evolution-strategies", {"rank": -1}, "rank must be at least 0"),
        ("price-hessian", {"probes": 0}, "probes must be at least 1"),
        ("gradsq", {"squares": "all"}, "option squares"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get(name, **options)


def test_low_rank_noise_is_declared_biased() -> None:
    assert get("evolution-strategies").declaration.unbiased
    assert not get("evolution-strategies", rank=3).declaration.unbiased


@pytest.mark.parametrize("form", [MeanLogVariance(), ThetaLogAlpha(alpha=0.3)])
def test_a_row_without_noise_gets_no_gradient_of_a_density_or_a_step(form: Any) -> None:
    """An embedding's padding row is 0 and stays so: in (θ, log α) its σ is 0, by which a density would be divided."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(4, 3, padding_idx=1), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.words(x).mean(1).tanh())

    torch.manual_seed(19)
    data = (np.arange(24).reshape(6, 4) % 4, np.arange(6) % 2)
    problem = noisy(Words(), data, parameterization=form).to("cpu", torch.float64)
    key = Key(("padding",))
    parameters = problem.initial(key)
    batch = gather(problem, np.arange(4))
    for name in (
        "score", "measure-valued", "evolution-strategies", "forward-gradient", "spsa",
        "activity-perturbation", "price-hessian", "gradsq",
    ):  # fmt: skip
        draw = get(name)(problem, parameters, batch, stream(key, problem.device, problem.dtype))
        for value in draw.gradients.values():
            assert value.isfinite().all(), name
            if tuple(value.shape) == (4, 3):
                assert value[1].eq(0).all(), name
                assert value.ne(0).any(), name
