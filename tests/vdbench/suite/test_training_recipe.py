"""Recipes in the one training loop: schedules, KL weight, warm-up, bounds of α and the rate of the noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_training import classifier, equal, trainer
from torch import Tensor

from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.log_alpha import log_alpha
from vdbench.problems.parameterization import Parameterization
from vdbench.schedules import Cosine, Linear, Recipe, Step

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_default_recipe_changes_nothing() -> None:
    one, other = trainer(), trainer(Recipe(epochs=3, kl_weight=1.0, log_alpha=(-1e3, 1e3)))
    one.advance(6)
    other.advance(6)
    assert equal(one.parameters, other.parameters)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), Step(1, 0.5)])
def test_the_learning_rate_follows_its_schedule(schedule: Any) -> None:
    """Adam's first step moves every parameter by the rate; each later one is taken at the rate of its step."""
    run = trainer(Recipe(epochs=2, schedule=schedule))
    rates = []
    for step in range(10):
        run.advance(1)
        rates.append(run._optimizer.param_groups[0]["lr"])
        assert rates[-1] == pytest.approx(0.02 * schedule.factor(step / 5, 2))
    assert rates[0] == 0.02
    assert rates[-1] < 0.011


def test_a_rate_of_zero_moves_nothing() -> None:
    run = trainer(Recipe(epochs=1, schedule=Linear()))
    run.advance(5)
    before = {n: v.clone() for n, v in run.parameters.items()}
    run.advance(1)  # beyond the last epoch
    assert equal(run.parameters, before)


def test_a_kl_weight_of_zero_is_maximum_likelihood() -> None:
    """Equal to the bit to a training whose problem has no KL at all."""

    class Nothing:
        def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
            return 0 * (mean.sum() + variance.sum())

    free = trainer(Recipe(kl_weight=0.0))
    problem = classifier()
    object.__setattr__(problem, "prior", Nothing())
    without = trainer(problem=problem)
    weighed = trainer()
    for run in (free, without, weighed):
        run.advance(10)
    assert equal(free.parameters, without.parameters)
    assert not equal(free.parameters, weighed.parameters)


def test_a_kl_weight_multiplies_the_kl_s_gradient() -> None:
    """∇(w·KL − L) − ∇(−L) = w·∇KL at the first step, where all share parameters, minibatch and noise."""
    slopes = {}
    for weight in (0.0, 0.25, 1.0):
        run = trainer(Recipe(kl_weight=weight))
        run.advance(1)
        slopes[weight] = {n: leaf.grad.clone() for n, leaf in run._leaves.items()}  # type: ignore[union-attr]
    for name, plain in slopes[0.0].items():
        whole, part = slopes[1.0][name] - plain, slopes[0.25][name] - plain
        assert torch.allclose(part, 0.25 * whole, atol=1e-6)
    assert any((slopes[1.0][n] != slopes[0.0][n]).any() for n in slopes[0.0])


def test_warm_up_begins_without_the_kl_and_ends_with_it() -> None:
    warm, free, whole = trainer(Recipe(warm_up=2)), trainer(Recipe(kl_weight=0.0)), trainer()
    for run in (warm, free, whole):
        run.advance(1)
    assert equal(warm.parameters, free.parameters)
    assert not equal(warm.parameters, whole.parameters)
    assert warm.recipe.weight(warm.epochs) == pytest.approx(0.1)
    warm.advance(9)
    assert warm.recipe.weight(warm.epochs) == 1


@pytest.mark.parametrize("form", [MeanLogVariance(0.5), ThetaLogAlpha(0.9)])
def test_log_alpha_stays_in_bounds_at_every_step(form: Parameterization) -> None:
    free = trainer(form=form, rate=0.1)
    run = trainer(Recipe(log_alpha=(-1.0, 0.0)), form=form, rate=0.1)
    out = 0
    for _ in range(15):
        free.advance(1)
        run.advance(1)
        for layer in run.problem.layers:
            inside = log_alpha(run.problem, layer, run.parameters)
            assert bool(((inside > -1.00001) & (inside < 1e-5)).all())
            loose = log_alpha(free.problem, layer, free.parameters)
            out += int(((loose < -1.1) | (loose > 0.1)).sum())
    assert out, "the bounds were never needed"


def test_noise_rate_multiplies_the_learning_rate_of_the_noise_alone() -> None:
    """Adam's first step is the learning rate in size, wherever the gradient is not tiny."""
    start = trainer().parameters
    run = trainer(Recipe(noise_rate=4.0))
    run.advance(1)
    moved = {
        n: float((v - start[n]).abs().max()) / run.learning_rate for n, v in run.parameters.items()
    }
    for name, step in moved.items():
        scale = name.endswith(("log_variance", "log_alpha"))
        assert step == pytest.approx(4.0 if scale else 1.0, rel=1e-3), (name, moved)
