"""Where dropout, weight noise and fast dropout are the same, and where that ends.

Pre-activations of one layer are affine in standard normal noise, so their mean and covariance are exact sums over the
images of unit vectors: no test here but the last two has any randomness.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from families import problem
from torch import Tensor

from vdbench.estimation.draws import gradients, trace
from vdbench.estimation.options import get
from vdbench.noise import Injected, Key, Noise, Request, stream
from vdbench.problems.dropout import BinaryDropout
from vdbench.problems.gaussian import ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.problem import Batch

ALPHA, INPUTS, OUTPUTS = 0.4, 4, 3
OWN = ThetaLogAlpha(ALPHA, learned=False)
SHARED = ThetaLogAlpha(ALPHA, learned=False, sharing="inputs")
EACH = ThetaLogAlpha(ALPHA, per="input", sharing="inputs")


class Seen:
    """A likelihood that keeps the outputs it was given."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.outputs = outputs.detach()
        return outputs.sum(1)


@dataclass(frozen=True)
class Layer:
    """One dense layer with a posterior, and the estimator that samples its pre-activations."""

    form: Parameterization
    estimator: str
    examples: int = 2

    @cached_property
    def place(self) -> tuple[Any, dict[str, Tensor], Batch]:
        made, parameters, batch = problem(self.form, [(INPUTS, OUTPUTS)], self.examples)
        return made, {**parameters, "0.bias": 0 * parameters["0.bias"]}, batch

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        return trace(get(self.estimator), *self.place).requests

    def preactivations(self, noise: dict[Request, Tensor]) -> Tensor:
        """(M, outputs) flattened, at this noise."""
        made, parameters, batch = self.place
        seen = Seen()
        made = replace(made, likelihood=seen)
        get(self.estimator)(made, parameters, batch, Noise(Injected(noise)))
        return seen.outputs.flatten()

    def at(self, z: Tensor) -> Tensor:
        """At a vector of all numbers it asks for."""
        requests = self.requests
        parts = z.split([math.prod(r.shape) for r in requests])
        return self.preactivations(
            {r: p.reshape(r.shape) for r, p in zip(requests, parts, strict=True)}
        )

    def moments(self) -> tuple[Tensor, Tensor]:
        """Exact mean (M·L,) and covariance (M·L, M·L): b = b₀ + Az has covariance AAᵀ."""
        size = sum(math.prod(r.shape) for r in self.requests)
        start = self.at(torch.zeros(size, dtype=torch.float64))
        columns = []
        for unit in torch.eye(size, dtype=torch.float64):
            column = self.at(unit) - start
            torch.testing.assert_close(self.at(-3 * unit) - start, -3 * column)  # affine
            columns.append(column)
        a = torch.stack(columns, 1)
        return start, a @ a.T

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, θ, and α of each input feature."""
        made, parameters, batch = self.place
        q = made.posterior(made.layers[0], parameters)
        return batch.inputs, q.mean, q.log_ratio()[0].exp()


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def diagonal(layer: Layer) -> Tensor:
    """Independent pre-activations: δ_mo = Σ_i α x_mi² θ_oi²."""
    x, theta, alpha = layer.parts()
    return torch.diag(torch.einsum("mi,oi,i->mo", x**2, theta**2, alpha).flatten())


def across_examples(layer: Layer) -> Tensor:
    """A weight sample that examples share: Σ_i α x_mi x_ni θ_oi² between examples, nothing between outputs."""
    x, theta, alpha = layer.parts()
    table = torch.einsum("mi,ni,oi,op,i->monp", x, x, theta**2, torch.eye(OUTPUTS).double(), alpha)
    return table.reshape(len(x) * OUTPUTS, -1)


def across_outputs(layer: Layer, examples: bool) -> Tensor:
    """Noise of inputs: Σ_i α x_mi x_ni θ_oi θ_pi between outputs, between examples too where they share it."""
    x, theta, alpha = layer.parts()
    table = torch.einsum("mi,ni,oi,pi,i->monp", x, x, theta, theta, alpha)
    if not examples:
        table = table * torch.eye(len(x)).double()[:, None, :, None]
    return table.reshape(len(x) * OUTPUTS, -1)


@pytest.mark.parametrize("examples", [1, 3])
@pytest.mark.parametrize("estimator", ["fast-dropout", "local", "per-example", "naive"])
def test_fast_dropout_is_independent_weight_noise_of_one_layer(
    estimator: str, examples: int
) -> None:
    """Slide row: jointly Gaussian with the same mean and covariance, which is the same law.

    Of all examples where each has its own noise; of a single example under one weight sample for all.
    """
    layer = Layer(OWN, estimator, examples)
    mean, covariance = layer.moments()
    x, theta, _ = layer.parts()
    close(mean, (x @ theta.T).flatten())
    want = across_examples(layer) if estimator == "naive" else diagonal(layer)
    close(covariance, want)
    if examples == 1:
        close(covariance, Layer(OWN, "fast-dropout", 1).moments()[1])
    elif estimator == "naive":
        gap = (covariance - diagonal(layer)).abs()
        assert float(gap.max()) > 0.3 * float(covariance.diagonal().min())


@pytest.mark.parametrize("form", [SHARED, EACH], ids=repr)
def test_shared_noise_correlates_outputs_and_fast_dropout_does_not(form: Parameterization) -> None:
    """Slide row: the same marginal moments, another joint law, across outputs and, for naive, across examples."""
    fast, own, one = (Layer(form, name) for name in ("fast-dropout", "per-example", "naive"))
    for layer in (fast, own, one):
        close(layer.moments()[0], fast.moments()[0])
        close(layer.moments()[1].diagonal(), fast.moments()[1].diagonal())
    close(fast.moments()[1], diagonal(fast))
    close(own.moments()[1], across_outputs(own, examples=False))
    close(one.moments()[1], across_outputs(one, examples=True))
    spread = one.moments()[1].diagonal().sqrt()
    correlation = one.moments()[1] / spread / spread[:, None]
    assert float(correlation[0, 1:OUTPUTS].abs().max()) > 0.3  # between outputs of an example
    assert float(correlation[:OUTPUTS, OUTPUTS:].abs().max()) > 0.3  # between examples
    assert torch.linalg.matrix_rank(one.moments()[1]) == INPUTS < 2 * OUTPUTS


@pytest.mark.parametrize("form", [SHARED, EACH, BinaryDropout(0.3)], ids=repr)
def test_input_noise_is_row_shared_weight_noise(form: Parameterization) -> None:
    """Slide row, draw by draw: dropping (or shaking) inputs is one number a row of weights, shared by the outputs."""
    for estimator in ("naive", "per-example"):
        layer = Layer(form, estimator, 3)
        (request,) = layer.requests
        numbers = stream(Key(("rows",)), dtype=torch.float64)("z", request.shape, request.law)
        x, theta, alpha = layer.parts()
        if form.law == "binary":
            rate = alpha / (1 + alpha)
            xi = (numbers >= rate).double() / (1 - rate)
        else:
            xi = 1 + alpha.sqrt() * numbers
        xi = xi.reshape(-1, INPUTS).expand(3, INPUTS)
        got = layer.preactivations({request: numbers}).reshape(3, OUTPUTS)
        close(got, (x * xi) @ theta.T)
        close(got, torch.stack([x[m] @ (theta * xi[m]).T for m in range(3)]))


def test_fast_dropout_is_the_local_estimator_where_weights_are_independent_and_normal() -> None:
    """Draw by draw, in a network of two layers."""
    for form in (OWN, ThetaLogAlpha(ALPHA, per="output"), ThetaLogAlpha(ALPHA, per="weight")):
        at = problem(form, [(3, 4), (4, 2)], 5)
        noise = stream(Key(("local",)), dtype=torch.float64)
        a, b = (get(name)(*at, noise) for name in ("fast-dropout", "local"))
        close(a.value, b.value)
        for name, value in a.gradients.items():
            close(value, b.gradients[name])


@pytest.mark.parametrize("sharing", ["inputs", "weights"])
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_binary_dropout_matches_two_moments_and_not_the_fourth(sharing: Any, rate: float) -> None:
    """Slide row: a pre-activation has fast dropout's mean and variance, and the fourth cumulant of its masks.

    κ₄ of Σ_i x_iθ_iξ_i is Σ_i (x_iθ_i)⁴κ₄(ξ) with κ₄ = (1−p)p(1−6p(1−p))/(1−p)⁴, where a Gaussian has 0.
    """
    form = BinaryDropout(rate, sharing=sharing)
    layer = Layer(form, "naive", 1)
    (request,) = layer.requests
    rows, chance = [], []
    for kept in itertools.product((0.0, 1.0), repeat=INPUTS):
        mask = torch.tensor(kept, dtype=torch.float64).expand(request.shape)  # all outputs see it
        rows.append(layer.preactivations({request: rate / 2 + mask / 2}))
        chance.append(math.prod(1 - rate if k else rate for k in kept))
    b, p = torch.stack(rows), torch.tensor(chance, dtype=torch.float64)
    fast = Layer(form, "fast-dropout", 1).moments()
    mean = p @ b
    second, fourth = p @ (b - mean) ** 2, p @ (b - mean) ** 4
    close(mean, fast[0])
    close(second, fast[1].diagonal())
    x, theta, _ = layer.parts()
    kappa = rate * (1 - 6 * rate * (1 - rate)) / (1 - rate) ** 3
    close(fourth - 3 * second**2, kappa * ((x * theta) ** 4).sum(1))
    assert float((fourth - 3 * second**2).abs().min()) > 1e-4


@dataclass(frozen=True)
class Projection:
    """The sum of an example's outputs with fixed coefficients: its value is a projection of pre-activations."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs @ torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)


