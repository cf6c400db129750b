"""The estimators for learned binary masks: twins, exact means, closed variances, biases."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import convolution_twins
import families
import mask_twins
import numpy as np
import pytest
import torch
import twins
from families import weighted
from oracles import HalfSquare, network, repeat
from torch import Tensor

from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import gather, trace, vectorised
from vdbench.estimation.options import get, label
from vdbench.estimation.registry import find, names
from vdbench.noise import Key, Request, stream
from vdbench.problems.dropout import LearnedBinary
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Problem

At = tuple[Problem, dict[str, Tensor], Batch]

MASK = [name for name in names() if find(name).declared.posteriors == "learned-binary"]
FORMS = {"input": LearnedBinary(0.6), "layer": LearnedBinary(0.6, per="layer")}
everywhere = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)

CASES = [(n, o, e) for n, options in mask_twins.EXAMPLE.items() for o, e in options]
each = pytest.mark.parametrize(
    ("name", "options", "example"), CASES, ids=[label(get(n, **o)) for n, o, _ in CASES]
)


@each
@everywhere
def test_agrees_with_its_twin(
    name: str, options: dict[str, Any], example: Any, form: LearnedBinary
) -> None:
    problem, parameters = network(form)
    twin = mask_twins.twin(example, 12, twins.log_likelihood, lambda _, x, w: twins.product(w, x))
    for draw in range(3):
        batch = gather(problem, (np.arange(5) + draw) % 12)
        twins.agrees(get(name, **options), problem, parameters, batch, Key(("masks", draw)), twin)


@each
@everywhere
def test_agrees_with_its_twin_on_convolutions(
    name: str, options: dict[str, Any], example: Any, form: LearnedBinary
) -> None:
    """One number an example and input channel, at all places; the groups of a grouped one share it."""
    there = convolution_twins
    problem, parameters = there.network(form)
    twin = mask_twins.twin(example, there.EXAMPLES, there.log_likelihood, there.linear)
    batch = gather(problem, np.arange(5))
    key = Key(("masks", "convolution"))
    twins.agrees(get(name, **options), problem, parameters, batch, key, twin)


# Exact means and variances


def tiny(form: LearnedBinary, examples: int, *sizes: tuple[int, int]) -> At:
    """A dense tanh network of a few masks on random data; its minibatch is all of the data."""
    return families.problem(form, sizes, examples, likelihood=HalfSquare())


def truth(at: At) -> dict[str, Tensor]:
    """Gradient of Σ_m E_B[f_m(B)] over all masks of an example, B in weight space, by autograd on the sum."""
    problem, parameters, batch = at
    leaves = {n: v.clone().requires_grad_() for n, v in parameters.items()}
    sizes = [layer.weight_shape[1] for layer in problem.layers]
    total = torch.zeros((), dtype=torch.float64)
    for bits in itertools.product((0.0, 1.0), repeat=sum(sizes)):
        masks = torch.tensor(bits, dtype=torch.float64).split(sizes)
        chance = torch.ones((), dtype=torch.float64)
        weights = {}
        for layer, mask in zip(problem.layers, masks, strict=True):
            q = torch.sigmoid(leaves[f"{layer.name}.logit"]).expand(1, len(mask))[0]
            chance = chance * torch.where(mask > 0, q, 1 - q).prod()
            weights[layer.name] = leaves[f"{layer.name}.theta"] * mask

        def sampler(layer: Layer, x: Tensor, weights: dict[str, Tensor] = weights) -> Tensor:
            return x @ weights[layer.name].T

        total = total + chance * problem.log_likelihood(sampler, batch, leaves).sum()
    found = torch.autograd.grad(total, list(leaves.values()))
    return {"value": total.detach(), **dict(zip(leaves, found, strict=True))}


def moments(estimator: Estimator, at: At, nodes: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance over the uniform numbers, by Gauss–Legendre on the pieces between 0, 1−q, q and 1.

    Binary masks are constant on a piece, and what else there is is a polynomial of low degree, so that one or two nodes
    are exact; relaxed masks are smooth there.
    """
    problem, parameters, batch = at
    state = estimator.fit(problem, parameters, Key(("fit",)))
    requests = trace(estimator, *at, state).requests
    rules = [rule for r in requests for rule in _rules(parameters, r, nodes)]
    points = np.stack(np.meshgrid(*[p for p, _ in rules], indexing="ij"), -1).reshape(
        -1, len(rules)
    )
    chance = np.stack(np.meshgrid(*[w for _, w in rules], indexing="ij"), -1)
    chance = torch.tensor(chance.reshape(-1, len(rules)).prod(1))
    parts = torch.tensor(points).split([math.prod(r.shape) for r in requests], 1)
    noise = {r: p.reshape(-1, *r.shape) for r, p in zip(requests, parts, strict=True)}
    drawn = vectorised(estimator, problem, parameters, repeat(batch, len(chance)), noise, state)
    return weighted(drawn, chance)


