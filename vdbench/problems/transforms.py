"""How a layer's own parameter gives the standard deviation of its weights: named transforms, each with its inverse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vdbench.errors import InputError, nearest

Map = Callable[[Tensor, Tensor], Tensor]
"""Of a parameter (or σ) and the mean, both of the weights' shape."""

PROBES = (1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0)
"""Standard deviations at which a transform is tried."""


@dataclass(frozen=True)
class Transform:
    """σ = forward(p, μ) and p = inverse(σ, μ).

    Attributes:
        name: What it is called.
        forward: Standard deviation from the layer's parameter.
        inverse: The layer's parameter from a positive standard deviation; differentiable.
    """

    name: str
    forward: Map
    inverse: Map


def softplus_inverse(scale: Tensor) -> Tensor:
    """Log(e^σ − 1), written so that it neither overflows nor cancels: σ + log(1 − e^−σ)."""
    return scale + torch.log(-torch.expm1(-scale))


def _softplus(p: Tensor) -> Tensor:
    return torch.nn.functional.softplus(p)


def _above_zero(variance: Tensor) -> Tensor:
    """A variance that is 0 in its type is set to the smallest number of it: a layer's own never is 0."""
    return variance.clamp(min=torch.finfo(variance.dtype).tiny)


def _size(mean: Tensor) -> Tensor:
    """|μ|, kept off 0, where α = σ²/μ² has no value."""
    return mean.abs().clamp(min=torch.finfo(mean.dtype).tiny)


TRANSFORMS = {
    t.name: t
    for t in (
        Transform("identity", lambda p, _: p, lambda s, _: s),
        Transform("exp", lambda p, _: p.exp(), lambda s, _: s.log()),
        Transform("exp-half", lambda p, _: (0.5 * p).exp(), lambda s, _: 2 * s.log()),
        Transform("softplus", lambda p, _: _softplus(p), lambda s, _: softplus_inverse(s)),
        Transform("sqrt", lambda p, _: p.sqrt(), lambda s, _: _above_zero(s.square())),
        Transform("square", lambda p, _: p.square(), lambda s, _: s.sqrt()),
        Transform(
            "sqrt-softplus",
            lambda p, _: _softplus(p).sqrt(),
            lambda s, _: softplus_inverse(s.square()),
        ),
        Transform(
            "log-alpha",
            lambda p, mean: (0.5 * p).exp() * mean.abs(),
            lambda s, mean: 2 * (s.log() - _size(mean).log()),
        ),
    )
}
"""σ from a parameter p: ``identity`` p, ``exp`` e^p, ``exp-half`` e^(p/2) (p is the log-variance), ``softplus``
log(1 + e^p), ``sqrt`` √p (p is the variance), ``square`` p², ``sqrt-softplus`` √log(1 + e^p), ``log-alpha``
e^(p/2)·|μ| (p is log σ²/μ²)."""


def find(where: str, given: Any) -> Transform:
    """The transform meant by a name or a pair of functions, tried at a few standard deviations.

    Args:
        where: What it is for, for messages.
        given: A name of `TRANSFORMS`, or ``(forward, inverse)`` of one tensor each: σ from the layer's parameter, and
            that parameter from σ.

    Raises:
        InputError: There is no such name, it is no pair, or the two are not inverse to one another.
    """
    if isinstance(given, str):
        if given not in TRANSFORMS:
            raise InputError(
                f"{where}: there is no transform '{given}'.{nearest(given, TRANSFORMS)}"
            )
        return TRANSFORMS[given]
    if not (isinstance(given, tuple) and len(given) == 2 and all(map(callable, given))):
        raise InputError(
            f"{where}: expected a transform's name, such as 'softplus', or a pair of functions (forward, inverse), "
            f"not {given!r}."
        )
    forward, inverse = given
    made = Transform("(forward, inverse)", lambda p, _: forward(p), lambda s, _: inverse(s))
    _try(where, made)
    return made


def _try(where: str, transform: Transform) -> None:
    """Go there and back; where it does not hold, nothing measured through it would mean anything."""
    scale = torch.tensor(PROBES, dtype=torch.float64)
    mean = torch.ones_like(scale)
    try:
        back = transform.forward(transform.inverse(scale, mean), mean)
        wrong = ~torch.isclose(back, scale, rtol=1e-9, atol=0.0)
    except Exception as error:
        raise InputError(f"{where}: the pair fails with {type(error).__name__}: {error}") from error
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise InputError(
            f"{where}: the pair does not hold there and back: forward(inverse({PROBES[at]:g})) is "
            f"{float(back[at]):.6g}; expected {PROBES[at]:g}."
        )