DRAWS = 20_000
LIMIT = math.sqrt(-0.5 * math.log(1e-6 / 2)) * math.sqrt(2 / DRAWS)
"""Kolmogorov–Smirnov distance of two samples of one law, exceeded with probability 1e-6."""


def sample(form: Parameterization, estimator: str) -> np.ndarray[Any, Any]:
    """Draws of a projection over outputs and two equal examples, through the noise streams."""
    made, parameters, batch = problem(form, [(INPUTS, OUTPUTS)], 2)
    batch = Batch(batch.inputs[:1].repeat(2, 1), batch.targets)
    made = replace(made, likelihood=Projection())
    traced = trace(get(estimator), made, parameters, batch)
    keys = [Key(("projection", estimator, k)) for k in range(DRAWS)]
    repeated = Batch(*(t.expand(DRAWS, *t.shape) for t in batch))
    return gradients(get(estimator), made, parameters, repeated, keys, traced).value.numpy()


def distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Largest gap between two empirical distribution functions."""
    points = np.concatenate([a, b])
    below = [np.searchsorted(np.sort(rows), points, side="right") / DRAWS for rows in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


def test_two_samples_of_one_law_agree_and_of_another_differ() -> None:
    """Fast dropout against separate weight samples (alarms: 1e-6 each), and against shared noise, which is caught."""
    fast = sample(OWN, "fast-dropout")
    same = distance(fast, sample(OWN, "per-example"))
    assert same < LIMIT, (same, LIMIT)
    for form, estimator in ((SHARED, "per-example"), (OWN, "naive")):
        other = distance(fast, sample(form, estimator))
        assert other > 2 * LIMIT, (form, estimator, other, LIMIT)
