"""What a recipe changes in a step of training: the weight of the KL, and the learning rate."""

from __future__ import annotations

import pytest
import torch
from small_training import KEY, classifier
from torch import Tensor

from vdbench.estimation.options import get
from vdbench.schedules import Recipe, Step
from vdbench.training.trainer import Trainer

RATE = 0.02

pytestmark = pytest.mark.usefixtures("one_thread")


def whole_batch(recipe: Recipe) -> Trainer:
    """A training without noise on whole minibatches in float64: its gradient is known."""
    problem = classifier().to("cpu", torch.float64)
    start = problem.initial(KEY)
    return Trainer(problem, get("deterministic"), start, problem.examples, RATE, KEY, recipe=recipe)


def slopes(run: Trainer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients at a training's parameters of the KL and of the log-likelihood of all examples."""
    problem = run.problem
    free = problem.free(run.parameters)
    leaves = {name: value.detach().requires_grad_() for name, value in free.items()}
    at = {**run.parameters, **leaves}
    values = (problem.kl(at), mean_log_likelihood(run, at))
    found = []
    for value in values:
        each = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        found.append(
            {
                n: torch.zeros_like(v) if g is None else g
                for (n, v), g in zip(leaves.items(), each, strict=True)
            }
        )
    return found[0], found[1]


def mean_log_likelihood(run: Trainer, at: dict[str, Tensor]) -> Tensor:
    """Σ log p(y | x, μ), of a network of two dense layers with a rectifier between them."""
    x, y = run.problem.data.train
    first, second = run.problem.layers
    hidden = _dense(run, first.name, x.double(), at).relu()
    return -torch.nn.functional.cross_entropy(
        _dense(run, second.name, hidden, at), y, reduction="sum"
    )


def _dense(run: Trainer, name: str, x: Tensor, at: dict[str, Tensor]) -> Tensor:
    layer = next(layer for layer in run.problem.layers if layer.name == name)
    return x @ run.problem.posterior(layer, at).mean.T + at[f"{name}.bias"]


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_a_step_follows_the_weighted_kl_minus_the_likelihood_per_example(weight: float) -> None:
    """Adam's first moment after one step is (1 − β₁) times the gradient, β₁ = 0.9."""
    run = whole_batch(Recipe(kl_weight=weight))
    kl, likelihood = slopes(run)
    run.advance(1)
    for name, leaf in run._leaves.items():
        expected = 0.1 * (weight * kl[name] - likelihood[name]) / run.problem.examples
        found = run._optimizer.state[leaf]["exp_avg"]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=name)
    assert any(value.abs().max() > 0 for value in kl.values())


def test_the_weight_of_the_kl_rises_over_its_warm_up() -> None:
    """At epoch 1 of 4 the KL counts a quarter: Adam's first moment goes on from that of epoch 0, where it counts 0."""
    run = whole_batch(Recipe(warm_up=4))
    run.advance(1)
    before = {name: run._optimizer.state[leaf]["exp_avg"].clone() for name, leaf in run._leaves.items()}  # fmt: skip
    kl, likelihood = slopes(run)
    run.advance(1)
    for name, leaf in run._leaves.items():
        gradient = (0.25 * kl[name] - likelihood[name]) / run.problem.examples
        found = run._optimizer.state[leaf]["exp_avg"]
        torch.testing.assert_close(
            found, 0.9 * before[name] + 0.1 * gradient, rtol=1e-9, atol=1e-12, msg=name
        )


def test_the_first_step_has_the_length_of_the_learning_rate() -> None:
    """Adam moves every coordinate by its learning rate, those of the noise by ``noise_rate`` times it."""
    recipe = Recipe(epochs=4, schedule=Step(every=1, by=0.5), noise_rate=3.0)
    run = whole_batch(recipe)
    kl, likelihood = slopes(run)
    before = {name: value.clone() for name, value in run.parameters.items()}
    run.advance(1)
    for name in run._leaves:
        moving = (kl[name] - likelihood[name]).abs() > 1e-3
        role = run.problem.groups[name].role
        length = RATE * (3.0 if role == "scale" else 1.0)
        moved = (run.parameters[name] - before[name]).abs()[moving]
        torch.testing.assert_close(moved, torch.full_like(moved, length), rtol=1e-3, atol=0)
    run.advance(1)
    rates = {group["lr"] for group in run._optimizer.param_groups}
    assert rates == {RATE * 0.5, RATE * 0.5 * 3.0}