def _rules(parameters: dict[str, Tensor], request: Request, nodes: int) -> Sequence[Any]:
    logit = parameters[f"{request.path[-1]}.logit"].expand(request.shape)
    x, w = np.polynomial.legendre.leggauss(nodes)
    rules = []
    for phi in logit.flatten().tolist():
        q = 1 / (1 + math.exp(-phi))
        ends = sorted({0.0, q, 1 - q, 1.0})
        pieces = list(itertools.pairwise(ends))
        points = np.concatenate([a + (b - a) * (x + 1) / 2 for a, b in pieces])
        rules.append((points, np.concatenate([(b - a) * w / 2 for a, b in pieces])))
    return rules


def differences(found: dict[str, Any], want: dict[str, Tensor], relative: float) -> list[str]:
    wrong = []
    for name, value in want.items():
        gap = float((found[name][0] - value).abs().max())
        size = float(value.abs().max())
        if not gap <= relative * (size + 1e-3):
            wrong.append(f"mean of {name} differs by {gap:.3g}, largest {size:.3g}")
    return wrong


# estimator, options, examples, sizes of the layers, nodes a piece, relative room
EXACT: list[tuple[str, dict[str, Any], int, tuple[tuple[int, int], ...], int, float]] = [
    ("reinforce", {}, 1, ((2, 2), (2, 1)), 1, 1e-10),
    ("reinforce", {}, 2, ((2, 1), (1, 1)), 1, 1e-10),
    ("rloo", {}, 1, ((2, 1), (1, 1)), 1, 1e-10),
    ("rloo", {"samples": 3}, 1, ((1, 1), (1, 1)), 1, 1e-10),
    ("arm", {}, 1, ((2, 2), (2, 1)), 1, 1e-10),
    ("arm", {}, 2, ((2, 1), (1, 1)), 1, 1e-10),
    ("disarm", {}, 1, ((2, 2), (2, 1)), 1, 1e-10),
    ("disarm", {}, 2, ((2, 1), (1, 1)), 1, 1e-10),
    ("double-control-variate", {}, 1, ((2, 1), (1, 1)), 1, 1e-10),
    ("double-control-variate", {"samples": 3}, 1, ((1, 1), (1, 1)), 1, 1e-10),
    ("rebar", {}, 1, ((1, 2), (2, 1)), 10, 1e-6),
    ("rebar", {"temperature": 0.4, "eta": -0.7}, 1, ((1, 1), (1, 1)), 40, 1e-8),
    ("rebar", {"eta": 3.0}, 2, ((1, 1),), 40, 1e-8),
    ("relax", {"steps": 5, "hidden": 2, "rate": 0.3}, 1, ((1, 1), (1, 1)), 40, 1e-6),
    ("rodeo", {"pilot": 4}, 1, ((2, 1), (1, 1)), 1, 1e-10),
    ("rodeo", {"pilot": 4, "samples": 3}, 1, ((1, 1), (1, 1)), 1, 1e-10),
]

OF_THEIR_OWN = {"arms", "sum-and-sample"}
"""Whose masks are other functions of the uniform numbers: enumerated in test_further_masks.py."""


@everywhere
@pytest.mark.parametrize(("name", "options", "examples", "sizes", "nodes", "room"), EXACT)
def test_the_mean_is_the_gradient_by_enumeration(
    name: str, options: dict[str, Any], examples: int, sizes: Any, nodes: int, room: float,
    form: LearnedBinary,
) -> None:  # fmt: skip
    """In logits, θ and biases, and the value."""
    at = tiny(form, examples, *sizes)
    wrong = differences(moments(get(name, **options), at, nodes), truth(at), room)
    assert not wrong, "\n".join(wrong)


def test_what_claims_no_bias_is_enumerated() -> None:
    unbiased = {n for n in MASK if find(n).declared.unbiased}
    assert {name for name, *_ in EXACT} | OF_THEIR_OWN == unbiased


@everywhere
def test_disarm_has_no_more_variance_than_arm(form: LearnedBinary) -> None:
    at = tiny(form, 1, (2, 2), (2, 1))
    arm, disarm = (moments(get(n), at, 2) for n in ("arm", "disarm"))
    for name, (_, variance) in arm.items():
        assert bool((disarm[name][1] <= variance * (1 + 1e-9)).all()), name
        if name.endswith("logit"):
            assert bool((disarm[name][1] < 0.95 * variance).all()), name


