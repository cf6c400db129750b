"""The option ``kernel`` of local: refused off CUDA; where it runs, the same gradients as without it."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from oracles import network

from vdbench import CellError
from vdbench.estimation.draws import gather, inject, on_each, trace
from vdbench.estimation.options import get, label
from vdbench.measures import unit_sums, variance_units
from vdbench.measures.context import Context
from vdbench.noise import Key
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.problem import Batch

FUSED = get("local", kernel="fused")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs on the CPU")
def test_it_is_refused_off_cuda() -> None:
    problem, parameters = network(MeanLogVariance())
    with pytest.raises(
        CellError, match=r"kernel 'fused' needs a CUDA device.* 'cpu'; leave it out"
    ):
        trace(FUSED, problem, parameters, gather(problem, np.arange(4)))


def test_it_is_recorded_where_it_is_chosen_alone() -> None:
    assert label(FUSED) == "local(kernel=fused)"
    assert (label(get("local")), str(get("local"))) == ("local", "Local()")


def needs_kernels() -> None:
    pytest.importorskip("triton", reason="the fused kernels need Triton: make kernels")
    if not (INTERPRETED or torch.cuda.is_available()):
        pytest.skip("no GPU, and TRITON_INTERPRET=1 is not set")


def test_gradients_are_the_same_on_the_same_noise() -> None:
    """Of two draws on each of three minibatches in one call, and of one alone."""
    needs_kernels()
    problem, parameters = network(MeanLogVariance())
    problem = problem.to(DEVICE, torch.float64)
    parameters = {n: v.to(DEVICE, torch.float64) for n, v in parameters.items()}
    rows = np.stack([(np.arange(5) + k) % problem.examples for k in range(3)])
    batches = gather(problem, rows)
    requests = trace(FUSED, problem, parameters, Batch(*(t[0] for t in batches))).requests
    keys = [Key(("fused", k)) for k in range(6)]
    flat = inject(requests, keys, problem.device, torch.float64)
    noise = {r: v.unflatten(0, (3, 2)) for r, v in flat.items()}
    found, wanted = (on_each(e, problem, parameters, batches, noise) for e in (FUSED, get("local")))
    for name, value in wanted.gradients.items():
        gap = float((found.gradients[name] - value).abs().max())
        assert gap <= 1e-12 * float(value.abs().max()), f"{name}: {gap}"


def test_the_variance_measure_takes_its_own_products() -> None:
    needs_kernels()
    problem, parameters = network(MeanLogVariance())
    problem = problem.to(DEVICE, torch.float64)
    parameters = {n: v.to(DEVICE, torch.float64) for n, v in parameters.items()}
    rows = []
    for estimator in (FUSED, get("local")):
        at = Context(problem, parameters, estimator, "", 5, Key(("fused",)), {}).at("variance")
        assert unit_sums.way(at).name == "products"
        rows.append(variance_units.rows(at, 0, 3))
    for name, column in rows[1].items():
        assert np.allclose(rows[0][name], column, rtol=1e-12, atol=0), name
