"""Priors of third-party layers that are no normal distribution around 0: by name, or by their log-density."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vdbench.errors import InputError

LogDensity = Callable[[Tensor], Tensor]
"""Of weights, the log-density of each."""

EXPECTED = (
    'expected ("scale-mixture", pi, sigma1, sigma2) or the log-density, a function of a tensor'
)


def scale_mixture(pi: float, sigma1: float, sigma2: float) -> LogDensity:
    """Log of π·N(w; 0, σ₁²) + (1 − π)·N(w; 0, σ₂²).

    Source: Blundell, Cornebise, Kavukcuoglu & Wierstra 2015, equation 7.
    """

    def one(w: Tensor, sigma: float) -> Tensor:
        return -(w / sigma).square() / 2 - math.log(sigma) - math.log(2 * math.pi) / 2

    def log_density(w: Tensor) -> Tensor:
        return torch.logaddexp(math.log(pi) + one(w, sigma1), math.log1p(-pi) + one(w, sigma2))

    return log_density


def find_prior(where: str, given: Any) -> LogDensity | None:
    """The log-density that is meant by a name with its options, or by a function; None for none.

    Args:
        where: What it is for, for messages.
        given: As `vdbench.register_layer` takes it.

    Raises:
        InputError: It is neither, or its numbers are not valid.
    """
    if given is None:
        return None
    if isinstance(given, tuple) and len(given) == 4 and given[0] == "scale-mixture":
        return _mixture(where, *given[1:])
    if not callable(given):
        raise InputError(f"{where}: {EXPECTED}, not {given!r}.")
    _try(where, given)
    own: LogDensity = given
    return own


def _mixture(where: str, pi: Any, *sigmas: Any) -> LogDensity:
    numbers = all(isinstance(x, int | float) for x in (pi, *sigmas))
    if not numbers or not 0 < pi < 1 or not all(0 < s < math.inf for s in sigmas):
        raise InputError(
            f"{where}: scale-mixture has pi {pi!r} and standard deviations {sigmas!r}, expected 0 < pi < 1 and two "
            "positive numbers."
        )
    return scale_mixture(float(pi), float(sigmas[0]), float(sigmas[1]))


def _try(where: str, log_density: LogDensity) -> None:
    w = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
    try:
        found = log_density(w)
    except Exception as error:
        raise InputError(f"{where}: it fails with {type(error).__name__}: {error}") from error
    if not isinstance(found, Tensor) or found.shape != w.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            f"{where}: of weights of shape (4, 2) it gives {shape}, expected the log-density of each, of shape (4, 2)."
        )
