"""Every estimator that must conform: taken from the registry, with the option sets that matter.

A wrapper is there around every other estimator that it does not refuse, and around the other wrappers.
"""

from __future__ import annotations

from typing import Any

from vdbench.errors import InputError
from vdbench.estimator import Estimator, Wrapper
from vdbench.registry import find, get, names

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
    "control-variate": [
        {},
        {"curvature": "sampled", "coefficient": "fitted", "pilot": 2},
        {"kind": "delta"},
    ],
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
