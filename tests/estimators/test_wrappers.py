"""Estimators made of others: their closed forms, and wrong ones that these catch.

That they conform, and agree with a slow twin draw by draw, is tested in the files that do so for every estimator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles
import pytest
from oracles import Linear, Moments, Oracle, random_linear
from wrapped import ForgetsLayers, moderate, over

from estimators.antithetic import Antithetic
from estimators.naive import Naive
from estimators.samples import Samples
from vdbench.estimation.base import Estimator, Gradient, Wrapper, average
from vdbench.estimation.draws import trace
from vdbench.estimation.options import get, label
from vdbench.noise import Key, Noise, antithetic

TOLERANCE = 1e-9

DRAWS = 4000


def nothing(of: Linear) -> Any:
    """No variance for μ and bias: a quadratic loss's gradient is linear in the noise, and the pair cancels it."""
    return np.zeros(len(of.mu) + 1)


def pair_of_naive(of: Linear) -> Moments:
    t = oracles.Terms(of)
    own = np.diag(t.g) ** 2 * t.sigma**2
    return oracles.assemble(of, nothing(of), (t.g**2) @ t.sigma**2 + own)


def pair_of_per_example(of: Linear) -> Moments:
    t = oracles.Terms(of)
    square = t.x**2
    return oracles.assemble(of, nothing(of), (square * (t.v[:, None] + square * t.sigma**2)).sum(0))


def pair_of_local(of: Linear) -> Moments:
    t = oracles.Terms(of)
    return oracles.assemble(of, nothing(of), 2 * (t.x**4).sum(0) * t.sigma**2)


def pair_of_score(of: Linear) -> Moments:
    """½[L(ε)h(ε) + L(−ε)h(−ε)] with h = ∇log q written out, by quadrature."""
    eps, weights = oracles.grid([5] * len(of.mu))

    def cost(sign: int) -> Any:
        error = (of.mu + sign * eps * of.sigma) @ of.x.T + (of.beta or 0.0) - of.y
        return -of.c * 0.5 * (error**2).sum(1)[:, None]

    found = pair_of_naive(of)
    for role, pair in (
        ("mean", (cost(1) - cost(-1)) / 2 * eps / of.sigma),
        ("scale", (cost(1) + cost(-1)) / 2 * (eps**2 - 1) / 2),
    ):
        mean = weights @ pair
        found[role] = (mean, weights @ (pair - mean) ** 2)
    return found


SHAPES = [(m, k, bias, 1 + bias) for m, k in [(1, 1), (2, 1), (1, 2), (3, 2)] for bias in (0, 1)]

PROBLEMS = [random_linear(seed, m, k, bool(bias), c) for seed, (m, k, bias, c) in enumerate(SHAPES)]

loo = {"name": "score", "options": {"samples": 2, "baseline": "leave-one-out"}}

pair: dict[str, Any] = {"name": "antithetic", "options": {"of": "naive"}}

# wrapper, options, oracle, nodes a dimension, most dimensions of the noise
EXACT: list[tuple[str, dict[str, Any], Oracle, int, int]] = [
    ("samples", {"of": "naive", "samples": 1}, oracles.naive, 3, 6),
    ("samples", {"of": "naive", "samples": 3}, over(3, oracles.naive), 3, 6),
    ("samples", {"of": "local", "samples": 2}, over(2, oracles.local), 3, 6),
    ("samples", {"of": "per-example", "samples": 2}, over(2, oracles.per_example), 3, 8),
    ("samples", {"of": "score", "samples": 2}, over(2, oracles.score), 5, 4),
    ("samples", {"of": loo, "samples": 2}, over(2, lambda of: oracles.score(of, 2, True)), 5, 4),
    ("samples", {"of": pair, "samples": 2}, over(2, pair_of_naive), 3, 6),
    ("antithetic", {"of": "naive"}, pair_of_naive, 3, 6),
    ("antithetic", {"of": "per-example"}, pair_of_per_example, 3, 8),
    ("antithetic", {"of": "local"}, pair_of_local, 3, 6),
    ("antithetic", {"of": "score"}, pair_of_score, 5, 4),
    (
        "antithetic",
        {"of": {"name": "samples", "options": {"of": "local", "samples": 2}}},
        over(2, pair_of_local),
        3,
        6,
    ),
]


