"""Mixtures per layer: exact means, equality with their parts, objectives on convolutions, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import convolution_twins
import families
import numpy as np
import pytest
import torch
from oracles import HalfSquare, network
from torch import nn

from vdbench.errors import CellError, InputError
from vdbench.estimation.base import objective
from vdbench.estimation.draws import gather, trace
from vdbench.estimation.options import get, label, options
from vdbench.noise import Key, stream
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.priors import NoPrior
from vdbench.recommendation.candidates import field_of

FORM = MeanLogVariance(sigma=0.3)

MIXTURES: list[dict[str, Any]] = [
    {"0": "local", "2": "flipout"},
    {"0": "flipout", "2": "local"},
    {"0": "flipout", "2": "naive"},
    {"0": {"name": "grouped", "options": {"groups": 2}}, "default": "local"},
]


@pytest.mark.parametrize("parts", MIXTURES, ids=lambda p: label(get("per-layer", **p)))
def test_the_mean_is_that_of_one_weight_sample(parts: dict[str, Any]) -> None:
    """By quadrature over the noise of a linear network of two layers, which has no error: gradients are polynomials.

    Means of naive sampling, whose gradients are exact by themselves (test_linear_gaussian.py), are the reference.
    """
    sizes = ((1, 2), (2, 1))
    at = families.problem(FORM, sizes, 2, likelihood=HalfSquare(), activation=nn.Identity)
    want = families.moments(get("naive"), at, 4)
    found = families.moments(get("per-layer", **parts), at, 4)
    for name, (mean, _) in want.items():
        size = float(mean.abs().max())
        gap = float((found[name][0] - mean).abs().max())
        assert gap <= 1e-10 * (1 + size), f"mean of {name} differs by {gap:.3g}, largest {size:.3g}"


@pytest.mark.parametrize("name", ["naive", "local", "flipout", "grouped"])
@pytest.mark.parametrize("spelt", ["default", "each"])
def test_of_one_part_it_is_that_part(name: str, spelt: str) -> None:
    problem, parameters = network(FORM)
    batch = gather(problem, np.arange(5))
    parts = {"default": name} if spelt == "default" else {x.name: name for x in problem.layers}
    noise = stream(Key(("mixture",)), dtype=torch.float64)
    mixed = get("per-layer", **parts)(problem, parameters, batch, noise)
    alone = get(name)(problem, parameters, batch, stream(Key(("mixture",)), dtype=torch.float64))
    for parameter, gradient in alone.gradients.items():
        assert torch.equal(mixed.gradients[parameter], gradient), parameter


def test_options_labels_and_declarations() -> None:
    mixed = get("per-layer", fc2="flipout", fc1={"name": "grouped", "options": {"groups": 2}})
    assert label(mixed) == "per-layer(default=naive, fc1=grouped(groups=2), fc2=flipout)"
    assert get("per-layer", **options(mixed)) == mixed
    assert hash(get("per-layer", **options(mixed))) == hash(mixed)
    declared = mixed.declaration
    assert set(declared.laws) == {"posterior", "normal", "sign"}
    assert declared.posteriors == "sign-symmetric"
    both = get("per-layer", fc2="flipout", fc1="local").declaration
    assert both.posteriors == "independent-normal"  # of both kinds
    assert not declared.independent_examples
    local = get("per-layer", default="local", a="local").declaration
    assert local.independent_examples
    assert local.objective_on_convolution == "elbo-local-noise"
    assert get("per-layer", a="type-a").declaration.posteriors == "row-shared"


@pytest.mark.parametrize(
    ("parts", "want"),
    [
        ({"default": "flipout", "5": "local"}, "elbo"),
        ({"default": "local"}, "elbo-local-noise"),
        ({"default": "local", "5": "naive"}, "elbo-local-noise"),
        ({"default": "local", "0": "flipout"}, "elbo-local-noise(2)"),
    ],
)
def test_the_objective_on_convolutions(parts: dict[str, Any], want: str) -> None:
    """Layers 0 and 2 are convolutions, 5 is dense; a wrapper has the objective of what it wraps."""
    problem, _ = convolution_twins.network(FORM)
    mixed = get("per-layer", **parts)
    assert objective(mixed, problem) == want
    assert objective(get("antithetic", of=mixed), problem) == want


def test_recommend_tries_local_where_it_keeps_the_objective() -> None:
    convolutions, _ = convolution_twins.network(FORM)
    dense, _ = network(FORM)
    names = [
        {c.label for c in field_of(p, get("naive"), [4], [1]).candidates}
        for p in (convolutions, dense)
    ]
    assert "per-layer(5=local, default=flipout)" in names[0]
    assert not [name for name in names[1] if name.startswith("per-layer")]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"fc1": "score"},
            "per-layer: layer 'fc1': estimator 'score' does not sample one layer's pre-activations in a pass that it "
            "shares with others; expected a pathwise one, such as naive, local, flipout, grouped or type-a.",
        ),
        ({"fc1": "per-example"}, "layer 'fc1': estimator 'per-example' does not sample one layer's"),
        ({"fc1": "antithetic"}, "layer 'fc1': estimator 'antithetic' does not sample one layer's"),
        ({"fc1": "rloo"}, "layer 'fc1': estimator 'rloo' does not sample one layer's"),
        ({"fc1": "per-layer"}, "layer 'fc1': estimator 'per-layer' is a mixture itself"),
        (
            {"default": "deterministic"},
            "per-layer: default: estimator 'deterministic' estimates the gradient of mean-weights, and a mixture",
        ),
        ({"a": "fast-dropout"}, "layer 'a': estimator 'fast-dropout' estimates the gradient of elbo-gaussian-"),
        (
            {"a": "local", "b": "type-a"},
            "per-layer: 'local' at layer 'a' is for normal-preactivations posteriors and 'type-a' at layer 'b' for "
            "row-shared ones, and no posterior is both",
        ),
        ({"fc1": "locla"}, "estimator 'per-layer', option fc1: estimator 'locla' is unknown. Did you mean 'local'?"),
        ({"fc1": 3}, "estimator 'per-layer', option fc1: expected an estimator's name, or a mapping"),
    ],
)  # fmt: skip
def test_parts_that_do_not_mix_are_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        get("per-layer", **parts)


def test_a_layer_that_is_not_there_is_refused() -> None:
    problem, parameters = network(FORM)
    batch = gather(problem, np.arange(5))
    message = (
        "estimator 'per-layer' names layer 'fc1', and problem 'module' has no noisy layer of that name. Expected one "
        "of: 0, 2, 4."
    )
    for estimator in (
        get("per-layer", fc1="local"),
        get("antithetic", of=get("per-layer", fc1="local")),
    ):
        with pytest.raises(CellError, match=re.escape(message)):
            estimator(problem, parameters, batch, stream(Key(), dtype=torch.float64))


def test_a_posterior_that_a_part_is_not_valid_for_is_refused() -> None:
    problem, parameters = network(
        ThetaLogAlpha(0.4, per="layer", sharing="inputs"), prior=NoPrior()
    )
    batch = gather(problem, np.arange(5))
    with pytest.raises(
        CellError,
        match="estimator 'per-layer' is derived for weights whose pre-activations are normal",
    ):
        get("per-layer", **{"0": "local"})(
            problem, parameters, batch, stream(Key(), dtype=torch.float64)
        )


def test_a_default_that_no_layer_uses_changes_nothing() -> None:
    """Its noise is declared and not asked for, which is no fault of a mixture."""
    problem, parameters = network(MeanLogVariance())
    batch = gather(problem, np.arange(5))
    names = {layer.name: "local" for layer in problem.layers}
    mixed, local = get("per-layer", default="flipout", **names), get("local")
    for estimator, other in (
        (mixed, local),
        (get("antithetic", of=mixed), get("antithetic", of=local)),
    ):
        assert trace(estimator, problem, parameters, batch).requests
        noise = stream(Key(), dtype=torch.float64)
        found, want = (e(problem, parameters, batch, noise) for e in (estimator, other))
        for name, gradient in want.gradients.items():
            assert torch.equal(found.gradients[name], gradient), name
