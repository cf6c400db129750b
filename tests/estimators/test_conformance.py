"""What must hold of every estimator in the registry, with every option set that matters."""

from __future__ import annotations

import math
import random
from typing import Any, Literal

import numpy as np
import oracles
import pytest
import torch
from agreement import gaps, same
from everyone import around, everyone, fitting, masked, prior
from oracles import COORDINATES, Comparison, network
from torch import Tensor

from estimators.antithetic import Antithetic
from estimators.control_variate import ControlVariate
from estimators.measure_valued import MeasureValued
from vdbench.estimation.base import Estimator, Gradient, Wrapper
from vdbench.estimation.draws import Trace, gather, gradients, inject, trace
from vdbench.estimation.options import get, label
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

each = pytest.mark.parametrize("estimator", ESTIMATORS, ids=label)
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


@each
@everywhere
def test_names_shapes_and_laws(estimator: Estimator, coordinates: Parameterization) -> None:
    at = place(coordinates, torch.float32, estimator)
    free = at[0].free(at[1])
    traced = trace(
        estimator, *at, state_of(estimator, *at[:2])
    )  # refuses other laws than the declared, and an address asked twice
    gradient = one(estimator, at, KEY)
    assert {n: (v.shape, v.dtype) for n, v in gradient.gradients.items()} == {
        n: (v.shape, v.dtype) for n, v in free.items()
    }
    assert gradient.value.shape == ()
    assert bool(traced.requests) == bool(estimator.declaration.laws)
    assert not any(v.requires_grad for v in gradient.gradients.values())


AWKWARD = {
    "sigma=1e-30": (MeanLogVariance(1e-30), 2 * math.log(1e-30)),
    "sigma=1e-5": (MeanLogVariance(1e-5), 2 * math.log(1e-5)),
    "log_variance=20": (MeanLogVariance(1.0), 20.0),
    "alpha=1e-8": (ThetaLogAlpha(1e-8), math.log(1e-8)),
    "alpha=1e4": (ThetaLogAlpha(1e4), math.log(1e4)),
    "logit=20": (LearnedBinary(), 20.0),
    "logit=-20": (LearnedBinary(), -20.0),
}
TINY = ("sigma=1e-30", "sigma=1e-5", "alpha=1e-8")


def awkward(
    point: str, dtype: torch.dtype, estimator: Estimator, zero: bool = False
) -> tuple[Problem, dict[str, Tensor], Batch]:
    """The network at an awkward point of q; with ``zero``, every input is 0 as well."""
    coordinates, value = AWKWARD[point]
    problem, parameters, batch = place(coordinates, dtype, estimator)
    for name, tensor in parameters.items():
        if name.endswith(("log_variance", "log_alpha", "logit")):
            tensor.fill_(value)
    inputs = torch.zeros_like(batch.inputs) if zero else batch.inputs
    return problem, parameters, Batch(inputs, batch.targets)


def points(estimator: Estimator) -> list[str]:
    """The awkward points of a posterior that it is valid for."""
    return [name for name, (form, *_) in AWKWARD.items() if form.learned_law == masked(estimator)]


