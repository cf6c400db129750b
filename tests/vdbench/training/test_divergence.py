"""The KL's gradient in closed form, against automatic differentiation; and steps against a twin of the textbook."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_training import KEY, classifier

from vdbench.estimation.options import get
from vdbench.noise import stream
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.priors import GaussianPrior
from vdbench.problems.problem import Problem
from vdbench.schedules import Recipe
from vdbench.training.divergence import closed, differentiated, divergence
from vdbench.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def normal(variance: float, weight: float = 1.0) -> Problem:
    made = classifier(MeanLogVariance()).to("cpu", torch.float64)
    return dataclasses.replace(made, prior=GaussianPrior(variance), kl_weight=weight)


@pytest.mark.parametrize("lowest", [-3.0, -200.0], ids=["ordinary", "underflown"])
@pytest.mark.parametrize(("variance", "weight"), [(1.0, 1.0), (0.3, 1.0), (0.3, 0.25), (4.0, 2.0)])
def test_closed_form(variance: float, weight: float, lowest: float) -> None:
    problem = normal(variance, weight)
    assert closed(problem)
    parameters = problem.initial(KEY)
    noise = stream(KEY / "closed", dtype=torch.float64)
    for name, value in parameters.items():
        if name.endswith("log_variance"):
            value.copy_(lowest + noise(name, value.shape).square())
    (value, slopes), (want, wanted) = (f(problem, parameters) for f in (divergence, differentiated))
    torch.testing.assert_close(value, want, rtol=1e-13, atol=0)
    torch.testing.assert_close(problem.kl(parameters), want, rtol=0, atol=0)
    for name, slope in wanted.items():
        found = slopes.get(name, torch.zeros_like(slope))
        torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-14)


def test_others_are_differentiated() -> None:
    assert not closed(classifier())  # a log-uniform prior
    assert not closed(dataclasses.replace(classifier(ThetaLogAlpha()), prior=GaussianPrior()))


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(warm_up=2), Recipe(noise_rate=3.0)], ids=repr)
@pytest.mark.parametrize("own", [True, False], ids=["gaussian", "log-uniform"])
def test_steps_are_those_of_the_textbook(recipe: Recipe, own: bool) -> None:
    """Twelve steps against Adam as torch has it by default, on (∇KL − ∇log p)/N by automatic differentiation."""
    problem = normal(0.3) if own else classifier(MeanLogVariance()).to("cpu", torch.float64)
    estimator = get("local")
    run = Trainer(problem, estimator, problem.initial(KEY), 8, 0.02, KEY, recipe=recipe)
    at = problem.initial(KEY)
    free = problem.free(at)
    scales = [n for n in free if problem.groups[n].role in ("scale", "alpha")]
    optimizer = torch.optim.Adam(
        [
            {"params": [v for n, v in free.items() if n not in scales], "lr": 0.02},
            {"params": [free[n] for n in scales], "lr": 0.02 * recipe.noise_rate},
        ],
        foreach=False,
    )
    for step in range(12):
        batch = run._minibatch()
        noise = stream(KEY / "step" / step, dtype=torch.float64)
        gradient = estimator(problem, at, batch, noise)
        weight = recipe.weight(run.epochs)
        _, slopes = differentiated(problem, at)
        for name, value in free.items():
            value.grad = (weight * slopes[name] - gradient.gradients[name]) / problem.examples
        optimizer.step()
        run.advance(1)
    for name, value in free.items():
        torch.testing.assert_close(run.parameters[name], value, rtol=1e-10, atol=1e-12)