def dimensions(estimator: Estimator, of: Linear) -> int:
    """How many numbers one draw takes."""
    requests = trace(estimator, of.problem(), of.parameters(), of.batch()).requests
    return sum(int(np.prod(request.shape)) for request in requests)


@pytest.mark.parametrize(
    ("name", "options", "oracle", "nodes", "most"),
    EXACT,
    ids=[label(get(n, **o)) for n, o, *_ in EXACT],
)
def test_exact_moments(
    name: str, options: dict[str, Any], oracle: Oracle, nodes: int, most: int
) -> None:
    estimator = get(name, **options)
    feasible = [of for of in PROBLEMS if dimensions(estimator, of) <= most]
    assert len(feasible) >= 2
    for of in feasible:
        wrong = oracles.mismatches(oracles.exact(estimator, of, nodes), oracle(of), TOLERANCE)
        assert not wrong, "\n".join(wrong)


def test_moments_through_the_noise_streams() -> None:
    """Independent samples are independent there too: a shared stream would show in the variance."""
    cases: list[tuple[str, dict[str, Any], Oracle]] = [
        ("samples", {"of": "naive", "samples": 3}, over(3, oracles.naive)),
        ("samples", {"of": "local", "samples": 2}, over(2, oracles.local)),
        ("samples", {"of": pair, "samples": 2}, over(2, pair_of_naive)),
        ("antithetic", {"of": "naive"}, pair_of_naive),
        ("antithetic", {"of": "per-example"}, pair_of_per_example),
        ("antithetic", {"of": "local"}, pair_of_local),
    ]
    comparisons = []
    for seed, (m, k, times) in enumerate([(3, 2, 1), (4, 3, 2)]):
        of = moderate(seed, m, k, times)
        for name, options, oracle in cases:
            what = label(get(name, **options))
            rows = oracles.sampled(get(name, **options), of, DRAWS, Key(("wrap", seed, what)))
            comparisons += oracles.compare(what, rows, oracle(of))
    assert len(comparisons) == 6 * 2 * (5 + 7)
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def test_a_pair_leaves_nothing_of_the_noise_of_a_linear_gradient() -> None:
    """Draw by draw, not only on average: all draws of the gradient of μ are equal to rounding."""
    for of in PROBLEMS:
        for name in ("naive", "per-example", "local"):
            rows = oracles.sampled(get("antithetic", of=name), of, 20, Key(("zero", name)))
            for role in {"mean", "bias"} & set(rows):
                spread = np.ptp(rows[role], axis=0)
                room = 1e-12 * (np.abs(rows[role]).max() + of.c * np.abs(of.x).max() + 1)
                assert (spread <= room).all(), f"{name} {role}: {spread}"


@dataclass(frozen=True)
class SameNoise(Samples):
    """The noise of the first sample again for all others, without asking for it again."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        first, second = antithetic(noise)
        again = Noise(lambda request: -second.source(request), noise.path)
        return average(
            self.of(problem, parameters, batch, own, state)
            for own in (first, *[again] * (self.samples - 1))
        )


@dataclass(frozen=True)
class SumOfSamples(Samples):
    """Forgets to divide."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        right = super().__call__(problem, parameters, batch, noise, state)
        return Gradient(right.value, {n: self.samples * g for n, g in right.gradients.items()})


@dataclass(frozen=True)
class NegatesForGood(Antithetic):
    """−ε twice: the noise buffer was negated in place."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        first, second = antithetic(noise)
        self.of(problem, parameters, batch, first, state)
        return average(self.of(problem, parameters, batch, second, state) for _ in range(2))


@pytest.mark.parametrize(
    ("bad", "oracle"),
    [
        (SameNoise(Naive(), 3), over(3, oracles.naive)),
        (SumOfSamples(Naive(), 3), over(3, oracles.naive)),
        (ForgetsLayers(Naive(), ("0",)), pair_of_naive),
        (NegatesForGood(Naive()), pair_of_naive),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Wrapper) else "",
)
def test_defects_are_caught_by_the_closed_forms(bad: Estimator, oracle: Oracle) -> None:
    """Exactly, and by Monte Carlo at the false-alarm rate of the test of the right ones."""
    of = moderate(1, 3, 2, 2)
    assert oracles.mismatches(oracles.exact(bad, of, 3), oracle(of), TOLERANCE)
    rows = oracles.sampled(bad, of, DRAWS, Key(("defect", type(bad).__name__)))
    assert oracles.alarms(oracles.compare("defect", rows, oracle(of)))
