"""Every built-in estimator beside a slow textbook twin: loops over examples and samples, gradients by hand.

Both take the same numbers from the same addresses, so they must agree draw by draw, in float64, to rounding.
"""

from __future__ import annotations

import mask_twins
import pytest
import torch
from everyone import fitting, prior
from oracles import COORDINATES, network
from twins import (
    BATCH,
    EXAMPLES,
    Given,
    Twin,
    agrees,
    deterministic,
    flipout,
    grouped,
    local,
    log_likelihood,
    mixed,
    naive,
    own,
    pathwise,
    per_example,
    product,
    type_a,
)
from twins_moments import covariant, matched, squares
from twins_perturbed import (
    activity_perturbation,
    evolution_strategies,
    forward_gradient,
    gradsq,
    price_hessian,
    quadratic,
    spsa,
)
from twins_score import fitted, measure_valued, score, score_local
from twins_wrapped import (
    anchored,
    antithetic,
    delta,
    ensemble,
    hvp,
    latin_hypercube,
    polynomial,
    samples,
    sobol,
    sticking,
)

from vdbench.estimation.draws import gather
from vdbench.estimation.options import get
from vdbench.estimation.registry import names
from vdbench.noise import Key
from vdbench.problems.gaussian import Parameterization

PILOT = {"pilot": 4}

DENSE = (lambda layer, x, weight: product(weight, x), log_likelihood)
"""How a layer and the likelihood are written out."""

