"""The GPU gives what the CPU gives: to rounding on the same noise, and in distribution on its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import oracles
import pytest
import test_convolution_twins
import torch
from everyone import fitting
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

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

OPTIONS = {"score": [{"samples": 3, "baseline": "leave-one-out"}]}
ESTIMATORS = [get(name, **o) for name in names() for o in [{}, *OPTIONS.get(name, [])]]
BATCH = 5


@pytest.mark.parametrize(
    "make", [network, test_convolution_twins.network], ids=["dense", "convolution"]
)
@pytest.mark.parametrize("coordinates", COORDINATES.values(), ids=COORDINATES)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=label)
def test_parity_on_the_same_noise(
    estimator: Estimator,
    coordinates: Parameterization,
    make: Callable[[Parameterization], tuple[Problem, dict[str, Tensor]]],
) -> None:
    problem, parameters = make(fitting(estimator, coordinates))
    requests = trace(estimator, problem, parameters, gather(problem, np.arange(BATCH))).requests
    keys = [Key(("parity", k)) for k in range(4)]
    noise = inject(requests, keys, torch.device("cpu"), torch.float64)
    rows = np.stack([(np.arange(BATCH) + k) % problem.examples for k in range(4)])

    def drawn(device: str) -> dict[str, Tensor]:
        there = problem.to(device, torch.float64)
        found = vectorised(
            estimator,
            there,
            {n: v.to(device) for n, v in parameters.items()},
            gather(there, rows),
            {r: v.to(device) for r, v in noise.items()},
        )
        outputs = {"value": found.value, **found.gradients}
        assert {v.device.type for v in outputs.values()} == {device}
        return {n: v.cpu() for n, v in outputs.items()}

    cpu, gpu = drawn("cpu"), drawn("cuda")
    for name, want in cpu.items():
        gap, size = float((gpu[name] - want).abs().max()), float(want.abs().max())
        assert gap <= 1e-9 * (size + 1e-6), f"{name} differs by {gap:.3g}, largest {size:.3g}"


def test_variances_agree() -> None:
    """Unit rows of both devices, each with noise of its own."""
    problem, parameters = network(MeanLogVariance())

    def rows(estimator: Estimator, device: str) -> Table:
        there = {n: v.to(device) for n, v in parameters.items()}
        at = problem.to(device, torch.float64)
        key = Key(("devices", device))
        return variance_units.rows(Context(at, there, estimator, "", BATCH, key, {}), 0, 1000)

    comparisons = []
    for name in ("naive", "local", "per-example"):
        cpu, gpu = rows(get(name), "cpu"), rows(get(name), "cuda")
        for column, a in cpu.items():
            b = gpu[column]
            error = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))
            comparisons.append(Comparison(f"{name} {column}", b.mean(), error, float(a.mean())))
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)
