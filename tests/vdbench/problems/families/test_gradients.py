"""Gradients under every family of noise: draw by draw against slow twins, and against closed forms.

On a linear layer with loss ½Σ_m (x_m·w + β − y_m)² and w = μ + Kz, the gradient in a coordinate φ of K is

    g_φ = −(aᵀBz + zᵀKᵀGBz),   B = ∂K/∂φ,   G = Σ x xᵀ,   a = Σ x (x·μ + β − y),

so that means and variances follow from two and four moments of z. A rule of three nodes, 0 and ±√κ with weights
1 − 1/κ and 1/(2κ), is exact for a symmetric law of kurtosis κ up to the fifth degree: no randomness is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from families import problem, weighted
from noise_families import (
    REFERENCES,
    Coordinates,
    Reference,
    Rows,
    truncated_quantile,
    uniform_quantile,
)
from oracles import HalfSquare, network, repeat
from scipy.optimize import brentq
from scipy.special import ndtri
from torch import Tensor
from torch.func import jacrev
from twins import Affine, Weights, agrees, group, mean, own, pathwise, product

from vdbench.estimation.draws import gather, inject, trace, vectorised
from vdbench.estimation.options import get
from vdbench.noise import Key, Request, antithetic
from vdbench.problems import priors
from vdbench.problems.problem import Batch, Problem

EXAMPLES, BATCH = 12, 5
KEY = Key(("noise families",))
CORRELATED = ("matrix-normal", "low-rank-plus-diagonal")
SYMMETRIC = ("uniform", "truncated-normal", "radial")

every = pytest.mark.parametrize("family", REFERENCES)
Noise_ = Any


def place(family: str) -> tuple[Problem, dict[str, Tensor], Batch]:
    made, parameters = network(REFERENCES[family].form, EXAMPLES, priors.NoPrior())
    return made, parameters, gather(made, np.arange(BATCH))


def of_layer(leaves: Weights, layer: str) -> Coordinates:
    return {n.split(".")[1]: v for n, v in leaves.items() if n.startswith(f"{layer}.")}


# -- twins -------------------------------------------------------------------------------------------------------------


def weights(reference: Reference, of: Callable[[Noise_, int], Noise_]) -> Any:
    """Weight samples of example m on the noise that ``of`` gives it."""

    def sample(leaves: Weights, noise: Noise_, m: int) -> Affine:
        source = of(noise, m)
        return lambda layer, x: product(
            reference.weights(of_layer(leaves, layer), layer, source), x
        )

    return sample


def flipped(reference: Reference) -> Any:
    """Weights of example m: μ + t_j s_i (W_ji − μ_ji)."""

    def sample(leaves: Weights, noise: Noise_, m: int) -> Affine:
        def affine(layer: str, x: Tensor) -> Tensor:
            at = of_layer(leaves, layer)
            outputs, inputs = at["mean"].shape
            s = noise.at("input")(layer, (BATCH, inputs), law="sign")[m]
            t = noise.at("output")(layer, (BATCH, outputs), law="sign")[m]
            moved = reference.weights(at, layer, noise.at("base", 0)) - at["mean"]
            return product(at["mean"] + t[:, None] * moved * s, x)

        return affine

    return sample


def locally(family: str) -> Any:
    """Pre-activations of correlated weights, output by output."""

    def sample(leaves: Weights, noise: Noise_, m: int) -> Affine:
        def affine(layer: str, x: Tensor) -> Tensor:
            at = of_layer(leaves, layer)
            outputs, inputs = at["mean"].shape
            zeta = noise(layer, (BATCH, outputs))[m]
            if not bool(x.any()):
                return product(at["mean"], x)
            if family == "matrix-normal":
                root = REFERENCES[family].root(at).reshape(outputs, inputs, outputs, inputs)
                # R and C up to a factor each, from the coefficients of z_00
                columns = root[0, :, 0, :]
                rows = root[:, 0, :, 0] / columns[0, 0]
                length = torch.stack([(x * c).sum() ** 2 for c in columns.T]).sum() ** 0.5
                return product(at["mean"], x) + length * product(rows, zeta)
            xi = noise.at("factors")(layer, (BATCH, len(at["factors"])))[m]
            own = torch.stack(
                [
                    (x * x * d.exp()).sum() ** 0.5 * z
                    for d, z in zip(at["log_variance"], zeta, strict=True)
                ]
            )
            shared = [f * product(v, x) for f, v in zip(xi, at["factors"], strict=True)]
            return product(at["mean"], x) + own + torch.stack(shared).sum(0)

        return affine

    return sample


@every
@pytest.mark.parametrize(
    ("name", "options", "of"),
    [
        ("naive", {}, lambda noise, m: noise),
        ("per-example", {"chunk": 3}, own),
        ("grouped", {"groups": 2}, lambda noise, m: noise.at("group", group(2, m))),
    ],
    ids=["naive", "per-example", "grouped"],
)
def test_weights_agree_with_their_twin(
    family: str, name: str, options: dict[str, Any], of: Callable[[Noise_, int], Noise_]
) -> None:
    twin = pathwise(weights(REFERENCES[family], of))
    for draw in range(2):
        agrees(get(name, **options), *place(family), KEY / "twin" / draw, twin)


@every
def test_antithetic_pairs_agree_with_their_twin(family: str) -> None:
    one = pathwise(weights(REFERENCES[family], lambda noise, m: noise))
    agrees(
        get("antithetic", of="naive"),
        *place(family),
        KEY / "pair",
        lambda *at: mean([one(*at[:3], half) for half in antithetic(at[3])]),
    )


@pytest.mark.parametrize("family", ["low-rank-scale", *SYMMETRIC])
def test_flipout_agrees_with_its_twin(family: str) -> None:
    agrees(get("flipout"), *place(family), KEY / "flip", pathwise(flipped(REFERENCES[family])))


@pytest.mark.parametrize("family", CORRELATED)
def test_local_agrees_with_its_twin(family: str) -> None:
    """The second example's inputs are all 0: nothing of it is not finite."""
    agrees(get("local"), *place(family), KEY / "local", pathwise(locally(family)))


