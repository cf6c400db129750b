"""What must hold of every estimator in the registry, with every option set that matters.

The certificate's checks without statistics are made of all of them, and beside those what its stages do not have.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import Any, Literal

import numpy as np
import oracles
import pytest
import torch
from agreement import gaps
from everyone import around, everyone, fitting, marked, masked, prior
from oracles import COORDINATES, Comparison, network
from torch import Tensor

from estimators.measure_valued import MeasureValued
from estimators.relax import Relax
from vdbench.certificate.checks import contract, finite, precision, repeatable, several_draws
from vdbench.certificate.protocol import guarded, settle
from vdbench.certificate.sampling import Subject
from vdbench.estimation.base import Estimator, Gradient, Wrapper
from vdbench.estimation.draws import gather, gradients, inject, trace
from vdbench.estimation.options import get, label
from vdbench.estimation.perturbation import Perturbation
from vdbench.estimation.registry import names
from vdbench.estimation.score_function import LikelihoodRatio
from vdbench.noise import Injected, Key, Noise, stream
from vdbench.problems.dropout import LearnedBinary
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.problem import Batch, Problem

ESTIMATORS = everyone()
EXAMPLES, BATCH = 12, 5
KEY = Key(("conformance",))

each = pytest.mark.parametrize("estimator", marked(ESTIMATORS), ids=label)
DEFAULTS = [get(name) for name in names()]
EXACT = (contract, finite, several_draws, repeatable, precision)
"""The certificate's checks without statistics."""

everywhere = pytest.mark.parametrize("coordinates", COORDINATES.values(), ids=COORDINATES)


def place(
    coordinates: Parameterization,
    dtype: torch.dtype = torch.float64,
    estimator: Estimator = get("naive"),  # noqa: B008
) -> tuple[Problem, dict[str, Tensor], Batch]:
    """The network, under a posterior that the estimator is valid for."""
    problem, parameters = network(fitting(estimator, coordinates), EXAMPLES, prior(estimator))
    problem = problem.to("cpu", dtype)
    batch = gather(problem, np.arange(BATCH))
    return problem, {n: v.to(dtype) for n, v in parameters.items()}, batch


def one(estimator: Estimator, at: tuple[Problem, dict[str, Tensor], Batch], key: Key) -> Gradient:
    return estimator(*at, stream(key, dtype=at[0].dtype), state_of(estimator, *at[:2]))


def state_of(estimator: Estimator, problem: Problem, parameters: dict[str, Tensor]) -> Any:
    """What it is fitted to, the same at every call."""
    return estimator.fit(problem, parameters, KEY / "fit")


def narrowed(state: Any) -> Any:
    """A state with its tensors in float32."""
    if isinstance(state, Tensor):
        return state.float()
    if isinstance(state, dict):
        return {name: narrowed(item) for name, item in state.items()}
    return type(state)(map(narrowed, state)) if isinstance(state, (tuple, list)) else state


@pytest.mark.parametrize("estimator", marked(e for e in ESTIMATORS if e not in DEFAULTS), ids=label)
def test_the_certificate_s_exact_checks_pass(estimator: Estimator) -> None:
    """With options, and around one another; test_certificate.py has each with its defaults, and the statistics too."""
    subject = Subject(estimator, KEY / "certificate")
    asked = [a for check in EXACT for a in guarded(check.NAME, "all", partial(check.ask, subject))]
    wrong = [str(f) for f in settle(asked) if f.passed is False]
    assert {f.test for f in settle(asked)} == {check.NAME for check in EXACT}
    assert not wrong, "\n".join(wrong)


@each
def test_names_shapes_laws_and_arguments(estimator: Estimator) -> None:
    """In float32 and all coordinates, a fixed α among them: neither is on the certificate's stages."""
    for name, coordinates in COORDINATES.items():
        at = place(coordinates, torch.float32, estimator)
        problem, parameters, batch = at
        kept = [t.clone() for t in (*parameters.values(), *batch)]
        # refuses other laws than the declared, and an address asked twice
        traced = trace(estimator, *at, state_of(estimator, problem, parameters))
        assert bool(traced.requests) == bool(estimator.declaration.laws), name
        gradient = one(estimator, at, KEY)
        found = {n: (v.shape, v.dtype) for n, v in gradient.gradients.items()}
        assert found == {n: (v.shape, v.dtype) for n, v in problem.free(parameters).items()}, name
        assert gradient.value.shape == (), name
        assert not any(v.requires_grad for v in gradient.gradients.values()), name
        assert not any(v.requires_grad or v.grad is not None for v in parameters.values()), name
        unchanged = map(torch.equal, (*parameters.values(), *batch), kept)
        assert all(unchanged), f"{name}: it writes into parameters or data"


