"""Each kind of layer, under each estimator: its mean gradient is that of the module itself with noisy weights.

The reference is written here in plain torch: the user's module, weights W = μ + σε in its own parameters, automatic
differentiation, and antithetic pairs ±ε from a generator of its own. It shares no code with vdbench's problems.
"""

from __future__ import annotations

import copy
import functools
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from layer_kinds import KINDS, Net, make
from scipy.special import ndtri
from torch import Tensor
from torch.func import functional_call

from vdbench.errors import CellError
from vdbench.estimation.base import objective
from vdbench.estimation.draws import gather, gradients, trace
from vdbench.estimation.options import get
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.problem import Problem

KEY = Key(("tests", "layer-kinds"))
SIGMA, DRAWS, PAIRS, DIRECTIONS = 0.3, 200, 150, 8
FALSE_ALARM = 0.001
"""Of this whole file: Bonferroni over kinds, estimators and directions."""

ESTIMATORS = ("naive", "local", "flipout", "grouped", "per-example", "score-local")
EVERY_TIME = ("naive", "local", "flipout")
"""Those that make test checks on every kind; make long checks the rest."""

TESTS = len(KINDS) * len(ESTIMATORS) * (DIRECTIONS + 12)


class Truth(NamedTuple):
    """Projections of the reference's mean gradient, (directions,), with standard errors, and the directions by name."""

    problem: Problem
    mean: np.ndarray
    error: np.ndarray
    along: dict[str, Tensor]


@functools.cache
def truth(kind: str) -> Truth:
    module, data, likelihood, options = make(kind)
    problem = noisy(
        module,
        data,
        likelihood=likelihood,
        parameterization=MeanLogVariance(sigma=SIGMA),
        **options,
    ).to("cpu", torch.float64)
    along = directions(problem)
    module = module.double()
    paths = {a.name: getattr(a, "path", "") or f"{a.name}.weight" for a in problem.layers}
    leaves = {n: v.detach().clone().requires_grad_() for n, v in problem.start.items()}
    generator = torch.Generator().manual_seed(11)
    pairs = []
    for _ in range(PAIRS):
        eps = {
            n: torch.randn(leaves[f"{n}.mean"].shape, generator=generator, dtype=torch.float64)
            for n in paths
        }
        both = [_value(problem, module, paths, leaves, eps, sign) for sign in (1, -1)]
        mean = sum(both) / 2
        found = torch.autograd.grad(mean, list(leaves.values()), materialize_grads=True)
        pairs.append(torch.cat([g.flatten() for g in found]))
    flat = torch.cat([along[n].flatten(1) for n in leaves], 1)
    table = (torch.stack(pairs) @ flat.T).numpy()
    return Truth(problem, table.mean(0), table.std(0, ddof=1) / len(table) ** 0.5, along)


def _value(problem, module, paths, leaves, eps, sign):  # type: ignore[no-untyped-def]
    """Log-likelihood of all examples at one draw."""
    rows = {a.name: getattr(a, "fixed_row", None) for a in problem.layers}
    given = {}
    for name, path in paths.items():
        scale = (0.5 * leaves[f"{name}.log_variance"]).exp()
        weight = leaves[f"{name}.mean"] + sign * scale * eps[name]
        if rows[name] is not None:
            own = module.get_parameter(path).detach()
            weight = torch.where((torch.arange(len(weight)) != rows[name])[:, None], weight, own)
        given[path] = weight
    used = {f"{n}.{part}" for n in paths for part in ("mean", "log_variance")}
    given |= {n: v for n, v in leaves.items() if n not in used}
    inputs, targets = problem.data.train
    return problem.likelihood(functional_call(module, given, (inputs,)), targets).sum()