def single(phi: float) -> tuple[At, float, float]:
    """One mask, one weight, one example: the costs f₁ and f₀ with and without it."""
    at = tiny(LearnedBinary(0.6), 1, (1, 1))
    problem, parameters, batch = at
    parameters["0.logit"].fill_(phi)
    theta, bias = float(parameters["0.theta"]), float(parameters["0.bias"])
    x, y = float(batch.inputs), float(batch.targets)
    return (problem, parameters, batch), *(
        -0.5 * (bias + b * theta * x - y) ** 2 for b in (1.0, 0.0)
    )  # type: ignore[return-value]


def closed_variance(name: str, p: float, one: float, zero: float) -> float:
    """Of the gradient in the logit, m = min(p, 1−p) and q = 1 − m."""
    gap, m = one - zero, min(p, 1 - p)
    return {
        "reinforce": p * (1 - p) * ((1 - p) * one + p * zero) ** 2,
        "rloo": p * (1 - p) * gap**2 * (0.5 - p * (1 - p)),
        "arm": gap**2 * (2 / 3 * (1 / 8 - (0.5 - m) ** 3) - (m * (1 - m)) ** 2),
        "disarm": gap**2 * m * (1 - m) ** 2 * (0.5 - m),
    }[name]


PHI = [-3.0, -0.4, 0.0, 0.7, 2.5]


@pytest.mark.parametrize("phi", PHI)
@pytest.mark.parametrize("name", ["reinforce", "rloo", "arm", "disarm"])
def test_closed_moments_of_one_mask(name: str, phi: float) -> None:
    at, one, zero = single(phi)
    p = 1 / (1 + math.exp(-phi))
    mean, variance = (float(v) for v in moments(get(name), at, 2)["0.logit"])
    assert mean == pytest.approx(p * (1 - p) * (one - zero), rel=1e-10)
    want = closed_variance(name, p, one, zero)
    assert variance == pytest.approx(want, rel=1e-9, abs=1e-12 * one**2)


# The biased ones


@pytest.mark.parametrize("phi", PHI)
def test_the_bias_of_straight_through(phi: float) -> None:
    """Of one mask and f = −½(c + bθ − y)²: f' at the ends in place of Δ gives q(1−q)θ²(½−q), none at q = ½."""
    at, one, zero = single(phi)
    q, reach = 1 / (1 + math.exp(-phi)), float(at[1]["0.theta"] * at[2].inputs)
    found = moments(get("straight-through"), at, 1)
    exact = truth(at)
    bias = float(found["0.logit"][0] - exact["0.logit"])
    assert bias == pytest.approx(q * (1 - q) * reach**2 * (0.5 - q), rel=1e-9, abs=1e-14)
    assert abs(bias) > 0.01 * abs(q * (1 - q) * (one - zero)) or phi == 0
    unbiased = {n: v for n, v in exact.items() if not n.endswith("logit")}
    assert not differences(found, unbiased, 1e-10)


@pytest.mark.parametrize("phi", [-1.5, 0.8])
def test_concrete_is_the_gradient_of_a_relaxed_objective(phi: float) -> None:
    """Its mean is the derivative of its own mean value, in the logit, θ and the bias, and not that of the ELBO."""
    at, _, _ = single(phi)
    problem, parameters, batch = at
    found, exact = moments(get("concrete"), at, 60), truth(at)
    for name, value in parameters.items():
        ends = []
        for step in (1e-4, -1e-4):
            moved = (problem, {**parameters, name: value + step}, batch)
            ends.append(moments(get("concrete"), moved, 60)["value"][0])
        slope = float(ends[0] - ends[1]) / 2e-4
        assert float(found[name][0]) == pytest.approx(slope, rel=1e-6, abs=1e-8)
        assert abs(float(found[name][0] - exact[name])) > 0.003 * abs(float(exact[name]))


@pytest.mark.parametrize("phi", [-1.5, 0.8])
def test_the_bias_of_concrete_falls_with_its_temperature_and_its_variance_rises(phi: float) -> None:
    at, _, _ = single(phi)
    exact = truth(at)
    biases, variances = [], []
    for temperature in (0.8, 0.4, 0.2, 0.1):
        found = moments(get("concrete", temperature=temperature), at, 200)
        biases.append(abs(float(found["0.logit"][0] - exact["0.logit"])))
        variances.append(float(found["0.logit"][1]))
    assert biases == sorted(biases, reverse=True), biases
    assert biases[-1] < 0.15 * biases[0], biases
    assert variances == sorted(variances), variances


# What they share with no other estimator, and what is refused


