"""Every estimator that must conform: taken from the registry, with the option sets that matter.

A wrapper is there around every other estimator that it does not refuse, and around the other wrappers. An estimator
made for learned binary masks is run on a network with those wherever the others are run on one with normal weights.
"""

from __future__ import annotations

from typing import Any

from vdbench.errors import InputError
from vdbench.estimator import LEARNED_BINARY, Estimator, Wrapper
from vdbench.posteriors import LearnedBinary, Parameterization, ThetaLogAlpha
from vdbench.registry import find, get, names

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "per-example": [{"chunk": 3}],
    "flipout": [{"perturbations": 2}],
    "score": [{"samples": 3}, {"samples": 2, "baseline": "leave-one-out"}],
    "samples": [{"samples": 3}],
    "rloo": [{"samples": 3}],
    "rebar": [{"temperature": 0.2, "eta": 0.7}],
    "concrete": [{"temperature": 0.2}],
}

WRAPPERS = [name for name in names() if issubclass(find(name), Wrapper)]


def plain() -> list[Estimator]:
    """All that wrap nothing, each with its default options and its option sets."""
    return [
        get(name, **options)
        for name in names()
        if name not in WRAPPERS
        for options in [{}, *OPTIONS.get(name, [])]
    ]


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


def everyone() -> list[Estimator]:
    """All of them, each once."""
    inner = [*plain(), *around(get("local"))]
    found = [*plain(), *(get(name) for name in WRAPPERS), *(w for e in inner for w in around(e))]
    return list(dict.fromkeys(found))


def masked(estimator: Estimator) -> bool:
    """Whether it is made for learned binary masks."""
    return estimator.declaration.posteriors == LEARNED_BINARY


def suited(estimator: Estimator, coordinates: Parameterization) -> Parameterization:
    """These coordinates; for an estimator of learned masks such masks, in one of the two forms that there are."""
    if not masked(estimator):
        return coordinates
    return LearnedBinary(0.6, per="layer" if isinstance(coordinates, ThetaLogAlpha) else "input")
