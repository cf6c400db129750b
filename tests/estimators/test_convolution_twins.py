"""Every built-in estimator on a network with convolutions beside a slow textbook twin, draw by draw in float64."""

from __future__ import annotations

from typing import Any

import mask_twins
import pytest
import torch
from agreement import gaps, same
from convolution_twins import (
    LAYERS,
    deterministic,
    flipout,
    grouped,
    linear,
    local,
    log_likelihood,
    moment_matching,
    naive,
    network,
    pathwise,
    per_example,
    score,
    type_a,
    whole,
)
from everyone import DENSE_ALONE, everyone, fitting, prior, rare
from oracles import COORDINATES
from twins import BATCH, EXAMPLES, Given, Twin, agrees, mixed
from twins_perturbed import (
    activity_perturbation,
    evolution_strategies,
    forward_gradient,
    gradsq,
    price_hessian,
    quadratic,
    spsa,
)
from twins_score import measure_valued, score_local
from twins_wrapped import (
    anchored,
    antithetic,
    ensemble,
    hvp,
    latin_hypercube,
    polynomial,
    samples,
    sobol,
    sticking,
)

from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.draws import Trace, gather, gradients, trace
from vdbench.estimation.options import get, label
from vdbench.estimation.registry import names
from vdbench.noise import Key, stream
from vdbench.problems.gaussian import Parameterization
from vdbench.problems.problem import Batch

LOCAL: dict[str, Any] = {"linear": linear, "likelihood": log_likelihood}

TWINS: list[tuple[str, dict[str, object], Twin | Given]] = [
    ("deterministic", {}, pathwise(deterministic)),
    ("naive", {}, pathwise(naive)),
    ("per-example", {}, pathwise(per_example)),
    ("per-example", {"chunk": 2}, pathwise(per_example)),
    ("grouped", {}, pathwise(grouped)),
    ("local", {}, pathwise(local)),
    ("fast-dropout", {}, pathwise(local)),  # one formula where the weights are independent
    ("flipout", {}, pathwise(flipout(1))),
    ("flipout", {"perturbations": 3}, pathwise(flipout(3))),
    ("score", {"samples": 2}, score(2, False)),
    ("score", {"samples": 2, "baseline": "leave-one-out"}, score(2, True)),
    (
        "score-local",
        {"samples": 2, "baseline": "leave-one-out"},
        score_local(2, True, **LOCAL),
    ),
    ("measure-valued", {}, measure_valued(whole)),
    ("control-variate", {"of": "naive"}, hvp(whole, pathwise(naive))),
    ("svrg", {"distance": 0.5}, anchored(pathwise(naive), pathwise(deterministic))),
    (
        "joint-control-variate",
        {"distance": 0.5},
        anchored(
            pathwise(naive),
            polynomial(pathwise(deterministic), pathwise(naive), hvp(whole, pathwise(naive))),
        ),
    ),
    ("samples", {"of": "per-example", "samples": 2}, samples(2, pathwise(per_example))),
    ("antithetic", {"of": "local"}, antithetic(pathwise(local))),
    ("type-a", {}, pathwise(type_a)),
    ("moment-matching", {}, moment_matching),
    ("latin-hypercube", {"samples": 3}, latin_hypercube(3, pathwise(naive))),
    ("sobol", {"of": "local", "samples": 4, "block": 40}, sobol(4, 40, pathwise(local))),
    ("sticking-the-landing", {}, sticking(pathwise(naive), lambda noise: [noise], True, LAYERS)),
    (
        "per-layer",
        {"5": "local", "2": "flipout"},
        pathwise(mixed({"5": local, "2": flipout(1)}, naive)),
    ),
    ("forward-gradient", {"directions": 2}, forward_gradient(2, whole)),
    ("spsa", {}, spsa(0.01, whole)),
    ("evolution-strategies", {"rank": 2}, evolution_strategies(1, True, True, 2, whole)),
    ("price-hessian", {}, price_hessian(1, whole)),
    ("gradsq", {"squares": "examples"}, gradsq(True, whole)),
    (
        "ensemble-control-variate",
        {"taylor": "control-variate", "flipout": "flipout", "pilot": 3},
        ensemble(pathwise(naive), pathwise(flipout(1)), hvp(whole, pathwise(naive))),
    ),
    ("quadratic-control-variate", {"rank": 2, "pilot": 3}, quadratic(whole)),
    ("activity-perturbation", {}, activity_perturbation(1, linear, log_likelihood)),
]


@pytest.mark.parametrize(
    "coordinates",
    [
        # a posterior knows nothing of layers' kinds: test_twins.py has all coordinates
        pytest.param(form, id=name, marks=() if name == "mean-log_variance" else pytest.mark.long)
        for name, form in COORDINATES.items()
    ],
)
@pytest.mark.parametrize(
    ("name", "options", "twin"), TWINS, ids=[f"{n}{tuple(o.values())}" for n, o, _ in TWINS]
)
def test_agrees_with_its_twin(
    name: str, options: dict[str, object], twin: Twin | Given, coordinates: Parameterization
) -> None:
    estimator = get(name, **options)
    problem, parameters = network(fitting(estimator, coordinates), prior(estimator))
    batch = gather(problem, torch.arange(BATCH).numpy())
    agrees(estimator, problem, parameters, batch, Key(("twin", "convolution")), twin)


def test_every_built_in_estimator_has_a_twin() -> None:
    built_in = {n for n in names() if type(get(n)).__module__.startswith("estimators.")}
    assert built_in == {name for name, _, _ in TWINS} | set(mask_twins.EXAMPLE) | set(DENSE_ALONE)


FORMS = [
    pytest.param(
        estimator,
        form,
        id=f"{name}-{label(estimator)}",
        marks=pytest.mark.long if rare(estimator) else (),
    )
    for estimator in everyone()
    if estimator.declaration.name not in DENSE_ALONE
    for name, form in COORDINATES.items()
    if name == "mean-log_variance" or estimator == type(estimator)()
]


@pytest.mark.parametrize(("estimator", "form"), FORMS)
def test_vectorised_draws_are_the_looped_ones(estimator: Estimator, form: Parameterization) -> None:
    """Of several minibatches, the last part smaller; a looped draw is the draw alone, bit by bit."""
    problem, parameters = network(fitting(estimator, form), prior(estimator))
    rows = (torch.arange(BATCH)[None] + torch.arange(5)[:, None]).numpy() % EXAMPLES
    batches, keys = gather(problem, rows), [Key(("convolution", k)) for k in range(5)]
    state = estimator.fit(problem, parameters, Key(("fit",)))
    requests = trace(estimator, problem, parameters, gather(problem, rows[0]), state).requests
    looped, together = (
        gradients(estimator, problem, parameters, batches, keys, Trace(requests, count), state)
        for count in (0, 3)
    )
    wrong = gaps(together, looped, 1e-10)
    assert not wrong, "\n".join(wrong)
    last = Batch(*(t[4] for t in batches))
    alone = estimator(problem, parameters, last, stream(keys[4], dtype=torch.float64), state)
    assert same(alone, Gradient(looped.value[4], {n: v[4] for n, v in looped.gradients.items()}))