@pytest.mark.parametrize("zero", [False, True], ids=["inputs", "zero-inputs"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("estimator", "point"),
    [
        pytest.param(estimator, point, id=f"{point}-{label(estimator)}")
        for estimator in ESTIMATORS
        for point in points(estimator)
    ],
)
def test_finite_at_awkward_points(
    estimator: Estimator, point: str, dtype: torch.dtype, zero: bool
) -> None:
    gradient = one(estimator, awkward(point, dtype, estimator, zero), KEY)
    broken = [n for n, v in gradient.gradients.items() if not bool(v.isfinite().all())]
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
    relative to the gradient.
    """
    if not isinstance(innermost(estimator), LikelihoodRatio | MeasureValued):
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


def comparable(estimator: Estimator, point: str) -> bool:
    """As σ → 0 costs that are subtracted from one another agree to all digits of float32: none are left.

    Every baseline but a distant one subtracts them, as do differences of costs, the Taylor polynomial of a cost, and
    an antithetic pair of score functions, which are odd in ε.
    """
    chain = [estimator]
    while isinstance(chain[-1], Wrapper):
        chain.append(chain[-1].of)
    inner = chain[-1]
    pair = isinstance(inner, LikelihoodRatio) and any(
        isinstance(e, Antithetic | ControlVariate) for e in chain
    )
    close = pair or isinstance(inner, MeasureValued) or getattr(inner, "baseline", "none") != "none"
    return point not in TINY or not close


@pytest.mark.parametrize(
    ("estimator", "point"),
    [
        pytest.param(estimator, point, id=f"{point}-{label(estimator)}")
        for estimator in ESTIMATORS
        for point in [*COORDINATES, *points(estimator)]
        if comparable(estimator, point)
    ],
)
def test_float32_follows_float64(estimator: Estimator, point: str) -> None:
    """On the same noise; at the awkward points too, where digits cancel in a careless formula."""
    known = point in AWKWARD
    wide = (
        awkward(point, torch.float64, estimator)
        if known
        else place(COORDINATES[point], estimator=estimator)
    )
    problem, parameters, batch = wide
    state = state_of(estimator, *wide[:2])
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
    wrong = gaps(narrow, exact, 2e-4, rounding(estimator, *wide[:2], float(exact.value)))
    assert not wrong, "\n".join(wrong)


def noise(requests: tuple, draws: int) -> dict:  # type: ignore[type-arg]
    keys = [KEY / "injected" / k for k in range(draws)]
    return inject(requests, keys, torch.device("cpu"), torch.float64)


@each
def test_a_draw_belongs_to_its_key(estimator: Estimator) -> None:
    """The same key gives the same bits, whatever was drawn in between, and another key other numbers."""
    at = place(MeanLogVariance(), estimator=estimator)
    first = one(estimator, at, KEY)
    kept = Gradient(first.value.clone(), {n: v.clone() for n, v in first.gradients.items()})
    others = [one(estimator, at, KEY / k) for k in range(4)]
    assert same(first, kept), "a later draw wrote over an earlier one"
    assert same(one(estimator, at, KEY), first)
    assert not estimator.declaration.laws or not any(same(first, g) for g in others)


@each
def test_leaves_the_global_generators_alone(estimator: Estimator) -> None:
    at = place(MeanLogVariance(), estimator=estimator)
    found = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
            found.append(one(estimator, at, KEY))
            assert bool((torch.get_rng_state() == before[0]).all())
            assert (np.random.get_state()[1] == before[1]).all()
            assert random.getstate() == before[2]
    assert same(*found)


@each
@everywhere
def test_mutates_nothing(estimator: Estimator, coordinates: Parameterization) -> None:
    problem, parameters, batch = place(coordinates, estimator=estimator)
    before = {n: v.clone() for n, v in parameters.items()}
    data = [t.clone() for t in batch]
    one(estimator, (problem, parameters, batch), KEY)
    assert list(parameters) == list(before)
    assert all(bool((v == before[n]).all()) for n, v in parameters.items())
    assert all(bool((a == b).all()) for a, b in zip(batch, data, strict=True))
    assert not any(v.requires_grad or v.grad is not None for v in parameters.values())


@pytest.mark.parametrize(
    ("estimator", "coordinates"),
    [
        pytest.param(estimator, coordinates, id=f"{name}-{label(estimator)}")
        for estimator in ESTIMATORS
        for name, coordinates in COORDINATES.items()
        if name == "mean-log_variance" or estimator == type(estimator)()
    ],
)
def test_vectorised_draws_are_the_looped_ones(
    estimator: Estimator, coordinates: Parameterization
) -> None:
    problem, parameters, batch = place(coordinates, estimator=estimator)
    rows = np.stack([(np.arange(BATCH) + k) % EXAMPLES for k in range(5)])
    batches, keys = gather(problem, rows), [KEY / k for k in range(5)]
    state = state_of(estimator, problem, parameters)
    requests = trace(estimator, problem, parameters, batch, state).requests

    def draws(together: int) -> Gradient:
        traced = Trace(requests, together)
        return gradients(estimator, problem, parameters, batches, keys, traced, state)

    looped = draws(0)
    parts = draws(3)  # the last part is smaller
    for drawn in (draws(5), parts):
        wrong = gaps(drawn, looped, 1e-10)
        assert not wrong, "\n".join(wrong)
    assert same(draws(3), parts)
    alone = one(estimator, (problem, parameters, Batch(*(t[4] for t in batches))), keys[4])
    assert same(alone, Gradient(looped.value[4], {n: v[4] for n, v in looped.gradients.items()}))


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
