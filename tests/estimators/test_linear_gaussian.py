"""Mean and variance of every estimator on linear-Gaussian problems, against closed forms.

First exactly: the estimator is evaluated at the nodes of a quadrature rule that has no error here, and compared at
1e-9. Then through the real noise streams, by Monte Carlo. Then the comparisons themselves are tried on estimators
that are wrong, which they must catch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from linear_problems import DRAWS, PROBLEMS, TOLERANCE, moderate
from oracles import Linear, Options, Oracle
from torch import Tensor

from estimators.local import Local
from estimators.naive import Naive
from estimators.per_example import PerExample
from estimators.score import Score
from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.options import get
from vdbench.noise import Key, Noise
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior


def named(of: Linear) -> str:
    zero = "-zero" if (of.x == 0).all(1).any() else ""
    bias = "" if of.beta is None else "-bias"
    return f"M{len(of.x)}-K{of.x.shape[1]}-c{of.c:g}{bias}{zero}"


def score(samples: int, leave_one_out: bool) -> tuple[str, Options, Oracle]:
    baseline = "leave-one-out" if leave_one_out else "none"
    options = {"samples": samples, "baseline": baseline}
    return "score", options, lambda of: oracles.score(of, samples, leave_one_out)


def score_local(samples: int, leave_one_out: bool) -> tuple[str, Options, Oracle]:
    _, options, _ = score(samples, leave_one_out)
    return "score-local", options, lambda of: oracles.score_local(of, samples, leave_one_out)


def grouped(groups: int) -> tuple[str, Options, Oracle]:
    return "grouped", {"groups": groups}, lambda of: oracles.grouped(of, groups)


def flipout(perturbations: int) -> tuple[str, Options, Oracle]:
    options = {"perturbations": perturbations}
    return "flipout", options, lambda of: oracles.flipout(of, perturbations)


# estimator, options, oracle, nodes a dimension, most dimensions of the noise
EXACT = [
    ("deterministic", {}, oracles.deterministic, 1, 0),
    ("naive", {}, oracles.naive, 3, 4),
    ("per-example", {"chunk": 2}, oracles.per_example, 3, 8),
    ("local", {}, oracles.local, 3, 5),
    (*grouped(2), 3, 8),
    (*grouped(3), 3, 8),
    (*flipout(1), 3, 10),
    (*flipout(2), 3, 12),
    (*score(1, False), 5, 4),
    (*score(2, False), 5, 6),
    (*score(4, False), 5, 4),
    (*score(2, True), 5, 6),
    (*score(3, True), 5, 6),
    (*score_local(1, False), 5, 4),
    (*score_local(2, False), 5, 6),
    (*score_local(2, True), 5, 6),
    (*score_local(3, True), 5, 6),
]


def dimensions(name: str, options: Options, of: Linear) -> int:
    m, k = of.x.shape
    sizes = {"deterministic": 0, "naive": k, "per-example": m * k, "local": m}
    if name == "grouped":
        return k * min(options["groups"], m)
    if name == "flipout":  # and a sign for every input and output
        return k * min(options["perturbations"], m) + m * (k + 1)
    if name in sizes:
        return sizes[name]
    return (m if name == "score-local" else k) * options["samples"]


CASES = [
    pytest.param(
        name, options, oracle, nodes, of, id=f"{name}{tuple(options.values())}-{named(of)}"
    )
    for name, options, oracle, nodes, most in EXACT
    for of in PROBLEMS
    if dimensions(name, options, of) <= most
]


@pytest.mark.parametrize(("name", "options", "oracle", "nodes", "of"), CASES)
def test_exact_moments(name: str, options: Options, oracle: Oracle, nodes: int, of: Linear) -> None:
    wrong = oracles.mismatches(
        oracles.exact(get(name, **options), of, nodes), oracle(of), TOLERANCE
    )
    assert not wrong, "\n".join(wrong)


def test_problems_are_varied() -> None:
    assert len(PROBLEMS) >= 20
    assert sum(bool((of.x == 0).all(1).any()) for of in PROBLEMS) >= 5
    assert {param.values[0] for param in CASES} == {e[0] for e in EXACT}


@pytest.mark.parametrize("of", [p for p in PROBLEMS if p.beta is None], ids=named)
def test_score_agrees_with_its_closed_form(of: Linear) -> None:
    """The quadrature oracle of the score function against the formula for μ."""
    want = of.c**2 * oracles.score_mu(of)
    np.testing.assert_allclose(oracles.score(of)["mean"][1], want, rtol=1e-9)
    local = of.c**2 * oracles.score_local_mu(of)
    np.testing.assert_allclose(oracles.score_local(of)["mean"][1], local, rtol=1e-9)


SAMPLED = [
    ("deterministic", {}, oracles.deterministic),
    ("naive", {}, oracles.naive),
    ("per-example", {}, oracles.per_example),
    ("local", {}, oracles.local),
    grouped(2),
    flipout(1),
    flipout(2),
    score(16, False),  # one sample's tails are too heavy for 4,000 draws
    score(8, True),
    score_local(16, False),
    score_local(8, True),
]


def test_moments_through_the_noise_streams() -> None:
    comparisons = []
    for seed, (m, k, times) in enumerate([(3, 2, 1), (4, 3, 2)]):
        of = moderate(seed, m, k, times)
        for name, options, oracle in SAMPLED:
            rows = oracles.sampled(get(name, **options), of, DRAWS, Key(("moments", seed, name)))
            what = f"{name}{tuple(options.values())} on {named(of)}"
            comparisons += oracles.compare(what, rows, oracle(of))
    assert len(comparisons) == len(SAMPLED) * 2 * (5 + 7)
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


# Known-bad estimators: each is a defect that a real library shipped or could.


@dataclass(frozen=True)
class OwnCost(Score):
    """Its baseline is the mean of all costs, its own included: shrinks the gradient by (S−1)/S."""

    def _baseline(self, cost: Tensor, state: Any) -> Tensor:
        return cost.mean(0).expand_as(cost)


@dataclass(frozen=True)
class ForgottenPath(Naive):
    """Forgets the path through σ: the gradient of an expectation taken for the expectation of ∂L/∂φ."""

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        kick = (q.scale * noise(layer.name, q.mean.shape)).detach()
        return layer.linear(x, q.mean + kick)


@dataclass(frozen=True)
class VarianceForDeviation(Naive):
    """Multiplies the noise by σ² where σ belongs."""

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        return layer.linear(x, q.mean + q.variance * noise(layer.name, q.mean.shape))


@dataclass(frozen=True)
class SquareOfTheProduct(Local):
    """δ = (Σ xσ)² instead of Σ x²σ²."""

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        mean = layer.linear(x, q.mean)
        return mean + layer.linear(x, q.scale) * noise(layer.name, mean.shape)


@dataclass(frozen=True)
class SharedNoise(Local):
    """One ζ for all examples: the mean is right, the variance is not."""

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        mean = layer.linear(x, q.mean)
        return mean + layer.squared(x, q.variance).sqrt() * noise(layer.name, mean[:1].shape)


@dataclass(frozen=True)
class Unscaled(PerExample):
    """Forgets N/M."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        right = super().__call__(problem, parameters, batch, noise, state)
        c = problem.scale(batch)
        return Gradient(right.value / c, {n: g / c for n, g in right.gradients.items()})