def test_everything_is_finite_where_a_uniform_number_is_0() -> None:
    for dtype in (torch.float32, torch.float64):
        problem, parameters = network(FORMS["input"])
        problem = problem.to("cpu", dtype)
        at = (problem, {n: v.to(dtype) for n, v in parameters.items()})
        batch = gather(problem, np.arange(5))
        for name in MASK:
            state = get(name).fit(*at, Key(("fit",)))
            requests = trace(get(name), *at, batch, state).requests
            for number in (0.0, 1 - torch.finfo(dtype).eps / 2):
                noise = {r: torch.full((1, *r.shape), number, dtype=dtype) for r in requests}
                found = vectorised(get(name), *at, repeat(batch, 1), noise, state)
                assert all(bool(v.isfinite().all()) for v in found.gradients.values()), name


def test_rebar_without_its_control_is_reinforce() -> None:
    at = tiny(FORMS["input"], 3, (3, 4), (4, 2))
    a, b = (
        get(name, **options)(*at, stream(Key(("eta",)), dtype=torch.float64))
        for name, options in (("rebar", {"eta": 0.0}), ("reinforce", {}))
    )
    # to rounding: its cost is differentiated in a larger graph
    wrong = differences({n: (v,) for n, v in a.gradients.items()}, b.gradients, 1e-12)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", MASK)
def test_samples_average_them_and_pairs_refuse_them(name: str) -> None:
    at = tiny(FORMS["input"], 3, (3, 4), (4, 2))
    noise = stream(Key(("samples",)), dtype=torch.float64)
    state = get(name).fit(*at[:2], Key(("fit",)))
    found = get("samples", of=name, samples=3)(*at, noise, state)
    each = [get(name)(*at, noise.at("sample", s), state) for s in range(3)]
    for parameter, value in found.gradients.items():
        mean = torch.stack([g.gradients[parameter] for g in each]).mean(0)
        assert torch.allclose(value, mean, rtol=1e-12, atol=1e-12), parameter
    with pytest.raises(InputError, match="takes uniform noise, whose negative follows another law"):
        get("antithetic", of=name)


@pytest.mark.parametrize("name", ["naive", "grouped", "per-example"])
def test_gradients_through_a_draw_of_the_masks_are_refused(name: str) -> None:
    at = tiny(FORMS["input"], 2, (3, 2))
    message = (
        f"estimator '{name}' passes gradients through draws of the noise, whose law is learned here: in the logits "
        "they would be wrong, and the posterior 'learned-binary' of problem 'module' has learned binary masks; "
        f"expected an estimator made for them: {', '.join(sorted(n for n in MASK if get(n).declaration.unbiased))}."
    )
    for estimator in (get(name), get("samples", of=name, samples=2)):
        with pytest.raises(CellError, match=re.escape(message)):
            estimator(*at, stream(Key(), dtype=torch.float64))
    with pytest.raises(CellError, match=re.escape(message)):
        trace(get(name), *at)


@pytest.mark.parametrize("name", ["local", "flipout", "score"])
def test_what_needs_normal_weights_is_refused(name: str) -> None:
    with pytest.raises(CellError, match="is derived for independent normal weights, and the poste"):
        trace(get(name), *tiny(FORMS["input"], 2, (3, 2)))


@pytest.mark.parametrize("name", ["deterministic", "fast-dropout"])
def test_what_takes_the_moments_alone_is_not(name: str) -> None:
    found = get(name)(*tiny(FORMS["input"], 2, (3, 2)), stream(Key(), dtype=torch.float64))
    assert all(bool(v.any()) for v in found.gradients.values())


@pytest.mark.parametrize("name", MASK)
def test_without_learned_masks_they_are_refused(name: str) -> None:
    at = network(MeanLogVariance())
    message = (
        f"estimator '{name}' is made for learned binary masks, and the posterior 'mean-log_variance' of problem "
        "'module' has none; expected the posterior 'learned-binary', or an estimator that is valid for every"
    )
    batch = gather(at[0], np.arange(5))
    with pytest.raises(CellError, match=re.escape(message)):
        trace(get(name), *at, batch)
    with pytest.raises(CellError, match=re.escape(message)):
        get(name)(*at, batch, stream(Key(), dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rloo", {"samples": 1}, "rloo: samples must be at least 2, not 1"),
        ("concrete", {"temperature": 0.0}, "concrete: temperature must be a finite number above 0, not 0.0."),
        ("rebar", {"temperature": math.inf}, "rebar: temperature must be a finite number above 0, not inf."),
        ("rebar", {"eta": math.nan}, "rebar: eta must be a finite number or 'fitted', not nan."),
    ],
)  # fmt: skip
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        get(name, **options)
