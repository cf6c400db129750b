"""Control variates: closed forms, and the mean of a network's gradient left as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from oracles import Array, Linear, Moments, random_linear
from score_places import DRAWS, TOLERANCE, place, toy

from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import gradients, trace
from vdbench.estimation.options import get, label
from vdbench.noise import Key, stream


def hvp_of_naive(of: Linear) -> Moments:
    """First order: nothing of μ and bias; of σ the part that is quadratic in ε is left."""
    t = oracles.Terms(of)
    own = np.diag(t.g) ** 2 * t.sigma**2
    return oracles.assemble(of, np.zeros(len(t.a)), (t.g**2) @ t.sigma**2 + own)


def sampled_curvature(of: Linear) -> Moments:
    """The second order's mean at random signs: its own variance Σ_{j≠i} G_ij²σ_j² is left."""
    t = oracles.Terms(of)
    own = np.diag(t.g) ** 2 * t.sigma**2
    return oracles.assemble(of, np.zeros(len(t.a)), (t.g**2) @ t.sigma**2 - own)


def hvp_of_local(of: Linear) -> Moments:
    t = oracles.Terms(of)
    return oracles.assemble(of, np.zeros(len(t.a)), 2 * (t.x**4).sum(0) * t.sigma**2)


def noiseless(of: Linear) -> Moments:
    t = oracles.Terms(of)
    return oracles.assemble(of, np.zeros(len(t.a)), np.zeros(len(t.a)))


def with_bias_of_naive(oracle: Callable[[Linear], Moments]) -> Callable[[Linear], Moments]:
    """A score function's bias keeps its ordinary gradient."""

    def moments_of(of: Linear) -> Moments:
        found = oracle(of)
        return found | ({"bias": oracles.naive(of)["bias"]} if "bias" in found else {})

    return moments_of


delta: dict[str, Any] = {"of": "score", "kind": "delta"}

CONTROLLED: list[tuple[dict[str, Any], Callable[[Linear], Moments], int]] = [
    ({"of": "naive"}, hvp_of_naive, 3),
    ({"of": "naive", "curvature": "exact"}, noiseless, 3),
    ({"of": "naive", "curvature": "sampled"}, sampled_curvature, 3),
    ({"of": "local"}, hvp_of_local, 3),
    ({"of": "local", "curvature": "exact"}, noiseless, 3),
    ({"of": "per-example", "curvature": "exact"}, noiseless, 3),
    ({"of": "flipout", "curvature": "exact"}, noiseless, 3),
    (delta, with_bias_of_naive(noiseless), 5),
    ({**delta, "curvature": "sampled"}, with_bias_of_naive(sampled_curvature), 5),
]


@pytest.mark.parametrize(
    ("options", "oracle", "nodes"),
    CONTROLLED,
    ids=[label(get("control-variate", **o)) for o, *_ in CONTROLLED],
)
def test_exact_moments_with_a_control_variate(
    options: dict[str, Any], oracle: Callable[[Linear], Moments], nodes: int
) -> None:
    """On a quadratic loss: nothing is left of μ, and with the second order nothing at all."""
    for seed, (m, k, bias) in enumerate([(1, 1, False), (2, 1, True), (2, 2, True), (1, 2, False)]):
        of = random_linear(seed, m, k, bias, 1 + m)
        found = oracles.exact(get("control-variate", **options), of, nodes)
        wrong = oracles.mismatches(found, oracle(of), TOLERANCE)
        assert not wrong, "\n".join(wrong)


def curved(estimator: Estimator, draws: int, times: float = 1.0) -> dict[str, Array]:
    """Gradients of a network, where the loss is not quadratic, (draws, parameters), with σ so many times as large."""
    problem, parameters, batch = place()
    parameters = {
        n: v + 2 * math.log(times) if n.endswith("log_variance") else v
        for n, v in parameters.items()
    }
    state = estimator.fit(problem, parameters, oracles.FIT)
    traced = trace(estimator, problem, parameters, batch, state)
    keys = [Key(("curved", label(estimator), d)) for d in range(draws)]
    batches = oracles.repeat(batch, draws)
    drawn = gradients(estimator, problem, parameters, batches, keys, traced, state)
    return {n: g.flatten(1).numpy() for n, g in drawn.gradients.items()}


@pytest.mark.parametrize(
    "options",
    [
        {"of": "naive"},
        {"of": "naive", "curvature": "sampled", "coefficient": "fitted", "pilot": 16},
        {"of": "flipout"},
        {**delta, "curvature": "sampled"},
    ],
    ids=str,
)
def test_a_control_variate_leaves_the_mean_of_a_network(options: dict[str, Any]) -> None:
    """Two sums over every parameter's entries, beside naive sampling's."""
    ours = curved(get("control-variate", **options), DRAWS)
    naive = curved(get("naive"), 2 * DRAWS)
    comparisons = []
    for name, rows in ours.items():
        signs = np.where(np.arange(rows.shape[1]) % 2, 1.0, -1.0)
        for what, weights in (("sum", np.ones_like(signs)), ("alternating", signs)):
            a, b = rows @ weights, naive[name] @ weights
            error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
            comparisons.append(
                oracles.Comparison(f"{what} of {name}", float(a.mean()), error, float(b.mean()))
            )
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def test_a_control_variate_of_a_network_takes_variance_away() -> None:
    """Of μ in the last layer, the more the smaller σ is; in the others units close to their kinks keep some."""
    left = []
    for times in (0.3, 0.1, 0.03):
        ours, plain = (curved(get(e), 400, times) for e in ("control-variate", "naive"))
        left.append(ours["4.mean"].var(0).sum() / plain["4.mean"].var(0).sum())
    assert left[0] > left[1] > left[2], left
    assert left[0] < 0.5, left


def test_a_fitted_coefficient_is_the_regression_of_its_pairs() -> None:
    """On a problem of one number it is Cov/Var of the pairs, and 1 where the polynomial is the gradient."""
    of = toy(1.0, 0.5, 0.2)
    estimator = get("control-variate", coefficient="fitted", pilot=4)
    state = estimator.fit(of.problem(), of.parameters(), oracles.FIT)
    assert float(state["coefficient"]["0.mean"]) == pytest.approx(1.0, rel=1e-12)
    eps = []
    for k in range(4):
        pair = [
            stream(oracles.FIT / "pilot" / k / h, dtype=torch.float64)("0", (1, 1)) for h in (0, 1)
        ]
        eps.append([float(e) for e in pair])
    a, s = 0.8, 0.5
    g = lambda e: -2 * (a + s * e) * e * s / 2  # noqa: E731
    c = lambda e: -2 * a * e * s / 2  # noqa: E731
    top = sum((g(x) - g(y)) * (c(x) - c(y)) for x, y in eps)
    want = top / sum((c(x) - c(y)) ** 2 for x, y in eps)
    assert float(state["coefficient"]["0.log_variance"]) == pytest.approx(want, rel=1e-10)