# the estimator, the closed form of the one it means to be, its nodes
DEFECTS = [
    (OwnCost(samples=3), lambda of: oracles.score(of, 3, True), 5),
    (ForgottenPath(), oracles.naive, 3),
    (VarianceForDeviation(), oracles.naive, 3),
    (SquareOfTheProduct(), oracles.local, 3),
    (SharedNoise(), oracles.local, 3),
    (Unscaled(), oracles.per_example, 3),
]


def defect_name(value: object) -> str:
    return type(value).__name__ if isinstance(value, Estimator) else ""


@pytest.mark.parametrize(("bad", "oracle", "nodes"), DEFECTS, ids=defect_name)
def test_defects_are_caught(bad: Estimator, oracle: Oracle, nodes: int) -> None:
    """Both comparisons catch it, the Monte Carlo one at the false-alarm rate of the test above."""
    of = moderate(1, 3, 2, 2)
    assert oracles.mismatches(oracles.exact(bad, of, nodes), oracle(of), TOLERANCE)
    rows = oracles.sampled(bad, of, DRAWS, Key(("defect", type(bad).__name__)))
    caught = oracles.alarms(oracles.compare("defect", rows, oracle(of)))
    assert caught


def test_own_cost_shrinks_by_its_share() -> None:
    """The exact size of the defect: the mean is (S−1)/S of the right one, and biases keep theirs."""
    of = moderate(1, 3, 2, 2)
    got, want = oracles.exact(OwnCost(samples=3), of, 5), oracles.score(of, 3, True)
    for role in ("mean", "scale"):
        np.testing.assert_allclose(got[role][0], 2 / 3 * want[role][0], rtol=1e-9)
    np.testing.assert_allclose(got["bias"][0], want["bias"][0], rtol=1e-9)


def test_local_ties_with_per_example_on_means_and_wins_on_scales() -> None:
    """The order the closed forms imply, on the estimators themselves."""
    for of in (p for p in PROBLEMS if p.x.size <= 8 and p.x.shape[1] > 1):
        a, b = oracles.exact(get("local"), of, 3), oracles.exact(get("per-example"), of, 3)
        np.testing.assert_allclose(a["mean"][1], b["mean"][1], rtol=1e-9)
        assert (a["scale"][1] <= b["scale"][1] * (1 + 1e-12)).all()


def test_alarms_hold_their_rate() -> None:
    """2,000 families of 20 comparisons of normal means: about 1 in 10 may raise an alarm at rate 0.1."""
    generator = torch.Generator().manual_seed(2015)
    rows = torch.randn(2000, 20, 200, generator=generator, dtype=torch.float64).numpy()
    raised = sum(
        bool(oracles.alarms([oracles.compare_rows("", r, 0.0) for r in family], 0.1))
        for family in rows
    )
    assert 0.07 < raised / 2000 < 0.14, raised
