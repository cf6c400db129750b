"""Draws that problems take, predicted from a textbook score function: it is unbiased, it predicts, it chooses."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from vdbench.certificate import check
from vdbench.certificate.planning import needed_of
from vdbench.certificate.reference_problems import stage
from vdbench.certificate.run import WORK
from vdbench.certificate.sampling import Subject
from vdbench.certificate.stages import build, predicted, recipes
from vdbench.certificate.stages.build import drawn
from vdbench.estimation import draws
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import get
from vdbench.noise import Key
from vdbench.problems.problem import Batch

pytestmark = pytest.mark.usefixtures("one_thread")

DRAWS = 16384


def subject(estimator: Estimator, seed: int = 0) -> Subject:
    """A subject at level small, without drawn problems."""
    return Subject(estimator, Key(("check", seed)), "cpu", *WORK["small"])


@pytest.mark.parametrize(
    ("estimator", "name"),
    [(predicted.OfMasks(), "masks"), (predicted.OfWeights(), "dense")],
    ids=["masks", "weights"],
)
def test_the_textbook_score_function_is_unbiased(estimator: Estimator, name: str) -> None:
    """A family-wise rate of 1e-4 over all coordinates, with a limit twice as wide for the tails."""
    at = stage(name)
    truth, rows = at.truth("elbo"), subject(estimator).on(at).many(Key(("textbook", 1)), DRAWS)
    assert truth is not None
    limit = 2 * -float(ndtri(1e-4 / sum(g.numel() for g in truth.values()) / 2))
    for parameter, g in truth.items():
        error = rows[parameter].std(0) / DRAWS**0.5
        z = np.abs(rows[parameter].mean(0) - g.flatten().numpy()) / error
        assert z.max() < limit, f"{parameter}: {z.max():.1f} standard errors off"


def test_two_samples_of_masks_are_those_of_rloo() -> None:
    """The same masks, costs and scores: equal gradients at equal noise."""
    at = stage("masks")
    requests = draws.trace(get("rloo"), at.problem, at.parameters, at.batch, ()).requests
    generator = torch.Generator().manual_seed(3)
    noise = {r: torch.rand(8, *r.shape, generator=generator).double() for r in requests}
    batches = Batch(*(t.expand(8, *t.shape) for t in at.batch))
    one, other = (
        draws.vectorised(estimator, at.problem, at.parameters, batches, noise).gradients
        for estimator in (predicted.OfMasks(), get("rloo"))
    )
    for name, value in other.items():
        torch.testing.assert_close(one[name], value)


def test_a_prediction_is_what_many_draws_need() -> None:
    """Of rloo with two samples, whose noise it is: within a factor of two, where problems differ by thousands."""
    at = stage("masks")
    truth = at.truth("elbo")
    assert truth is not None
    exact = {name: g.flatten().numpy() for name, g in truth.items()}
    rows = subject(get("rloo")).on(at).many(Key(("many", 1)), DRAWS)
    ratio = predicted.of_scores(at, Key(("predicted", 1))) / needed_of(at, rows, exact)
    assert 0.5 < ratio < 2, ratio


def test_noise_is_not_judged_by_the_draws_that_choose_the_direction() -> None:
    """Hundreds of coordinates, 256 draws: along a direction fitted to them their spread is a fraction of what it is."""
    at = drawn("learned-binary", Key(("check", 0)))["drawn wide"]
    truth = at.truth("elbo")
    assert truth is not None
    exact = {name: g.flatten().numpy() for name, g in truth.items()}
    made = subject(predicted.OfMasks()).on(at)
    few, many = (made.many(Key(("wide", n)), n) for n in (256, 1024))
    assert needed_of(at, few, exact) > 0.7 * needed_of(at, many, exact)


@pytest.mark.parametrize("seed", range(2))
def test_problems_of_masks_take_fewer_draws_than_the_first_that_come(seed: int) -> None:
    """Judged by draws that had no part in the choice; no more than a check of level small has."""
    key = Key(("check", seed))
    at = drawn("learned-binary", key)["drawn deep"]
    form = at.problem.parameterization
    here = key / "drawn" / 0 / "deep" / "of_masks"
    first = build.made(
        "first", recipes.seeded_modules(
            lambda: recipes.deep(random.Random((here / 0).seed()), lambda: form), (here / 0).seed()
        ), here / 0,
    )  # fmt: skip
    one, other = (predicted.of_scores(x, Key(("judged", seed))) for x in (at, first))
    assert one < WORK["small"][0] / 2
    assert one < other / 1.5, (one, other)


def test_who_makes_much_noise() -> None:
    """Score functions, and what is large at times; not what goes along a path, nor what passes each weight."""
    loud = {"score": {"samples": 4, "baseline": "leave-one-out"}, "forward-gradient": {}}
    assert all(
        predicted.noisy(subject(get(n, **o), seed)) for n, o in loud.items() for seed in (0, 1)
    )  # type: ignore[arg-type]
    quiet = ("naive", "local", "price-hessian", "measure-valued", "deterministic", "rloo", "spsa")
    assert not [n for n in quiet if predicted.noisy(subject(get(n)))]


def test_an_estimator_that_breaks_is_not_called_noisy() -> None:
    """Its checks say what it raises."""

    class Breaks(predicted.OfWeights):
        def __call__(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise ValueError("no gradient today")

    assert not predicted.noisy(subject(Breaks()))


@pytest.mark.parametrize("name", ["disarm", pytest.param("rloo", marks=pytest.mark.long)])
def test_a_right_estimator_of_masks_passes(name: str) -> None:
    found = check(get(name), seed=1)
    assert found.verdict == "PASSED", found.summary()
