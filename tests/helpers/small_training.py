"""A small classifier and its trainer, for tests of training: forty examples, five steps an epoch."""

from __future__ import annotations

import torch
from torch import nn

from vdbench.datasets import Dataset, Split
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import LogUniformPrior
from vdbench.problems.problem import Parameters, Problem
from vdbench.schedules import Recipe
from vdbench.training.trainer import Trainer

KEY = Key(("tests", "recipes"))


def classifier(form: Parameterization | None = None) -> Problem:
    noise = stream(KEY, dtype=torch.float64)

    def split(name: str) -> Split:
        x = noise(name, (40, 4))
        return Split(x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long())

    data = Dataset("synthetic", split("train"), split("test"), 3)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    made = noisy(module, data, parameterization=form, prior=LogUniformPrior(), keep_weights=False)
    return made.to("cpu", torch.float32)


def trainer(
    recipe: Recipe | None = None,
    estimator: Estimator | None = None,
    form: Parameterization | None = None,
    problem: Problem | None = None,
    rate: float = 0.02,
) -> Trainer:
    problem = problem or classifier(form)
    return Trainer(
        problem, estimator or get("local"), problem.initial(KEY), 8, rate, KEY,
        recipe=recipe or Recipe(),
    )  # fmt: skip


def equal(one: Parameters, other: Parameters) -> bool:
    return set(one) == set(other) and all(torch.equal(one[n], other[n]) for n in one)
