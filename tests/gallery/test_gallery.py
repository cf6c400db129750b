"""Ten models as their authors write them: every valid estimator's mean gradient beside a reference in plain torch.

Two forms that share their code. Here, the short one: on all models on the same noise, and with statistics on the four
smallest. The long one is ``make gallery`` (`tests/helpers/gallery_table.py`), whose table is docs/results/gallery.md.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from gallery_check import (
    OBJECTIVES,
    Place,
    compare,
    directions,
    limit,
    place,
    valid,
)
from gallery_reference import MODELS, VALUE, Gradients
from torch import Tensor

from estimators.measure_valued import MeasureValued
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.draws import trace
from vdbench.estimation.options import get, label
from vdbench.noise import Injected, Noise, Request
from vdbench.problems.layers import Layer, TransposedConvolution, WholeWeight

there = cache(place)
models = pytest.mark.parametrize("name", MODELS)

LARGEST = 20_000
"""Noisy weights of a model at reduced width."""

SMALLEST = ("last-layer", "lora", "heteroscedastic", "text")
PAIRS = 96
FALSE_ALARM = 0.001
"""Of all statistical comparisons of this file together: a quarter of it is spent on each model."""


@models
def test_a_reduced_model_has_the_layers_of_the_full_one(name: str) -> None:
    model = MODELS[name]
    home = importlib.import_module(f"gallery.{model.file}")
    small, full = (home.network(size, **model.options) for size in ("reduced", "full"))
    kinds = [[(n, type(m)) for n, m in net.named_modules()] for net in (small, full)]
    assert kinds[0] == kinds[1]
    shapes = [[(n, p.dim()) for n, p in net.named_parameters()] for net in (small, full)]
    assert shapes[0] == shapes[1]
    assert there(name).weights <= LARGEST


@models
def test_the_noisy_weights_are_those_that_were_meant(name: str) -> None:
    """And all else that is not frozen is a parameter without noise."""
    at = there(name)
    noisy = {n.removesuffix(".weight"): tuple(p.shape) for n, p in at.reference.noisy.items()}
    assert {layer.name: layer.weight_shape for layer in at.problem.layers} == noisy
    roles = ("mean", "log_variance")
    expected = {f"{n}.{r}" for n in noisy for r in roles}
    expected |= set(at.reference.free) - set(at.reference.noisy)
    assert set(at.problem.free(at.parameters)) == expected


# On the same noise: no statistics, and no bias that is too small


def shared(at: Place, noise: dict[Request, Tensor], sign: float = 1.0) -> Gradients:
    """One ε for all examples."""
    by = {r.path[-1]: v for r, v in noise.items()}
    return at.reference.at(
        {n: sign * by[n.removesuffix(".weight")][None] for n in at.reference.noisy}
    )


def none(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    return at.reference.at({n: torch.zeros_like(p)[None] for n, p in at.reference.noisy.items()})


def pair(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    up, down = shared(at, noise), shared(at, noise, -1.0)
    return {n: (g + down[n]) / 2 for n, g in up.items()}


def own(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    """An ε for every example."""
    found = {}
    for path in at.reference.noisy:
        rows = range(len(at.batch.inputs))
        by = {r.path: v for r, v in noise.items()}
        found[path] = torch.stack([by["example", m, path.removesuffix(".weight")] for m in rows])
    return at.reference.at_own(found)


def groups(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    """An ε for every group of consecutive examples, the first groups one larger where they are not equal."""
    by = {r.path: v for r, v in noise.items()}
    count = max(int(r.path[1]) for r in noise) + 1
    owner = torch.cat(
        [
            torch.full((len(part),), g)
            for g, part in enumerate(torch.tensor_split(at.batch.inputs, count))
        ]
    ).tolist()
    return at.reference.at_own(
        {
            path: torch.stack([by["group", g, path.removesuffix(".weight")] for g in owner])
            for path in at.reference.noisy
        }
    )


def flipped(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    """One ε whose entries have for every example the product of a sign of its input and one of its output feature."""
    by = {(r.path[0], r.path[-1]): v for r, v in noise.items()}
    found = {}
    for layer in at.problem.layers:
        base, s, t = (by[kind, layer.name] for kind in ("base", "input", "output"))
        if isinstance(layer, WholeWeight):  # one sign for all
            found[layer.name] = (base * t).expand(len(at.batch.inputs), *base.shape)
        else:
            found[layer.name] = base * signs(layer, s, True) * signs(layer, t, False)
    return at.reference.at_own({n: found[n.removesuffix(".weight")] for n in at.reference.noisy})


def signs(layer: Layer, drawn: Tensor, inputs: bool) -> Tensor:
    """Along the dimension of the weights that inputs or outputs have, (M, 1, features, 1, …)."""
    along = 1 if inputs == isinstance(layer, TransposedConvolution) else 2
    shape = [len(drawn)] + [1] * len(layer.weight_shape)
    shape[along] = layer.weight_shape[along - 1]
    return drawn.reshape(shape)


TWINS: dict[str, Callable[[Place, dict[Request, Tensor]], Gradients]] = {
    "naive": shared,
    "antithetic": pair,
    "deterministic": none,
    "grouped": groups,
    "per-example": own,
    "flipout": flipped,
}


@models
@pytest.mark.parametrize("which", TWINS)
def test_equal_to_the_reference_on_the_same_noise(name: str, which: str) -> None:
    """To 1e-9 of the largest entry of the same parameter; the largest of all where that is 0 but for rounding."""
    at, estimator = there(name), get(which)
    where = (at.problem, at.parameters, at.batch)
    generator = torch.Generator().manual_seed(3)
    noise = {}
    for r in trace(estimator, *where).requests:
        drawn = torch.randn(r.shape, generator=generator, dtype=torch.float64)
        noise[r] = torch.where(drawn < 0, -1.0, 1.0) if r.law == "sign" else drawn
    got = estimator(*where, Noise(Injected(noise)))
    want = {n: g[0] for n, g in TWINS[which](at, noise).items()}
    found = {VALUE: got.value, **got.gradients}
    assert set(found) == set(want)
    largest = max(float(g.abs().max()) for g in want.values())
    wrong = []
    for n, g in want.items():
        gap, size = float((found[n] - g).abs().max()), float(g.abs().max())
        if not gap <= 1e-9 * size + 1e-13 * largest:
            wrong.append(f"{n}: differs by {gap:.3g}, largest entry {size:.3g}")
    assert not wrong, f"{name}, {which}:\n" + "\n".join(wrong)


# With statistics


def pairs_of(estimator: Estimator) -> int:
    return PAIRS // 4 if isinstance(estimator, MeasureValued) else PAIRS


@pytest.mark.parametrize("name", SMALLEST)
def test_mean_gradients_are_the_reference_s(name: str) -> None:
    """Two-sided, with the errors of both sides; family-wise false-alarm rate 0.001 over the four models.

    The smallest relative bias that is found with probability 0.95 must be 0.05 at most in the means of the weights for
    estimators that differentiate along their noise. That in the scales, and of score functions, is the long form's.
    """
    at = there(name)
    estimators, without = valid(at)
    assert {label(e) for e in estimators} >= {"naive", "local", "flipout", "score"}, without
    along = directions(at.pilot(256), seed=5)
    truths = {of: at.truth(along, 4 * PAIRS, of) for of in OBJECTIVES}
    found = [
        compare(at, along, truths[objective(e, at.problem)], e, pairs_of(e)) for e in estimators
    ]
    highest = limit(len(along.names) * len(found), FALSE_ALARM / len(SMALLEST))
    wrong = [line for f in found for line in f.wrong(highest)]
    assert not wrong, f"limit {highest:.2f}:\n" + "\n".join(wrong)
    weak = {
        f.estimator: f.detectable("mean", highest)
        for f, e in zip(found, estimators, strict=True)
        if e.pathwise and not f.detectable("mean", highest) <= 0.05
    }
    assert not weak


def test_the_objective_of_local_noise_is_told_from_the_elbo() -> None:
    """A comparison that must fail: what is called another objective is found to be one."""
    at = there("lenet")
    along = directions(at.pilot(256), seed=5)
    found = compare(at, along, at.truth(along, 4 * PAIRS), get("local"), PAIRS)
    assert math.isfinite(limit(len(along.names), FALSE_ALARM))
    assert found.wrong(limit(len(along.names), FALSE_ALARM))
