"""The GPU gives what the CPU gives: to rounding on the same noise, and in distribution on its own.

Every case is built and run on the CPU too, where there is no GPU: what is wrong with a case shows there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import convolution_twins
import numpy as np
import oracles
import pytest
import torch
from everyone import DENSE_ALONE, first, fitting, prior
from oracles import COORDINATES, Comparison, network
from torch import Tensor

from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import gather, inject, trace, vectorised
from vdbench.estimation.options import get, label
from vdbench.estimation.registry import names
from vdbench.measures import variance_units
from vdbench.measures.context import Context
from vdbench.noise import Key
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.problem import Problem
from vdbench.store import Table

OPTIONS = {"score": [{"samples": 3, "baseline": "leave-one-out"}]}
ESTIMATORS = [
    *map(first, names()),
    *(get(name, **options) for name, given in OPTIONS.items() for options in given),
]
BATCH = 5
Make = Callable[..., tuple[Problem, dict[str, Tensor]]]


def cases(test: Callable[..., None]) -> Callable[..., None]:
    """Every estimator in all coordinates, dense and in a convolution."""
    marks = (
        pytest.mark.parametrize(
            "make", [network, convolution_twins.network], ids=["dense", "convolution"]
        ),
        pytest.mark.parametrize("coordinates", COORDINATES.values(), ids=COORDINATES),
        pytest.mark.parametrize("estimator", ESTIMATORS, ids=label),
    )
    for mark in marks:
        test = mark(test)
    return test


def moved(state: Any, device: str) -> Any:
    """A state with its tensors on a device."""
    if isinstance(state, Tensor):
        return state.to(device)
    if isinstance(state, dict):
        return {name: moved(item, device) for name, item in state.items()}
    return (
        type(state)(moved(item, device) for item in state)
        if isinstance(state, (tuple, list))
        else state
    )


class Case:
    """Four draws of one estimator on one problem, with their noise: what is run on each device."""

    def __init__(self, estimator: Estimator, coordinates: Parameterization, make: Make) -> None:
        self.estimator = estimator
        form = fitting(estimator, coordinates)
        if estimator.declaration.name in DENSE_ALONE and make is not network:
            pytest.skip("it refuses convolutions")
        self.problem, self.parameters = make(form, prior=prior(estimator))
        self.state = estimator.fit(self.problem, self.parameters, Key(("fit",)))
        batch = gather(self.problem, np.arange(BATCH))
        requests = trace(estimator, self.problem, self.parameters, batch, self.state).requests
        keys = [Key(("parity", k)) for k in range(4)]
        self.noise = inject(requests, keys, torch.device("cpu"), torch.float64)

    def drawn(self, device: str) -> dict[str, Tensor]:
        there = self.problem.to(device, torch.float64)
        rows = np.stack([(np.arange(BATCH) + k) % there.examples for k in range(4)])
        found = vectorised(
            self.estimator,
            there,
            {n: v.to(device) for n, v in self.parameters.items()},
            gather(there, rows),
            {r: v.to(device) for r, v in self.noise.items()},
            moved(self.state, device),
        )
        outputs = {"value": found.value, **found.gradients}
        assert {v.device.type for v in outputs.values()} == {device}
        return {n: v.cpu() for n, v in outputs.items()}


@cases
def test_every_case_has_a_gradient_on_the_cpu(
    estimator: Estimator, coordinates: Parameterization, make: Make
) -> None:
    """None asks for what is refused: a prior without a divergence from the posterior, say."""
    case = Case(estimator, coordinates, make)
    found = case.drawn("cpu")
    assert set(found) == {"value", *case.problem.free(case.parameters)}
    assert all(bool(v.isfinite().all()) for v in found.values())
    assert any(bool(v.any()) for n, v in found.items() if n != "value")


@pytest.mark.gpu
@cases
def test_parity_on_the_same_noise(
    estimator: Estimator, coordinates: Parameterization, make: Make
) -> None:
    case = Case(estimator, coordinates, make)
    cpu, gpu = case.drawn("cpu"), case.drawn("cuda")
    for name, want in cpu.items():
        gap, size = float((gpu[name] - want).abs().max()), float(want.abs().max())
        assert gap <= 1e-9 * (size + 1e-6), f"{name} differs by {gap:.3g}, largest {size:.3g}"


COMPARED = ("naive", "local", "per-example")


def unit_rows(estimator: Estimator, device: str, count: int) -> Table:
    """Of the variance, with noise of the device's own."""
    problem, parameters = network(MeanLogVariance())
    there = {n: v.to(device) for n, v in parameters.items()}
    at = problem.to(device, torch.float64)
    key = Key(("devices", device))
    return variance_units.rows(Context(at, there, estimator, "", BATCH, key, {}), 0, count)


def test_variances_are_measured_on_the_cpu() -> None:
    for name in COMPARED:
        found = unit_rows(get(name), "cpu", 2)
        assert all(len(c) == 2 and np.isfinite(c).all() for c in found.values())


@pytest.mark.gpu
def test_variances_agree() -> None:
    """Unit rows of both devices, each with noise of its own."""
    comparisons = []
    for name in COMPARED:
        cpu, gpu = (unit_rows(get(name), device, 1000) for device in ("cpu", "cuda"))
        for column, a in cpu.items():
            b = gpu[column]
            error = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))
            comparisons.append(Comparison(f"{name} {column}", b.mean(), error, float(a.mean())))
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)