TWINS: list[tuple[str, dict[str, object], Twin | Given]] = [
    ("deterministic", {}, pathwise(deterministic)),
    ("naive", {}, pathwise(naive)),
    ("per-example", {}, pathwise(per_example)),
    ("per-example", {"chunk": 2}, pathwise(per_example)),
    ("local", {}, pathwise(local)),
    (
        "fast-dropout",
        {},
        pathwise(local),
    ),  # the same on independent normal weights; else test_families.py
    ("grouped", {}, pathwise(grouped(4))),
    ("grouped", {"groups": 2}, pathwise(grouped(2))),
    ("grouped", {"groups": 9}, pathwise(grouped(9))),
    ("flipout", {}, pathwise(flipout(1))),
    ("flipout", {"perturbations": 3}, pathwise(flipout(3))),
    ("score", {}, score(1, False)),
    ("score", {"samples": 3}, score(3, False)),
    ("score", {"samples": 3, "baseline": "leave-one-out"}, score(3, True)),
    ("score", {"baseline": "moving-average", **PILOT}, fitted(1)),
    ("score", {"samples": 2, "baseline": "optimal", **PILOT}, fitted(2)),
    ("score-local", {}, score_local(1, False)),
    ("score-local", {"samples": 2, "baseline": "leave-one-out"}, score_local(2, True)),
    (
        "score-local",
        {"baseline": "optimal", **PILOT},
        Given(lambda state: score_local(1, False, state)),
    ),
    ("measure-valued", {}, measure_valued()),
    ("control-variate", {"of": "naive"}, hvp()),
    ("control-variate", {"of": get("score", samples=2), "kind": "delta"}, delta(2, False)),
    (
        "control-variate",
        {"of": get("score", samples=2, baseline="leave-one-out"), "kind": "delta"},
        delta(2, True),
    ),
    ("svrg", {"distance": 0.5}, anchored(pathwise(naive), pathwise(deterministic))),
    (
        "svrg",
        {"of": "local", "control": "stored", "draws": 2, "distance": 0.5},
        anchored(pathwise(local), pathwise(local)),
    ),
    (
        "joint-control-variate",
        {"distance": 0.5},
        anchored(pathwise(naive), polynomial(pathwise(deterministic), pathwise(naive), hvp())),
    ),
    ("samples", {"of": "local", "samples": 3}, samples(3, pathwise(local))),
    ("samples", {"of": get("score", samples=2), "samples": 2}, samples(2, score(2, False))),
    ("antithetic", {"of": "naive"}, antithetic(pathwise(naive))),
    ("antithetic", {"of": "per-example"}, antithetic(pathwise(per_example))),
    ("antithetic", {"of": "local"}, antithetic(pathwise(local))),
    (
        "antithetic",
        {"of": get("score", samples=3, baseline="leave-one-out")},
        antithetic(score(3, True)),
    ),
    (
        "samples",
        {"of": get("antithetic", of="local"), "samples": 2},
        samples(2, antithetic(pathwise(local))),
    ),
    ("type-a", {}, pathwise(type_a)),
    ("moment-matching", {}, matched(squares)),
    ("deterministic-vi", {"nodes": 3}, covariant(3)),
    ("latin-hypercube", {"of": "local", "samples": 3}, latin_hypercube(3, pathwise(local))),
    ("latin-hypercube", {"of": "flipout", "samples": 2}, latin_hypercube(2, pathwise(flipout(1)))),
    (
        "latin-hypercube",
        {"of": get("antithetic", of="naive"), "samples": 2},
        latin_hypercube(2, antithetic(pathwise(naive))),
    ),
    ("sobol", {"of": "naive", "samples": 4}, sobol(4, 21201, pathwise(naive))),
    ("sobol", {"of": "local", "samples": 4, "block": 9}, sobol(4, 9, pathwise(local))),
    ("sticking-the-landing", {}, sticking(pathwise(naive), lambda noise: [noise], True)),
    (
        "sticking-the-landing",
        {"drop_score": False},
        sticking(pathwise(naive), lambda noise: [noise], False),
    ),
    (
        "sticking-the-landing",
        {"of": "grouped"},
        sticking(pathwise(grouped(4)), lambda n: [n.at("group", g) for g in range(4)], True),
    ),
    (
        "sticking-the-landing",
        {"of": "per-example"},
        sticking(pathwise(per_example), lambda n: [own(n, m) for m in range(BATCH)], True),
    ),
    (
        "per-layer",
        {"0": "local", "2": "flipout", "default": "grouped"},
        pathwise(mixed({"0": local, "2": flipout(1)}, grouped(4))),
    ),
    ("per-layer", {"4": "local"}, pathwise(mixed({"4": local}, naive))),
    ("forward-gradient", {}, forward_gradient(1)),
    ("forward-gradient", {"directions": 3}, forward_gradient(3)),
    ("spsa", {}, spsa(0.01)),
    ("spsa", {"step": 0.7}, spsa(0.7)),
    ("evolution-strategies", {}, evolution_strategies(1, True, True)),
    (
        "evolution-strategies",
        {"samples": 2, "mirrored": False, "baseline": "none"},
        evolution_strategies(2, False, False),
    ),
    ("evolution-strategies", {"samples": 2, "rank": 2}, evolution_strategies(2, True, True, 2)),
    ("price-hessian", {}, price_hessian(1)),
    ("price-hessian", {"probes": 3}, price_hessian(3)),
    ("gradsq", {}, gradsq(False)),
    ("gradsq", {"squares": "examples"}, gradsq(True)),
    (
        "ensemble-control-variate",
        {"taylor": "control-variate", "local": "local", "pilot": 3},
        ensemble(pathwise(naive), pathwise(local), hvp()),
    ),
    ("quadratic-control-variate", {}, quadratic()),
    ("quadratic-control-variate", {"rank": 2, "pilot": 3}, quadratic()),
    ("activity-perturbation", {}, activity_perturbation(1, *DENSE)),
    (
        "activity-perturbation",
        {"of": "local", "directions": 2},
        activity_perturbation(2, *DENSE, local=True),
    ),
]


@pytest.mark.parametrize("coordinates", COORDINATES.values(), ids=COORDINATES)
@pytest.mark.parametrize(
    ("name", "options", "twin"), TWINS, ids=[f"{n}{tuple(o.values())}" for n, o, _ in TWINS]
)
def test_agrees_with_its_twin(
    name: str, options: dict[str, object], twin: Twin | Given, coordinates: Parameterization
) -> None:
    estimator = get(name, **options)
    problem, parameters = network(fitting(estimator, coordinates), EXAMPLES, prior(estimator))
    # what differs between draws does so in any coordinates
    for draw in range(3 if coordinates == COORDINATES["mean-log_variance"] else 1):
        batch = gather(problem, (torch.arange(BATCH) + draw).numpy())
        agrees(estimator, problem, parameters, batch, Key(("twin", draw)), twin)


def test_every_built_in_estimator_has_a_twin() -> None:
    built_in = {n for n in names() if type(get(n)).__module__.startswith("estimators.")}
    assert built_in == {name for name, _, _ in TWINS} | set(mask_twins.EXAMPLE)