# -- closed forms ------------------------------------------------------------------------------------------------------


def linear(family: str) -> tuple[Problem, dict[str, Tensor], Batch]:
    """One output, two inputs, two examples."""
    return problem(REFERENCES[family].form, [(2, 1)], 2, likelihood=HalfSquare())


QUANTILES = {"uniform": uniform_quantile, "truncated-normal": truncated_quantile}


def rule(family: str, law: str) -> tuple[Rows, Rows]:
    """Nodes of the numbers that a request has, and their weights."""
    if law == "sign":
        return np.array([-1.0, 1.0]), np.array([0.5, 0.5])
    kurtosis = float(REFERENCES[family].fourth(1)[0, 0])
    node = math.sqrt(kurtosis)
    if family in QUANTILES:
        node = float(
            brentq(
                lambda n: float(QUANTILES[family](torch.tensor(n, dtype=torch.float64))) - node,
                0.0,
                8.0,
                xtol=1e-15,
            )
        )
    chance = 1 / (2 * kurtosis)
    return np.array([-node, 0.0, node]), np.array([chance, 1 - 2 * chance, chance])


def exactly(family: str, estimator: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of value and gradients, by the rule in all numbers together."""
    at = linear(family)
    requests = trace(estimator, *at).requests
    rules = [rule(family, r.law) for r in requests for _ in range(math.prod(r.shape))]
    mesh = np.meshgrid(*[nodes for nodes, _ in rules], indexing="ij")
    shares = np.meshgrid(*[share for _, share in rules], indexing="ij")
    points = torch.tensor(np.stack(mesh, -1).reshape(-1, len(rules)))
    chance = torch.tensor(np.stack(shares, -1).reshape(-1, len(rules)).prod(1))
    parts = points.split([math.prod(r.shape) for r in requests], 1)
    numbers: dict[Request, Tensor] = {
        r: p.reshape(-1, *r.shape) for r, p in zip(requests, parts, strict=True)
    }
    return weighted(
        vectorised(estimator, at[0], at[1], repeat(at[2], len(chance)), numbers), chance
    )


def quadratic(fourth: Rows, q: Rows) -> float:
    """Variance of zᵀQz, from E[z_i² z_j²]."""
    q, diagonal = (q + q.T) / 2, np.diag(q)
    apart = fourth * (1 - np.eye(len(q)))
    square = diagonal @ fourth @ diagonal + 2 * (apart * q**2).sum()
    return float(square - np.trace(q) ** 2)


Root = Callable[[Coordinates], Tensor]


def of_part(
    at: dict[str, Tensor], root: Root, fourth: Callable[[int], Rows], x: Rows, r: Rows, odd: bool
) -> dict[str, tuple[Rows, Rows]]:
    """Mean and variance of gradients in the coordinates of K for examples that share z, r their residuals at μ.

    Without the part that is odd in z if not ``odd``: a pair ±z has the even part alone.
    """
    gram, a, k = x.T @ x, x.T @ r, root(at).numpy()
    found = {}
    for name, value in at.items():
        if name in ("mean", "bias"):
            continue
        slope = jacrev(lambda v, name=name: root({**at, name: v}))(value)  # (D, n, *value)
        means, variances = np.zeros(value.numel()), np.zeros(value.numel())
        for c, b in enumerate(slope.flatten(2).unbind(2)):
            q = k.T @ gram @ b.numpy()
            means[c] = -np.trace(q)
            variances[c] = quadratic(fourth(len(q)), q)
            if odd:
                variances[c] += float((b.numpy().T @ a) @ (b.numpy().T @ a))
        found[name] = means, variances
    return found


def closed(
    family: str, parts: Sequence[Sequence[int]], odd: bool = True
) -> dict[str, tuple[Rows, Rows]]:
    """All gradients for parts of the minibatch that share their noise."""
    _, parameters, batch = linear(family)
    reference, at = REFERENCES[family], of_layer(parameters, "0")
    x, cov = batch.inputs.numpy(), reference.covariance(at).numpy()
    r = x @ at["mean"][0].numpy() + float(at["bias"]) - batch.targets[:, 0].numpy()
    total: dict[str, tuple[Rows, Rows]] = {}
    for part in map(list, parts):
        mine, res = x[part], r[part]
        gram, added = mine.T @ mine, mine.sum(0)
        found = of_part(at, reference.root, reference.fourth, mine, res, odd)
        found["mean"] = -mine.T @ res, odd * np.diag(gram @ cov @ gram)
        found["bias"] = np.array([-res.sum()]), np.array([odd * (added @ cov @ added)])
        total = {
            n: (v[0] + total[n][0], v[1] + total[n][1]) if total else v for n, v in found.items()
        }
    return total


def compare(got: dict[str, tuple[Tensor, Tensor]], want: dict[str, tuple[Rows, Rows]]) -> None:
    for name, pair in want.items():
        for kind, a, b in zip(("mean", "variance"), got[f"0.{name}"], pair, strict=True):
            worst, size = float(np.abs(a.numpy().ravel() - b.ravel()).max()), float(np.abs(b).max())
            assert worst <= 1e-9 * (1e-3 + size), f"{kind} of {name}: {worst:.3g} of {size:.3g}"


WHOLE, APART = [[0, 1]], [[0], [1]]
EXACT = [family for family in REFERENCES if family != "radial"]


@pytest.mark.parametrize("family", EXACT)
@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("naive", {}, WHOLE),
        ("per-example", {}, APART),
        ("grouped", {"groups": 2}, APART),
        ("antithetic", {"of": "naive"}, WHOLE),
    ],
    ids=["naive", "per-example", "grouped", "antithetic"],
)
def test_linear_regression(
    family: str, name: str, options: dict[str, Any], parts: list[list[int]]
) -> None:
    estimator = get(name, **options)
    compare(exactly(family, estimator), closed(family, parts, odd=name != "antithetic"))


@pytest.mark.parametrize("family", ["uniform", "truncated-normal", "low-rank-scale"])
def test_flipout_has_the_mean_of_linear_regression(family: str) -> None:
    """And the variance of per-example in μ and the bias: signs make the samples uncorrelated."""
    got, want = exactly(family, get("flipout")), closed(family, APART)
    for name, (centre, spread) in want.items():
        if name not in ("mean", "bias"):
            spread = got[f"0.{name}"][1].numpy()
        compare(got, {name: (centre, spread)})


def local_root(family: str, x: Rows) -> Root:
    """Deviation of one pre-activation for each of its numbers, (1, n)."""

    def root(at: Coordinates) -> Tensor:
        if family == "matrix-normal":
            return (torch.tensor(x) @ REFERENCES[family].root(at)).norm()[None, None]
        own = ((torch.tensor(x) ** 2 * at["log_variance"][0].exp()).sum() ** 0.5)[None]
        return torch.cat([own, at["factors"][:, 0] @ torch.tensor(x)])[None]

    return root


@pytest.mark.parametrize("family", CORRELATED)
def test_local_on_linear_regression(family: str) -> None:
    """Mean and variance, from one pre-activation's numbers example by example."""
    _, parameters, batch = linear(family)
    at, want = of_layer(parameters, "0"), closed(family, APART)
    x = batch.inputs.numpy()
    r = x @ at["mean"][0].numpy() + float(at["bias"]) - batch.targets[:, 0].numpy()
    total: dict[str, tuple[Rows, Rows]] = {}
    for row, res in zip(x, r, strict=True):
        fourth = REFERENCES[family].fourth
        found = of_part(at, local_root(family, row), fourth, np.ones((1, 1)), np.array([res]), True)
        total = {
            n: (v[0] + total[n][0], v[1] + total[n][1]) if total else v for n, v in found.items()
        }
    for name, (centre, _) in total.items():
        np.testing.assert_allclose(centre, want[name][0], rtol=1e-9, atol=1e-12)
    compare(exactly(family, get("local")), {**want, **total})


@pytest.mark.parametrize("name", ["naive", "antithetic", "per-example", "flipout"])
def test_radial_noise_on_linear_regression(name: str) -> None:
    """By 6,000 draws: mean and, but for flipout, variance, within 4.9 of their standard errors (1e-5 in all)."""
    at, count = linear("radial"), 6_000
    estimator = get(name, of="naive") if name == "antithetic" else get(name)
    requests = trace(estimator, *at).requests
    keys = [KEY / name / k for k in range(count)]
    noise = inject(requests, keys, torch.device("cpu"), torch.float64)
    rows = vectorised(estimator, at[0], at[1], repeat(at[2], count), noise).gradients
    parts = WHOLE if name in ("naive", "antithetic") else APART
    columns = sum(v.numel() for v in rows.values())
    limit = -float(ndtri(1e-5 / (4 * columns)))
    for parameter, (centre, spread) in closed("radial", parts, odd=name != "antithetic").items():
        g = rows[f"0.{parameter}"].flatten(1).numpy()
        # of an odd part that cancels rounding is left
        error = g.std(0) / math.sqrt(count) + 1e-12
        z = np.abs(g.mean(0) - centre.ravel()) / error
        assert z.max() < limit, f"{name}, mean of {parameter}: {z.max():.1f} standard errors"
        if name == "flipout":
            continue
        square = (g - centre.ravel()) ** 2
        z = np.abs(square.mean(0) - spread.ravel()) / (square.std(0) / math.sqrt(count) + 1e-12)
        assert z.max() < limit, f"{name}, variance of {parameter}: {z.max():.1f} standard errors"