LOGITS = (20.0, -20.0)
"""Where a probability is 1 in float32, or the smallest part of it: the certificate's points are nearer to 0."""


@pytest.mark.parametrize("estimator", marked(e for e in ESTIMATORS if masked(e)), ids=label)
def test_finite_where_all_masks_are_alike(estimator: Estimator) -> None:
    broken = []
    for logit, dtype in product(LOGITS, (torch.float32, torch.float64)):
        problem, parameters, batch = place(LearnedBinary(), dtype, estimator)
        at = {n: v.fill_(logit) if n.endswith("logit") else v for n, v in parameters.items()}
        for what, inputs in (("inputs", batch.inputs), ("zeros", torch.zeros_like(batch.inputs))):
            gradient = one(estimator, (problem, at, Batch(inputs, batch.targets)), KEY)
            names = [n for n, v in gradient.gradients.items() if not bool(v.isfinite().all())]
            broken += [f"{n} at logit {logit} in {dtype} with {what}" for n in names]
    assert not broken, f"not finite: {broken}"


ROUNDINGS = 4
"""Of the cost. Some twenty sums and products make a cost, and two are subtracted: half-roundings of either sign, whose
sum has a standard deviation below 2. Seen over many noises: a third of one at most."""


def rounding(
    estimator: Estimator, problem: Problem, parameters: dict[str, Tensor], cost: float
) -> dict[str, Tensor]:
    """What float32's rounding of the cost makes of every entry: eps·(N + |L|)·Σ_i (|∂μ_i| + |∂σ_i|)/σ_i.

    Costs are multiplied by ∇log q, or their differences divided by σ: either is of size 1/σ, while what is left of
    the costs may be small. The roundings of a cost are relative to the cost itself and to nats, since log-softmax
    subtracts numbers of that size in each of N examples. None where the cost is differentiated: there, rounding is
    relative to the gradient. RELAX multiplies the difference of two costs by scores of at most 1.
    """
    if isinstance(innermost(estimator), Relax):
        each = ROUNDINGS * torch.finfo(torch.float32).eps * (problem.examples + abs(cost))
        free = problem.free(parameters)
        return {n: torch.full_like(v, each) for n, v in free.items() if n.endswith("logit")}
    if not isinstance(innermost(estimator), LikelihoodRatio | MeasureValued | Perturbation):
        return {}
    each = ROUNDINGS * torch.finfo(torch.float32).eps * (problem.examples + abs(cost))

    def moved(free: dict[str, Tensor], which: Literal["mean", "scale"]) -> Tensor:
        laws = [problem.posterior(layer, {**parameters, **free}) for layer in problem.layers]
        parts = [(getattr(q, which).abs() / q.scale.detach().abs()).sum() for q in laws]
        return each * torch.stack(parts).sum()

    slopes = [torch.func.grad(moved)(problem.free(parameters), w) for w in ("mean", "scale")]
    return {name: slope.abs() + slopes[1][name].abs() for name, slope in slopes[0].items()}


def innermost(estimator: Estimator) -> Estimator:
    """What a wrapper, or wrappers around one another, are made of."""
    while isinstance(estimator, Wrapper):
        estimator = estimator.of
    return estimator


@each
def test_float32_follows_float64(estimator: Estimator) -> None:
    """On the same noise, entry by entry; the certificate has the points where digits cancel in a careless formula."""
    wrong = [
        f"{name}: {line}"
        for name, coordinates in COORDINATES.items()
        for line in narrowing(estimator, coordinates)
    ]
    assert not wrong, "\n".join(wrong)


def narrowing(estimator: Estimator, coordinates: Parameterization) -> list[str]:
    """What float32 changes, on one noise."""
    wide = problem, parameters, batch = place(coordinates, estimator=estimator)
    state = state_of(estimator, problem, parameters)
    requests = trace(estimator, *wide, state).requests
    # numbers that float32 has: a uniform one that is rounded may fall on the other side of a threshold
    injected = {r: v[0].float().double() for r, v in noise(requests, 1).items()}
    exact = estimator(*wide, Noise(Injected(injected)), state)
    narrow = estimator(
        problem.to("cpu", torch.float32),
        {n: v.float() for n, v in parameters.items()},
        Batch(batch.inputs.float(), batch.targets),
        Noise(Injected({r: v.float() for r, v in injected.items()})),
        narrowed(state),
    )
    return gaps(narrow, exact, 2e-4, rounding(estimator, problem, parameters, float(exact.value)))


