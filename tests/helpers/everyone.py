"""Every estimator that must conform: taken from the registry, with the option sets that matter.

A wrapper is there around every other estimator that it does not refuse, and around the other wrappers. An estimator
made for learned binary masks is run on a network with those wherever the others are run on one with normal weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from vdbench.errors import InputError
from vdbench.estimation.base import LEARNED_BINARY, Estimator, Wrapper
from vdbench.estimation.options import get
from vdbench.estimation.registry import find, names
from vdbench.problems.dropout import LearnedBinary
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import NoPrior, Prior

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "per-example": [{"chunk": 3}],
    "flipout": [{"perturbations": 2}],
    "score": [
        {"samples": 3},
        {"samples": 2, "baseline": "leave-one-out"},
        {"baseline": "moving-average", "pilot": 4},
        {"samples": 2, "baseline": "optimal", "pilot": 4},
    ],
    "score-local": [
        {"samples": 2, "baseline": "leave-one-out"},
        {"baseline": "optimal", "pilot": 16},
    ],
    "samples": [{"samples": 3}],
    "latin-hypercube": [{"samples": 3}],
    "sobol": [{"samples": 4, "block": 10}],
    "sticking-the-landing": [{"drop_score": False}],
    "control-variate": [{}, {"kind": "delta"}],
    "rloo": [{"samples": 3}],
    "rebar": [{"temperature": 0.2, "eta": 0.7}, {"eta": "fitted", "pilot": 3}],
    "reinforce": [{"baseline": "moving-average", "pilot": 3}],
    "deterministic-vi": [{"nodes": 3}],
    "relax": [{"hidden": 2, "steps": 3}],
    "arms": [{"samples": 2}],
    "rodeo": [{"samples": 3, "pilot": 2}],
    "sum-and-sample": [{"masks": 1}],
    "double-control-variate": [{"samples": 3}],
    "straight-through-gumbel": [{"slopes": 3}],
    "concrete": [{"temperature": 0.2}],
    "per-layer": [{"0": "local", "2": "flipout", "default": "grouped"}],
    "forward-gradient": [{"directions": 2}],
    "evolution-strategies": [{"samples": 2, "mirrored": False, "baseline": "none"}, {"rank": 2}],
    "price-hessian": [{"probes": 2}],
    "gradsq": [{"squares": "examples"}],
    "ensemble-control-variate": [
        {"of": "rloo", "arm": "arm", "pilot": 3},
        {"shared": "svrg", "pilot": 3},
    ],
    "quadratic-control-variate": [{"rank": 2, "pilot": 3}],
}

DENSE_ALONE = ("deterministic-vi",)
"""Estimators that refuse every network that is not of dense layers."""

DEAR = ("ensemble-control-variate", "quadratic-control-variate")
"""Estimators whose fits take long by default: with their defaults the twins alone have them."""

ALONE: list[tuple[str, dict[str, Any]]] = [
    ("control-variate", {"curvature": "sampled", "coefficient": "fitted", "pilot": 1}),
    ("control-variate", {"of": "score", "kind": "delta", "curvature": "sampled"}),
    ("svrg", {"control": "fixed", "pairs": 2, "distance": 0.5}),
    ("svrg", {"of": "local", "control": "stored", "draws": 2}),
    ("joint-control-variate", {"curvature": "exact"}),
]
"""Wrappers with options that are too dear to be tried around everything."""

WRAPPERS = [name for name in names() if issubclass(find(name), Wrapper)]


def first(name: str) -> Estimator:
    """An estimator by its defaults, or with its first option set where these are dear."""
    return get(name, **OPTIONS[name][0]) if name in DEAR else get(name)


def plain() -> list[Estimator]:
    """All that wrap nothing, each with its default options, unless these are dear, and its option sets."""
    found = [
        one
        for name in names()
        if name not in WRAPPERS
        for one in (first(name), *(get(name, **options) for options in OPTIONS.get(name, [])))
    ]
    return list(dict.fromkeys(found))


def around(inner: Estimator) -> list[Estimator]:
    """Every wrapper that does not refuse it, around it."""
    found = []
    for name in WRAPPERS:
        for options in OPTIONS.get(name, [{}]):
            try:
                found.append(get(name, of=inner, **options))
            except InputError:
                continue
    return found


def fitting(estimator: Estimator, form: Parameterization) -> Parameterization:
    """These coordinates, or those of the posterior that an estimator needs which are nearest to them."""
    if masked(estimator):
        return LearnedBinary(0.6, per="layer" if isinstance(form, ThetaLogAlpha) else "input")
    if estimator.declaration.posteriors != "row-shared":
        return form
    if isinstance(form, MeanLogVariance):
        return ThetaLogAlpha(form.sigma**2, per="input", sharing="inputs")
    assert isinstance(form, ThetaLogAlpha)
    return replace(form, per="layer", sharing="inputs")


def prior(estimator: Estimator) -> Prior | None:
    """The default, unless the posterior that an estimator needs has no divergence from it."""
    return NoPrior() if estimator.declaration.posteriors in ("row-shared", LEARNED_BINARY) else None


def everyone() -> list[Estimator]:
    """All of them, each once; wrappers around each as it is by default, and around wrappers of one."""
    inner = [*(e for e in plain() if e == first(e.declaration.name)), *around(get("local"))]
    alone = [*(get(name) for name in WRAPPERS), *(get(name, **o) for name, o in ALONE)]
    found = [*plain(), *alone, *(w for e in inner for w in around(e))]
    return list(dict.fromkeys(found))


TYPICAL = ("local", "naive", "score", "rloo", "concrete")
"""What wrappers are tried around by ``make test``: pathwise, by the cost's values, and on learned masks."""


def wrapped(estimator: Estimator) -> Estimator | None:
    """What a wrapper is made of; none for an estimator that wraps nothing."""
    return estimator.of if isinstance(estimator, Wrapper) else None


def rare(estimator: Estimator) -> bool:
    """Whether it is one of the many combinations that ``make long`` has alone.

    A wrapper around another wrapper, around one that is not typical, or fitted with options of its own.
    """
    inner = wrapped(estimator)
    if inner is None or estimator == type(estimator)():
        return False
    name = inner.declaration.name
    if not estimator.declaration.unbiased_given_minibatch and name not in ("naive", "local"):
        return True  # what is done at an anchor is the same around all
    return inner != type(inner)() or name not in TYPICAL or fitted(estimator)


def fitted(estimator: Estimator) -> bool:
    """Whether it is a control variate, whose fits take seconds."""
    return estimator.declaration.name == "control-variate"


def marked(estimators: Iterable[Estimator]) -> list[Any]:
    """Parameters for pytest, the rare ones left to ``make long``."""
    return [pytest.param(e, marks=pytest.mark.long if rare(e) else ()) for e in estimators]


def masked(estimator: Estimator) -> bool:
    """Whether it is made for learned binary masks."""
    return estimator.declaration.posteriors == LEARNED_BINARY
