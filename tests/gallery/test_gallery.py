"""Ten models as their authors write them: every valid estimator's mean gradient beside a reference in plain torch.

Two forms that share their code. Here, the short one: on all models on the same noise, and with statistics on the four
smallest. The long one is ``make gallery`` (`tests/helpers/gallery_table.py`), whose table is docs/results/gallery.md.
"""

from __future__ import annotations

import importlib
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from gallery_check import (
    OBJECTIVES,
    compare,
    directions,
    limit,
    place,
    valid,
)
from gallery_reference import MODELS
from gallery_table import AGREES, BLIND, DIFFERS, page
from gallery_twins import TWINS, gaps

from estimators.measure_valued import MeasureValued
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.options import get, label
from vdbench.estimation.registry import names
from vdbench.measures.registry import load
from vdbench.noise import Key, stream

there = cache(place)
F64 = torch.float64
ROOT = Path(__file__).parents[2]
models = pytest.mark.parametrize(
    "name",
    # seconds a test
    [pytest.param(name, marks=pytest.mark.long if name == "resnet" else ()) for name in MODELS],
)

LARGEST = 20_000
"""Noisy weights of a model at reduced width."""

SMALLEST = ("last-layer", "lora", "heteroscedastic", "text")
PAIRS = 96
FALSE_ALARM = 0.001
"""Of all statistical comparisons of this file together: a quarter of it is spent on each model."""


@models
def test_a_reduced_model_has_the_layers_of_the_full_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODELS[name]
    home = importlib.import_module(f"gallery.{model.file}")
    with monkeypatch.context() as patched:
        if hasattr(home, "settle"):  # seconds of passes over images, which change no layer
            patched.setattr(home, "settle", lambda net, images: net)
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


@models
@pytest.mark.parametrize("which", TWINS)
def test_equal_to_the_reference_on_the_same_noise(name: str, which: str) -> None:
    """To 1e-9 of the largest entry of the same parameter; the largest of all where that is 0 but for rounding."""
    wrong = gaps(there(name), which)
    assert not wrong, f"{name}, {which}:\n" + "\n".join(wrong)


def test_sequence_first_has_the_draws_of_batch_first() -> None:
    """The same model written in two ways: all estimators, on the same addresses of noise."""
    one, other = there("transformer"), there("transformer-sequence-first")
    estimators, without = valid(one)
    assert [label(e) for e in estimators] == [label(e) for e in valid(other)[0]]
    assert without == valid(other)[1]
    for estimator in estimators:
        assert objective(estimator, one.problem) == objective(estimator, other.problem)
        if isinstance(estimator, MeasureValued):  # thousands of forward passes
            continue
        drawn = [
            estimator(
                at.problem,
                at.parameters,
                at.batch,
                stream(Key(("draw",)), dtype=F64),
                estimator.fit(at.problem, at.parameters, Key(("fit",))),
            )
            for at in (one, other)
        ]
        for n, g in drawn[0].gradients.items():
            gap = float((drawn[1].gradients[n] - g).abs().max())
            assert gap <= 1e-9 * float(g.abs().max()) + 1e-9, f"{label(estimator)}, {n}: {gap:.3g}"


# With statistics


def pairs_of(estimator: Estimator) -> int:
    return PAIRS // 4 if isinstance(estimator, MeasureValued) else PAIRS


@pytest.mark.long
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


def test_the_suite_has_every_model_at_full_width() -> None:
    """Read as `vdbench run` reads it. It is not run here: ResNet-18 takes minutes."""
    suite = load(ROOT / "docs" / "gallery" / "gallery.yaml")
    assert [spec.name for spec in suite.problems] == list(MODELS)
    for spec in suite.problems:
        model = MODELS[spec.name]
        assert spec.factory == f"gallery.{model.file}:problem"
        assert spec.options == model.options
        assert callable(importlib.import_module(f"gallery.{model.file}").problem)


# The page


def made_up() -> dict[str, Any]:
    """What was found on one model: of three estimators one differs, and one has no power in the scales."""
    row = {"objective": "elbo", "pairs": 64, "mean": 0.1, "log_variance": 0.2, "other": math.nan,
           "largest": 2.0, "wrong": [], "seconds": 1.0}  # fmt: skip
    rows = [
        row | {"estimator": "naive"},
        row | {"estimator": "score", "log_variance": 3.0},
        row | {"estimator": "samples(naive)", "wrong": ["a line"]},
    ]
    found = {"weights": 480, "whole": {}, "examples": 6, "projections": 100, "rows": rows}
    return {
        "reduced": found | {"without": {"arm": "made for another posterior"}},
        "full": {"weights": 18176, "differences": {"naive": 1e-15}},
    }


def test_every_registered_estimator_is_compared_or_named_with_a_reason() -> None:
    made = page({"mlp": made_up()})
    (line,) = [x for x in made.splitlines() if x.startswith("Not compared: ")]
    rows = {x.split(" | ")[0].removeprefix("| ").partition("(")[0] for x in made.splitlines()}
    said = set(re.findall(r"[a-z][a-z0-9-]*", line))
    assert {name for name in names() if name not in rows and name not in said} == set()
    assert "arm: made for another posterior" in line
    assert f"Of {len(names())} registered estimators, the mean gradients of 3 are compared" in made


def test_the_page_counts_what_it_has() -> None:
    made = page(
        {"mlp": made_up(), "transformer": made_up(), "transformer-sequence-first": made_up()}
    )
    assert "2 networks, written as their authors write them" in made
    assert "3 models" in made
    assert made.count("\n## ") == 3
    assert made.count(f"| {AGREES} |") == 3
    assert made.count(f"| {BLIND}: scales |") == 3
    assert made.count(f"| {DIFFERS} |") == 3
    assert (
        "Of 9 comparisons of an estimator on a model, 3 differ and 6 do not. Of these, 3 agree"
        in made
    )
    assert "naive differs from the reference" in made
    rest = ", ".join(name for name in TWINS if name != "naive")
    assert made.count(f"Not compared in this way: {rest}.") == 3
