"""Convergence curves: where they are evaluated, what estimators share, and the time to a target."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError, InputError
from vdbench.estimation.options import get
from vdbench.measures.context import Context
from vdbench.measures.convergence import Plan, rows, seconds_to
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.problem import Problem
from vdbench.training.trainer import evaluate

KEY = Key(("tests", "convergence"))
NAMES = ["naive", "local", "per-example", "score"]
PLAN = Plan(steps=12, evaluations=3, learning_rate=0.02, samples=4, examples=None)


pytestmark = pytest.mark.usefixtures("one_thread")


@functools.cache
def problem() -> Problem:
    noise = stream(KEY)

    def split(name: str) -> Split:
        x = noise(name, (60, 4))
        return Split(x, (x[:, 0] + 0.3 * noise("label" + name, (60,)) > 0).long())

    data = Dataset("synthetic", split("train"), split("test"), 2)
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    return noisy(module, data, keep_weights=False)


def context(name: str = "local") -> Context:
    estimator = get(name)
    return Context(problem(), problem().start, estimator, name, 10, KEY, {"estimator": name})


@pytest.mark.parametrize(
    ("steps", "evaluations", "marks"),
    [(12, 3, [0, 4, 8, 12]), (10, 3, [0, 3, 7, 10]), (2, 5, [0, 1, 2]), (7, 1, [0, 7])],
)
def test_marks_are_spread_from_the_start_to_the_end(
    steps: int, evaluations: int, marks: list[int]
) -> None:
    assert Plan(steps, evaluations, 0.01, 2, None).marks() == marks


@pytest.mark.parametrize("samples", [1, 7])
def test_odd_samples_are_refused(samples: int) -> None:
    with pytest.raises(InputError, match=rf"samples must be even, not {samples}\.$"):
        Plan(10, 2, 0.01, samples, None)


def test_seconds_to_a_target() -> None:
    seconds, elbo = np.array([0.0, 1.0, 3.0, 4.0]), np.array([-10.0, -6.0, -2.0, -3.0])
    assert seconds_to(-10.0, seconds, elbo) == 0
    assert seconds_to(-20.0, seconds, elbo) == 0
    assert seconds_to(-6.0, seconds, elbo) == 1
    assert seconds_to(-8.0, seconds, elbo) == 0.5
    assert seconds_to(-3.0, seconds, elbo) == 2.5
    assert seconds_to(-1.0, seconds, elbo) == math.inf
    assert seconds_to(-1.0, seconds[:1], elbo[:1]) == math.inf
    assert seconds_to(-4.0, np.arange(3.0), np.array([-10.0, np.nan, -2.0])) == pytest.approx(2)


@pytest.mark.parametrize("name", NAMES)
def test_one_row_an_evaluation(name: str) -> None:
    found = rows(context(name), PLAN, 0)
    assert list(found) == ["step", "seconds", "elbo", "nll", "error", "pairs"]
    assert found["step"].tolist() == [0, 4, 8, 12]
    assert found["seconds"][0] == pytest.approx(0, abs=1e-3)
    assert (np.diff(found["seconds"]) > 0).all()
    assert all(np.isfinite(values).all() for values in found.values())
    assert ((found["error"] >= 0) & (found["error"] <= 100)).all()


def test_all_estimators_start_at_the_same_point_seed_by_seed() -> None:
    plan = Plan(steps=1, evaluations=1, learning_rate=0.02, samples=4, examples=20)
    starts = {}
    for seed in (0, 1):
        found = [
            [float(rows(context(n), plan, seed)[c][0]) for c in ("elbo", "nll")] for n in NAMES
        ]
        assert all(pair == found[0] for pair in found)
        parameters = problem().initial(KEY / "training" / seed)
        worth = evaluate(problem(), parameters, KEY / "training" / seed, 4, 20)
        assert found[0] == [worth.elbo, worth.nll]
        starts[seed] = found[0]
    assert starts[0] != starts[1]


def test_a_training_is_the_same_again_but_for_its_seconds() -> None:
    one, other, third = rows(context(), PLAN, 0), rows(context(), PLAN, 0), rows(context(), PLAN, 1)
    for name in ("step", "elbo", "nll", "error"):
        assert np.array_equal(one[name], other[name])
    assert not np.array_equal(one["elbo"], third["elbo"])


def test_evaluating_more_often_changes_no_training() -> None:
    often = rows(context(), Plan(12, 12, 0.02, 4, None), 0)
    seldom = rows(context(), Plan(12, 1, 0.02, 4, None), 0)
    assert often["elbo"][-1] == seldom["elbo"][-1]


def test_training_raises_the_elbo() -> None:
    found = rows(context(), Plan(150, 1, 0.02, 8, None), 0)
    assert found["elbo"][1] > found["elbo"][0] + 10


def test_a_diverging_training_fails_with_its_cause() -> None:
    with pytest.raises(CellError, match=r"diverged at step \d+: .+ of parameter '\S+'; lower"):
        rows(context(), Plan(12, 3, 1e30, 4, None), 0)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    rows(context(), Plan(2, 1, 0.02, 2, None), 0)
    assert torch.equal(torch.random.get_rng_state(), before)
