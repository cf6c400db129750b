"""What must hold of every estimator on every family of noise: twins, vectorised draws, float32, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from agreement import gaps, same
from families import ANY, ELBO, FAMILIES, OWN, SHARED
from oracles import network
from torch import Tensor
from twins import Affine, Twin, Weights, agrees, close, group, own, pathwise, product
from twins_moments import matched

from vdbench.errors import CellError
from vdbench.estimation.base import Estimator, Gradient, Wrapper
from vdbench.estimation.draws import Trace, gather, gradients, inject, trace
from vdbench.estimation.options import get
from vdbench.estimation.registry import find, names
from vdbench.estimation.validity import DERIVED
from vdbench.noise import Injected, Key, Noise, stream
from vdbench.problems import priors
from vdbench.problems.dropout import BinaryDropout, Point
from vdbench.problems.gaussian import ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.problem import Batch, Problem

EXAMPLES, BATCH = 12, 5
KEY = Key(("families",))

everywhere = pytest.mark.parametrize("family", FAMILIES)


def place(family: str) -> tuple[Problem, dict[str, Tensor], Batch]:
    form = FAMILIES[family]
    problem, parameters = network(form, EXAMPLES, priors.NoPrior())
    return problem, parameters, gather(problem, np.arange(BATCH))


# Twins: loops over examples, with the weights of each written out


def noisy_weights(
    form: Parameterization, leaves: Weights, layer: str, noise: Noise, lead: Any
) -> Tensor:
    """W of one layer as a table over outputs and inputs; ``lead`` is (M, m) for row m of shared noise."""
    theta = leaves[f"{layer}.theta"]
    if isinstance(form, Point):
        return theta
    alpha = leaves[f"{layer}.log_alpha"].exp()
    shape = (1, theta.shape[1]) if form.sharing == "inputs" else tuple(theta.shape)
    full = shape if lead is None else (lead[0], *shape)
    law = "uniform" if isinstance(form, BinaryDropout) else "normal"
    numbers = noise(layer, full, law=law)
    numbers = numbers if lead is None else numbers[lead[1]]
    if isinstance(form, BinaryDropout):
        rate = alpha / (1 + alpha)
        kept = (numbers >= rate).double()
        return theta * kept if form.scaling == "test" else theta * kept / (1 - rate)
    return theta + alpha.sqrt() * theta * numbers


def naive(form: Parameterization) -> Any:
    def sample(leaves: Weights, noise: Noise, m: int) -> Affine:
        return lambda layer, x: product(noisy_weights(form, leaves, layer, noise, None), x)

    return sample


def per_example(form: Parameterization) -> Any:
    def sample(leaves: Weights, noise: Noise, m: int) -> Affine:
        shared = form.sharing == "inputs"
        of = noise.at("examples") if shared else own(noise, m)
        lead = (BATCH, m) if shared else None
        return lambda layer, x: product(noisy_weights(form, leaves, layer, of, lead), x)

    return sample


def grouped(form: Parameterization) -> Any:
    return lambda leaves, noise, m: naive(form)(leaves, noise.at("group", group(4, m)), m)


def moments(form: Parameterization, leaves: Weights, layer: str) -> tuple[Tensor, Tensor]:
    """Mean and variance of each weight."""
    theta = leaves[f"{layer}.theta"]
    if isinstance(form, Point):
        return theta, 0 * theta
    alpha = leaves[f"{layer}.log_alpha"].exp()
    mean = theta / (1 + alpha) if getattr(form, "scaling", "") == "test" else theta
    return mean, alpha * mean * mean


def deterministic(form: Parameterization) -> Any:
    return lambda leaves, noise, m: lambda layer, x: product(moments(form, leaves, layer)[0], x)


def fast_dropout(form: Parameterization) -> Any:
    def sample(leaves: Weights, noise: Noise, m: int) -> Affine:
        def affine(layer: str, x: Tensor) -> Tensor:
            mean, variance = moments(form, leaves, layer)
            zeta = noise(layer, (BATCH, len(mean)))[m]
            outputs = []
            for j in range(len(mean)):
                gamma, delta = (x * mean[j]).sum(), (x * x * variance[j]).sum()
                outputs.append(gamma + delta.sqrt() * zeta[j] if delta > 0 else gamma)
            return torch.stack(outputs)

        return affine

    return sample


def moment_matching(form: Parameterization) -> Twin:
    def layer_moments(leaves: Weights, layer: str) -> tuple[Tensor, Tensor]:
        return moments(form, leaves, layer)

    return matched(layer_moments)


TWINS = {
    "naive": naive,
    "per-example": per_example,
    "grouped": grouped,
    "deterministic": deterministic,
    "fast-dropout": fast_dropout,
    "moment-matching": moment_matching,
    "per-layer": naive,
}


@everywhere
@pytest.mark.parametrize("name", TWINS)
def test_agrees_with_its_twin(name: str, family: str) -> None:
    """Draw by draw: for shared noise the cheap form (x ∘ ξ)θ against weights written out example by example."""
    problem, parameters, batch = place(family)
    made = TWINS[name](FAMILIES[family])
    twin: Twin = made if name == "moment-matching" else pathwise(made)
    for draw in range(3):
        agrees(get(name), problem, parameters, batch, KEY / "twin" / draw, twin)


def test_the_list_of_general_estimators_is_whole() -> None:
    every = {n for n in names() if not issubclass(find(n), Wrapper)}
    general = {n for n in every if find(n).declared.posteriors == "any"}
    assert general == set(ANY) == set(TWINS)
    serving = {n for n in general if find(n).declared.objective == "elbo"}
    assert {n for n in serving if find(n).declared.unbiased} == set(ELBO)


@everywhere
@pytest.mark.parametrize("name", ANY)
def test_draws_vectorise(name: str, family: str) -> None:
    problem, parameters, batch = place(family)
    rows = np.stack([(np.arange(BATCH) + k) % EXAMPLES for k in range(4)])
    batches, keys = gather(problem, rows), [KEY / k for k in range(4)]
    requests = trace(get(name), problem, parameters, batch).requests

    def draws(together: int) -> Gradient:
        return gradients(get(name), problem, parameters, batches, keys, Trace(requests, together))

    looped, together = draws(0), draws(4)
    wrong = gaps(together, looped, 1e-10)
    assert not wrong, "\n".join(wrong)
    noiseless = not requests
    silent = name in ("deterministic", "moment-matching")
    assert noiseless == (silent or (family == "point" and name != "fast-dropout"))


@everywhere
@pytest.mark.parametrize("name", ANY)
def test_float32_follows_float64(name: str, family: str) -> None:
    problem, parameters, batch = wide = place(family)
    requests = trace(get(name), *wide).requests
    noise = inject(requests, [KEY / "injected"], torch.device("cpu"), torch.float64)
    exact = get(name)(*wide, Noise(Injected({r: v[0] for r, v in noise.items()})))
    narrow = get(name)(
        problem.to("cpu", torch.float32),
        {n: v.float() for n, v in parameters.items()},
        Batch(batch.inputs.float(), batch.targets),
        Noise(Injected({r: v[0].float() for r, v in noise.items()})),
    )
    wrong = gaps(narrow, exact, 2e-4)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("family", [*SHARED, "dropconnect", "point"])
@pytest.mark.parametrize("name", ["local", "flipout", "score"])
def test_what_needs_independent_normal_weights_refuses_others(name: str, family: str) -> None:
    """When it is traced for a measurement, and when it is called."""
    at = place(family)
    why = {
        "point": "has no noise at all",
        "dropconnect": "has binary noise",
        "dropout": "has binary noise",
        "dropout-test-scaling": "has binary noise",
    }.get(
        family,
        "has one random number an input feature, which makes the weights of its outputs correlated",
    )
    form = FAMILIES[family].name
    message = (
        f"estimator '{name}' is derived for {DERIVED[find(name).declared.posteriors]}, and the posterior '{form}' of "
        f"problem 'module' {why}; expected an estimator that is valid for every posterior: grouped, naive, per-example."
    )
    with pytest.raises(CellError, match=re.escape(message)):
        trace(get(name), *at)
    for estimator in (get(name), get("samples", of=name)):
        with pytest.raises(CellError, match=re.escape(message)):
            estimator(*at, stream(KEY, dtype=torch.float64))


@pytest.mark.parametrize("family", OWN)
@pytest.mark.parametrize("name", ["local", "flipout", "score"])
def test_what_needs_independent_normal_weights_takes_any_alpha(name: str, family: str) -> None:
    at = place(family)
    trace(get(name), *at)
    found = get(name)(*at, stream(KEY, dtype=torch.float64)).gradients
    assert all(bool(v.any()) for v in found.values())


@pytest.mark.parametrize("inner", ELBO)
@pytest.mark.parametrize("family", FAMILIES)
def test_antithetic_pairs_need_a_symmetric_posterior(family: str, inner: str) -> None:
    at = place(family)
    pair, noise = get("antithetic", of=inner), stream(KEY, dtype=torch.float64)
    if FAMILIES[family].law == "binary":
        message = (
            "antithetic: the posterior 'binary-dropout' of problem 'module' takes uniform noise, whose negative "
            "follows another law; expected normal or sign noise."
        )
        with pytest.raises(CellError, match=re.escape(message)):
            pair(*at, noise)
        nested = get("antithetic", of=get("samples", of=inner, samples=2))
        with pytest.raises(CellError, match=re.escape(message)):
            trace(nested, *at)
        return
    requests = trace(get(inner), *at).requests
    values = inject(requests, [KEY], torch.device("cpu"), torch.float64)
    halves = [
        get(inner)(*at, Noise(Injected({r: s * v[0] for r, v in values.items()}))) for s in (1, -1)
    ]
    mean = {n: (v + halves[1].gradients[n]) / 2 for n, v in halves[0].gradients.items()}
    want = Gradient((halves[0].value + halves[1].value) / 2, mean)
    wrong = gaps(pair(*at, noise), want, 1e-12)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("per", ["input", "output", "layer"])
@pytest.mark.parametrize("name", [*ELBO, "local", "flipout", "score", "fast-dropout"])
def test_a_coarser_alpha_gathers_the_gradients_of_its_weights(name: str, per: Any) -> None:
    """∂/∂log α of an input is the sum over outputs of that of each weight, on the same noise; and so on."""
    coarse, parameters = network(ThetaLogAlpha(0.4, per=per), EXAMPLES)
    fine, _ = network(ThetaLogAlpha(0.4, per="weight"), EXAMPLES)
    spread = {
        n: v.expand(parameters[n.replace("log_alpha", "theta")].shape).clone()
        if n.endswith("log_alpha")
        else v
        for n, v in parameters.items()
    }
    batch = gather(coarse, np.arange(BATCH))
    whole, each = (
        get(name)(problem, at, batch, stream(KEY, dtype=torch.float64))
        for problem, at in ((coarse, parameters), (fine, spread))
    )
    close("value", whole.value, each.value)
    for parameter, gradient in whole.gradients.items():
        want = each.gradients[parameter]
        if parameter.endswith("log_alpha"):
            kept = [i for i, size in enumerate(gradient.shape) if gradient.dim() == 2 and size > 1]
            want = want.sum([i for i in (0, 1) if i not in kept]).reshape(gradient.shape)
        close(parameter, gradient, want)


@pytest.mark.parametrize("family", SHARED)
def test_per_example_draws_one_number_an_example_and_input(family: str) -> None:
    at = place(family)
    asked = trace(get("per-example"), *at).requests
    assert [r.shape for r in asked] == [(BATCH, 1, layer.weight_shape[1]) for layer in at[0].layers]


@pytest.mark.parametrize("family", SHARED)
def test_type_a_is_separate_weight_samples_bit_by_bit(family: str) -> None:
    at = place(family)
    a, b = (get(name)(*at, stream(KEY, dtype=torch.float64)) for name in ("type-a", "per-example"))
    assert same(a, b)
    assert all(bool(v.any()) for v in a.gradients.values())


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in SHARED])
def test_type_a_needs_noise_that_outputs_share(family: str) -> None:
    at = place(family)
    valid = ["grouped", "naive", "per-example"]
    if family in OWN:
        valid = [*valid, "local", "flipout", "score"]
    for estimator in (get("type-a"), get("samples", of="type-a", samples=2)):
        with pytest.raises(CellError) as caught:
            estimator(*at, stream(KEY, dtype=torch.float64))
        text = str(caught.value)
        assert "estimator 'type-a' masks the inputs of a layer" in text
        why = "has no noise at all" if family == "point" else "a random number of its own for every"
        assert why in text
        assert set(valid) <= set(text.rsplit(": ", 1)[1].rstrip(".").split(", "))


@pytest.mark.parametrize("inner", ["naive", "per-example", "grouped"])
@pytest.mark.parametrize("name", ["latin-hypercube", "sobol"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_posterior_s_own_noise_is_coupled(family: str, name: str, inner: str) -> None:
    """Binary and shared noise too; where there is none, that is told."""
    at, estimator = place(family), get(name, of=inner, samples=4)
    if family == "point":
        with pytest.raises(CellError, match="has no noise at all, so that there is nothing to"):
            estimator(*at, stream(KEY, dtype=torch.float64))
        return
    assert {r.law for r in trace(estimator, *at).requests} == {"uniform"}
    found = estimator(*at, stream(KEY, dtype=torch.float64))
    assert all(bool(v.isfinite().all()) for v in found.gradients.values())


def test_without_noise_separate_samples_are_one_sample() -> None:
    """Bit by bit, so that no rounding looks like a bias."""
    at = place("point")
    found = [get(name)(*at, stream(KEY, dtype=torch.float64)) for name in ("naive", "per-example")]
    assert same(*found)


def test_a_draw_belongs_to_its_key() -> None:
    for family in FAMILIES:
        at = place(family)
        for name in ELBO:
            a, b, c = (
                get(name)(*at, stream(KEY / k, dtype=torch.float64)) for k in ("a", "a", "b")
            )
            assert same(a, b)
            assert same(a, c) == (family == "point")


def test_shared_noise_is_independent_only_between_examples() -> None:
    """The noise of one minibatch: naive has one number an input, per-example another for every example."""
    problem, parameters, batch = place("gaussian-dropout")
    twice = Batch(batch.inputs[2:3].repeat(2, 1), batch.targets[2:3].repeat(2))
    seen: dict[str, Tensor] = {}

    def outputs(estimator: Estimator) -> Tensor:
        def keep(values: Tensor, targets: Tensor) -> Tensor:
            seen["b"] = values.detach()
            return values.sum(1)

        made = replace(problem, likelihood=keep)
        estimator(made, parameters, twice, stream(KEY, dtype=torch.float64))
        return seen["b"]

    naive_b, own_b = outputs(get("naive")), outputs(get("per-example"))
    # a product may round the rows of one matrix each in another way
    torch.testing.assert_close(naive_b[0], naive_b[1], rtol=1e-12, atol=1e-12)
    assert not torch.isclose(own_b[0], own_b[1]).any()
