"""Mean and variance of the estimators on every family of noise, exactly.

Binary noise: every mask of a tiny network is enumerated, and compared with gradients of the same network with its
masks written out. Any noise: on linear regression all gradients are polynomials in the factors ξ, whose moments
are known, so that closed forms come from multiplying polynomials.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, moments, problem
from oracles import HalfSquare
from torch import Tensor

from vdbench.estimation.options import get
from vdbench.noise import Key
from vdbench.problems.dropout import BinaryDropout
from vdbench.problems.gaussian import ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization
from vdbench.training.trainer import evaluate

TOLERANCE = 1e-9
SIZES = [(2, 2), (2, 2)]


def compare(got: dict[str, tuple[Tensor, Tensor]], want: dict[str, tuple[Any, Any]]) -> None:
    """Mean and variance of all of them, within the tolerance of the largest of each."""
    assert set(got) == set(want)
    for name, pair in got.items():
        for kind, a, b in zip(("mean", "variance"), pair, want[name], strict=True):
            b = torch.as_tensor(b)
            assert a.shape == b.shape, (name, kind)
            worst, size = float((a - b).abs().max()), float(b.abs().max())
            assert worst <= TOLERANCE * (size + 1e-3), (
                f"{kind} of {name}: {worst:.3g} of {size:.3g}"
            )


# Every mask of a network with two layers


def masked_gradients(
    form: BinaryDropout, parameters: dict[str, Tensor], x: Tensor, y: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Value and gradients of examples that share a mask, at every mask, and the probabilities of the masks."""
    shape = (1, 2) if form.sharing == "inputs" else (2, 2)
    bits = math.prod(shape)
    names = ["0.theta", "0.bias", "2.theta", "2.bias"]
    rows: dict[str, list[Tensor]] = {name: [] for name in ["value", *names]}
    chance = []
    for kept in itertools.product((0.0, 1.0), repeat=2 * bits):
        mask = torch.tensor(kept, dtype=torch.float64).reshape(2, *shape)
        leaves = {n: parameters[n].clone().requires_grad_() for n in names}
        factor = 1.0 if form.scaling == "test" else 1 / (1 - form.rate)  # type: ignore[operator]
        h = torch.tanh(x @ (leaves["0.theta"] * mask[0] * factor).T + leaves["0.bias"])
        b = h @ (leaves["2.theta"] * mask[1] * factor).T + leaves["2.bias"]
        value = (b[range(len(y)), y] - b.exp().sum(1).log()).sum()
        slopes = torch.autograd.grad(value, list(leaves.values()))
        for name, row in zip(rows, (value.detach(), *slopes), strict=True):
            rows[name].append(row)
        chance.append(math.prod(1 - form.rate if k else form.rate for k in kept))  # type: ignore[operator]
    return {n: torch.stack(v) for n, v in rows.items()}, torch.tensor(chance, dtype=torch.float64)


