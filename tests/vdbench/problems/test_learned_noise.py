"""Noise of a regression that is learned, in the form that the how-to gives: a parameter as the second output."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from vdbench.datasets.conversion import as_dataset
from vdbench.estimation.draws import gradients, trace
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.likelihoods import GaussianNoise, Heteroscedastic, choose
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Problem
from vdbench.training.evaluation import fixed, mean_weights
from vdbench.training.trainer import Trainer

KEY = Key(("tests", "learned noise"))
N, SIGMA = 200, 0.3


class LearnedNoise(nn.Module):
    """A regression network, and one variance of the noise for all examples."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.log_variance = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.network(x)
        return torch.cat([mean, self.log_variance.expand_as(mean)], 1)


def problem(sigma: float = 0.1) -> Problem:
    noise = stream(KEY, dtype=torch.float64)
    x = noise("x", (N, 2))
    y = x @ torch.tensor([[1.0], [-0.5]], dtype=torch.float64) + SIGMA * noise("y", (N, 1))
    data = as_dataset((x, y)).dataset
    torch.manual_seed(0)
    network = LearnedNoise(nn.Linear(2, 1)).double()
    likelihood, _ = choose("heteroscedastic", data, (2, 2))
    return noisy(network, data, likelihood=likelihood, parameterization=MeanLogVariance(sigma))


def test_a_variance_of_one_is_regression_with_known_noise() -> None:
    made = problem()
    batch = Batch(*made.data.train)
    sampler = fixed(mean_weights(made, made.start))
    outputs = made.outputs(sampler, batch.inputs, made.start)
    assert outputs.shape == (N, 2)
    known = GaussianNoise(1.0)(outputs[:, :1], batch.targets)
    torch.testing.assert_close(made.log_likelihood(sampler, batch, made.start), known)
    assert made.likelihood == Heteroscedastic()


@pytest.mark.parametrize("name", ["naive", "local", "per-example"])
def test_its_gradient_has_the_mean_of_the_closed_form(name: str) -> None:
    """E ∂/∂s Σ log p = −½ Σ (1 − E[(y − m)²] e^(−s)), with the variance Σ x² σ² of the output added to each square.

    The standard error is that of the 400 draws; at 5 of them a right estimator fails with probability 10⁻⁶.
    """
    made = problem(0.5)
    batch = Batch(*(t[:20] for t in made.data.train))
    mean = made.outputs(fixed(mean_weights(made, made.start)), batch.inputs, made.start)[:, :1]
    q: Posterior = made.posterior(made.layers[0], made.start)
    square = (batch.targets - mean).square() + batch.inputs.square() @ q.variance.T
    exact = -0.5 * float((1 - square).sum()) * made.scale(batch)
    estimator, count = get(name), 400
    traced = trace(estimator, made, made.start, batch)
    many = Batch(*(t.expand(count, *t.shape) for t in batch))
    keys = [KEY / name / k for k in range(count)]
    found = gradients(estimator, made, made.start, many, keys, traced).gradients["log_variance"]
    error = float(found.std() / math.sqrt(count))
    assert float(found.mean()) == pytest.approx(exact, abs=5 * error)
    assert error < 0.1 * abs(exact)


def test_training_finds_the_noise() -> None:
    """With hardly any weight noise and no KL to speak of, e^s is the mean squared residual."""
    made = problem(1e-3)
    trainer = Trainer(made, get("local"), made.start, N, 0.02, KEY)
    trainer.advance(400)
    parameters = trainer.parameters
    outputs = made.outputs(
        fixed(mean_weights(made, parameters)), made.data.train.inputs, parameters
    )
    residual = float((outputs[:, :1] - made.data.train.targets).square().mean())
    assert float(parameters["log_variance"]) == pytest.approx(math.log(residual), abs=0.05)
    assert math.exp(0.5 * float(parameters["log_variance"])) == pytest.approx(
        SIGMA, rel=0.25
    )  # 5 of 1/√(2N)