def directions(problem: Problem) -> dict[str, Tensor]:
    """Random directions, and the sum of each parameter of a noisy layer, up to twelve, by parameter name."""
    generator = torch.Generator().manual_seed(12)
    sums = [n for n in problem.start if n.endswith(("mean", "log_variance"))][:12]
    found = {}
    for name, value in problem.start.items():
        random = torch.randn((DIRECTIONS, *value.shape), generator=generator, dtype=torch.float64)
        own = torch.zeros((len(sums), *value.shape), dtype=torch.float64)
        if name in sums:
            own[sums.index(name)] = 1
        found[name] = torch.cat([random, own])
    return found


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in EVERY_TIME else pytest.mark.long) for n in ESTIMATORS],
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_gradient_is_the_module_s_own(kind: str, name: str) -> None:
    problem, want, error, along = truth(kind)
    estimator = get(name)
    if objective(estimator, problem) != "elbo":
        assert name in ("local", "score-local")
        assert problem.shared
        return  # of another objective; test_places.py has its exact values
    batch = gather(problem, np.arange(problem.examples))
    traced = trace(estimator, problem, problem.start, batch)
    many = type(batch)(*(v.expand(DRAWS, *v.shape) for v in batch))
    keys = [KEY / kind / name / k for k in range(DRAWS)]
    found = gradients(estimator, problem, problem.start, many, keys, traced).gradients
    rows = sum(torch.einsum("k...,d...->kd", g, along[n]) for n, g in found.items()).numpy()
    own = rows.std(0, ddof=1) / len(rows) ** 0.5
    gap = rows.mean(0) - want
    both = np.sqrt(own**2 + error**2)
    size = np.abs(want).max() + np.abs(rows).max()
    z = np.divide(gap, both, out=np.zeros_like(gap), where=both > 1e-9 * size)
    z[(both <= 1e-9 * size) & (np.abs(gap) > 1e-6 * size)] = np.inf
    limit = -ndtri(FALSE_ALARM / 2 / TESTS) * 1.15  # Student's tails at these numbers of draws
    assert np.abs(z).max() < limit, (
        f"{kind} {name}: mean {rows.mean(0)} ± {own}, truth {want} ± {error}, z {z}"
    )


def test_estimators_that_need_a_chain_refuse_the_others() -> None:
    for kind in ("lstm", "called-twice", "sequence-first"):
        problem = truth(kind).problem
        with pytest.raises(CellError, match="is no such chain"):
            trace(get("moment-matching"), problem, problem.start, gather(problem, np.arange(4)))


@pytest.mark.parametrize("name", ["local", "score-local"])
def test_noise_of_each_call_is_that_of_layers_of_their_own(name: str) -> None:
    """Of a layer called twice, local noise has the objective of a network with two layers of the same weights.

    The gradient there is the sum over both. 2,000 draws of each; family-wise false-alarm rate 0.001 over all numbers.
    """
    shared, data, likelihood, _ = make("called-twice")

    def twice(s: Any, x: Tensor) -> Tensor:
        out: Tensor = s.c(torch.tanh(s.second(torch.tanh(s.first(s.a(x))))))
        return out

    first, second = copy.deepcopy(shared.b), copy.deepcopy(shared.b)
    apart = Net(twice, a=shared.a, first=first, second=second, c=shared.c)
    draws, found = 2000, []
    for module in (shared, apart):
        problem = noisy(
            module, data, likelihood=likelihood, parameterization=MeanLogVariance(sigma=SIGMA)
        ).to("cpu", torch.float64)
        assert (objective(get(name), problem) == "elbo") == (module is apart)
        batch = gather(problem, np.arange(problem.examples))
        traced = trace(get(name), problem, problem.start, batch)
        many = type(batch)(*(v.expand(draws, *v.shape) for v in batch))
        keys = [KEY / "calls" / name / str(module is apart) / k for k in range(draws)]
        own = gradients(get(name), problem, problem.start, many, keys, traced).gradients
        if module is apart:
            for role in ("mean", "log_variance", "bias"):
                own[f"b.{role}"] = own[f"first.{role}"] + own[f"second.{role}"]
        found.append(own)
    count = sum(g[0].numel() for g in found[0].values())
    limit = -ndtri(0.001 / 2 / count) * 1.05
    for key, rows in found[0].items():
        other = found[1][key]
        error = (rows.var(0) / draws + other.var(0) / draws).sqrt()
        z = torch.where(error > 0, (rows.mean(0) - other.mean(0)) / error, 0.0)
        assert float(z.abs().max()) < limit, f"{key}: {rows.mean(0)} and {other.mean(0)}, z {z}"