def noise(requests: tuple, draws: int) -> dict:  # type: ignore[type-arg]
    keys = [KEY / "injected" / k for k in range(draws)]
    return inject(requests, keys, torch.device("cpu"), torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_per_example_does_not_depend_on_its_chunk(dtype: torch.dtype) -> None:
    at = place(MeanLogVariance(), dtype)
    whole = one(get("per-example"), at, KEY)
    for chunk in (1, 2, 3, 5):
        wrong = gaps(
            one(get("per-example", chunk=chunk), at, KEY), whole, 20 * torch.finfo(dtype).eps
        )
        assert not wrong, "\n".join(wrong)


@everywhere
def test_score_averages_its_samples(coordinates: Parameterization) -> None:
    """S samples without baseline are the mean of S draws of one sample each."""
    at = place(coordinates)
    several = one(get("score", samples=3), at, KEY)

    class Renamed:
        """Answers the requests of sample 0 with the numbers of sample s."""

        def __init__(self, s: int) -> None:
            self.source, self.s = stream(KEY, dtype=torch.float64).source, s

        def __call__(self, request):  # type: ignore[no-untyped-def]
            return self.source(request._replace(path=("sample", self.s, *request.path[2:])))

    single = [get("score")(*at, Noise(Renamed(s))) for s in range(3)]
    mean = Gradient(
        torch.stack([g.value for g in single]).mean(),
        {n: torch.stack([g.gradients[n] for g in single]).mean(0) for n in several.gradients},
    )
    wrong = gaps(several, mean, 1e-12)
    assert not wrong, "\n".join(wrong)


def test_deterministic_has_no_scale_gradient() -> None:
    """Exactly zero in log σ² and log α: the scale takes no part."""
    for coordinates, role in ((MeanLogVariance(), "log_variance"), (ThetaLogAlpha(), "log_alpha")):
        gradient = one(get("deterministic"), place(coordinates), KEY)
        scales = [v for n, v in gradient.gradients.items() if n.endswith(role)]
        assert len(scales) == 3
        assert not any(bool(v.any()) for v in scales)


# Whether noise of different examples is independent


def covariance(estimator: Estimator) -> list[Comparison]:
    """Variance of a minibatch's gradient beside the sum of its examples' own, summed over each parameter.

    An example alone is a minibatch of one, scaled by N instead of N/M: its variance counts 1/M².
    """
    problem, parameters, batch = place(MeanLogVariance(), estimator=estimator)
    draws = 1500

    def deviations(part: Batch, key: Key) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
        state = state_of(estimator, problem, parameters)
        traced = trace(estimator, problem, parameters, part, state)
        keys = [KEY / "covariance" / key.path[0] / k for k in range(draws)]
        batches = oracles.repeat(part, draws)
        drawn = gradients(estimator, problem, parameters, batches, keys, traced, state).gradients
        found = {}
        for name, rows in drawn.items():
            centred = (rows - rows.mean(0)).flatten(1)
            found[name] = (centred.square().sum(1) * draws / (draws - 1)).numpy()
        return found

    whole = deviations(batch, Key(("all",)))
    alone = [deviations(Batch(*(t[m : m + 1] for t in batch)), Key((m,))) for m in range(BATCH)]
    comparisons = []
    for name, rows in whole.items():
        parts = [a[name] / BATCH**2 for a in alone]
        error = math.sqrt(sum(float(p.var(ddof=1)) for p in (rows, *parts)) / draws)
        truth = sum(float(p.mean()) for p in parts)
        what = f"{label(estimator)}, variance in {name}, sum over examples as truth"
        comparisons.append(Comparison(what, float(rows.mean()), error, truth, True))
    return comparisons


@pytest.mark.long
def test_independence_of_examples_is_as_declared() -> None:
    """Where it is declared no covariance between examples is left; naive sampling has it."""
    every = [*(get(name) for name in names()), *around(get("local"))]
    declared = [e for e in every if e.declaration.independent_examples]
    labels = {label(e) for e in declared}
    assert labels >= {
        "local",
        "per-example",
        "type-a",
        "reinforce",
        "disarm",
        "antithetic(local)",
        "samples(local, samples=3)",
        "latin-hypercube(local, samples=3)",
    }
    found = [c for estimator in declared for c in covariance(estimator)]
    wrong = oracles.alarms(found)
    assert not wrong, "\n".join(wrong)
    shared = covariance(get("naive"))
    assert len(oracles.alarms(shared)) >= 6, "\n".join(map(str, shared))