def added_up(
    form: BinaryDropout, at: tuple[Any, dict[str, Tensor], Any], parts: Sequence[Sequence[int]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Moments of a minibatch whose parts have masks of their own: means and variances add up."""
    _, parameters, batch = at
    total: dict[str, tuple[Tensor, Tensor]] = {}
    for part in parts:
        rows, chance = masked_gradients(
            form, parameters, batch.inputs[list(part)], batch.targets[list(part)]
        )
        assert float(chance.sum()) == pytest.approx(1, abs=1e-12)
        for name, values in rows.items():
            mean = torch.einsum("k,k...->...", chance, values)
            spread = torch.einsum("k,k...->...", chance, (values - mean) ** 2)
            before = total.get(name, (torch.zeros_like(mean), torch.zeros_like(mean)))
            total[name] = (before[0] + mean, before[1] + spread)
    return total


BINARY = [
    BinaryDropout(0.3),
    BinaryDropout(0.3, scaling="test"),
    BinaryDropout(0.3, sharing="weights"),
    BinaryDropout(0.6, "test", "weights"),
]


@pytest.mark.parametrize("form", BINARY, ids=repr)
@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("naive", {}, [[0, 1]]),
        ("per-example", {}, [[0], [1]]),
        ("grouped", {"groups": 2}, [[0], [1]]),
        ("grouped", {"groups": 1}, [[0, 1]]),
    ],
)
def test_every_mask(
    form: BinaryDropout, name: str, options: dict[str, Any], parts: list[list[int]]
) -> None:
    at = problem(form, SIZES, 2)
    compare(moments(get(name, **options), at), added_up(form, at, parts))


def test_the_two_scalings_have_gradients_that_differ_by_the_rate() -> None:
    """At the same W, ∂/∂θ with scaling at test is (1−p) times the other's, noise by noise."""
    training, test = (
        problem(BinaryDropout(0.3, scaling=s), SIZES, 2) for s in ("training", "test")
    )  # type: ignore[arg-type]
    for name in ("0.theta", "2.theta"):
        test[1][name] = training[1][name] / 0.7
    a, b = (moments(get("naive"), at) for at in (training, test))
    for name, (mean, variance) in a.items():
        factor = 0.7 if name.endswith("theta") else 1.0
        torch.testing.assert_close(b[name][0], factor * mean, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(b[name][1], factor**2 * variance, rtol=1e-10, atol=1e-12)


# Linear regression with two outputs: polynomials in ξ

Polynomial = dict[tuple[int, ...], float]


def constant(value: float, variables: int) -> Polynomial:
    return {(0,) * variables: value}


def variable(place: int, variables: int) -> Polynomial:
    return {tuple(int(i == place) for i in range(variables)): 1.0}


def add(*terms: Polynomial) -> Polynomial:
    total: Polynomial = {}
    for term in terms:
        for powers, value in term.items():
            total[powers] = total.get(powers, 0.0) + value
    return total


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    return add(
        *(
            {tuple(i + j for i, j in zip(p, q, strict=True)): u * v}
            for p, u in a.items()
            for q, v in b.items()
        )
    )


def scaled(factor: float, a: Polynomial) -> Polynomial:
    return {powers: factor * value for powers, value in a.items()}


def raw_moment(law: str, alpha: float, power: int) -> float:
    """E ξ^k: of N(1, α), or of a number that is 1/(1−p) with probability 1−p and else 0, α = p/(1−p)."""
    if law == "binary":
        return 1.0 if power == 0 else (1 + alpha) ** (power - 1)
    return [1, 1, 1 + alpha, 1 + 3 * alpha, 1 + 6 * alpha + 3 * alpha**2][power]


def regression_moments(
    form: Parameterization,
    parameters: dict[str, Tensor],
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
) -> dict[str, tuple[Any, Any]]:
    """Moments of value and gradients of −½Σ(b − y)² for examples that share their noise."""
    q = form.gaussian({n: parameters[f"0.{n}"] for n in form.roles})
    mean, beta = q.mean.numpy(), parameters["0.bias"].numpy()
    outputs, inputs = mean.shape
    alpha = np.broadcast_to(q.log_ratio().exp().numpy(), mean.shape)
    shared = form.sharing == "inputs"
    count = inputs if shared else outputs * inputs
    place = lambda o, i: i if shared else o * inputs + i  # noqa: E731
    alphas = [float(alpha[0, n] if shared else alpha.flat[n]) for n in range(count)]
    xi = lambda o, i: variable(place(o, i), count)  # noqa: E731
    one = constant(1.0, count)

    def residual(m: int, o: int) -> Polynomial:
        parts = [scaled(x[m, i] * mean[o, i], xi(o, i)) for i in range(inputs)]
        return add(*parts, constant(beta[o] - y[m, o], count))

    cells = list(itertools.product(range(outputs), range(inputs)))
    examples = range(len(x))
    pull = {  # Σ_m x_mi r_mo
        (o, i): add(*(scaled(x[m, i], residual(m, o)) for m in examples)) for o, i in cells
    }
    kept = 1 - form.rate if getattr(form, "scaling", "") == "test" else 1.0  # type: ignore[attr-defined]
    found: dict[str, Any] = {
        "value": scaled(
            -0.5,
            add(*(times(residual(m, o), residual(m, o)) for m in examples for o in range(outputs))),
        ),
        "0.theta": {c: scaled(-kept, times(xi(*c), pull[c])) for c in cells},
        "0.bias": {
            (o,): scaled(-1.0, add(*(residual(m, o) for m in examples))) for o in range(outputs)
        },
    }
    if "log_alpha" not in form.fixed:  # ∂ξ/∂log α = ½(ξ − 1)
        each = {
            c: scaled(-0.5 * mean[c], times(add(xi(*c), scaled(-1.0, one)), pull[c])) for c in cells
        }
        shape = parameters["0.log_alpha"].shape
        found["0.log_alpha"] = {
            where: add(*(each[c] for c in cells if _belongs(c, where, shape)))
            for where in itertools.product(*(range(s) for s in shape))
        }

    def expectation(a: Polynomial) -> float:
        return sum(
            value * math.prod(raw_moment(form.law, alphas[n], k) for n, k in enumerate(powers))
            for powers, value in a.items()
        )

    def pair(a: Polynomial) -> tuple[float, float]:
        mean_a = expectation(a)
        return mean_a, expectation(times(a, a)) - mean_a**2

    result: dict[str, tuple[Any, Any]] = {"value": pair(found.pop("value"))}
    for name, entries in found.items():
        pairs = np.array([pair(a) for a in entries.values()])
        where = parameters[name].shape
        result[name] = (pairs[:, 0].reshape(where), pairs[:, 1].reshape(where))
    return result


def _belongs(cell: tuple[int, int], where: tuple[int, ...], shape: Sequence[int]) -> bool:
    """Whether a weight has the α at this place of a tensor of this shape."""
    if len(shape) == 1:
        return True
    return all(s == 1 or c == w for c, w, s in zip(cell, where, shape, strict=True))


LINEAR = {
    **{name: form for name, form in FAMILIES.items() if name != "point"},
    "weight-noise": ThetaLogAlpha(0.4, learned=False),
}
PARTS: list[tuple[str, Callable[[], Any], list[list[int]]]] = [
    ("naive", lambda: get("naive"), [[0, 1]]),
    ("per-example", lambda: get("per-example"), [[0], [1]]),
    ("grouped", lambda: get("grouped", groups=2), [[0], [1]]),
]


@pytest.mark.parametrize("family", LINEAR)
@pytest.mark.parametrize(("name", "make", "parts"), PARTS, ids=[p[0] for p in PARTS])
def test_linear_regression(
    family: str, name: str, make: Callable[[], Any], parts: list[list[int]]
) -> None:
    """Three nodes a dimension are exact here, as all the masks are: 1e-9 against the closed forms."""
    form = LINEAR[family]
    at = problem(form, [(2, 2)], 2, likelihood=HalfSquare())
    x, y = (t.numpy() for t in at[2])
    want: dict[str, tuple[Any, Any]] = {}
    for part in parts:
        for key, (mean, variance) in regression_moments(form, at[1], x[part], y[part]).items():
            before = want.get(key, (0.0, 0.0))
            want[key] = (before[0] + mean, before[1] + variance)
    compare(moments(make(), at), want)


@pytest.mark.parametrize("name", ["naive", "per-example"])
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_binary_and_gaussian_dropout_agree_in_mean_gradient_and_differ_in_variance(
    name: str, rate: float
) -> None:
    """Slide row: on a quadratic loss only two moments of ξ count, so binary and Gaussian dropout have one objective.

    The variances of their gradients see third and fourth moments, and differ.
    """
    forms = (
        BinaryDropout(rate),
        ThetaLogAlpha(rate / (1 - rate), learned=False, sharing="inputs"),
    )
    places = [problem(form, [(2, 2)], 2, likelihood=HalfSquare()) for form in forms]
    places[1][1]["0.log_alpha"] = places[0][1]["0.log_alpha"]
    binary, normal = (moments(get(name), at) for at in places)
    for key, (mean, variance) in binary.items():
        torch.testing.assert_close(mean, normal[key][0], rtol=1e-10, atol=1e-12)
        if key != "0.bias":  # linear in ξ: two moments again
            assert not torch.isclose(variance, normal[key][1], rtol=1e-3).any()


# The evaluation that all estimators are judged by


@pytest.mark.parametrize("family", ["dropout", "dropout-test-scaling", "dropconnect"])
def test_the_evaluation_draws_masks(family: str) -> None:
    """Mean over 200 evaluations of 4 samples against all masks, within 4.5 standard errors (below 1e-4)."""
    at = problem(FAMILIES[family], SIZES, 2)
    exact = float(moments(get("naive"), at)["value"][0])
    keys = [Key(("masks", family, k)) for k in range(200)]
    values = [evaluate(at[0], at[1], key, 4).elbo for key in keys]
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert 0 < error < 0.1 * abs(exact)
    assert abs(np.mean(values) - exact) < 4.5 * error, (np.mean(values), error, exact)


@pytest.mark.parametrize("family", ["variational-a-input", "gaussian-dropout", "per-output"])
def test_the_evaluation_draws_the_posterior_s_noise(family: str) -> None:
    """On linear regression, as above; here samples are in pairs ±ε."""
    at = problem(FAMILIES[family], [(2, 2)], 2, likelihood=HalfSquare())
    exact = float(moments(get("naive"), at)["value"][0])
    values = [evaluate(at[0], at[1], Key(("evaluate", family, k)), 4).elbo for k in range(200)]
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert abs(np.mean(values) - exact) < 4.5 * error, (np.mean(values), error, exact)


def test_the_evaluation_of_a_point_has_no_spread() -> None:
    at = problem(FAMILIES["point"], SIZES, 2)
    exact = float(moments(get("deterministic"), at)["value"][0])
    assert evaluate(at[0], at[1], Key(("point",)), 2).elbo == pytest.approx(exact, rel=1e-12)
