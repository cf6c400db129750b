"""What an estimator returns, checked: names, shapes, types, and memory that nothing else is written to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from vdbench.errors import CellError
from vdbench.estimation.base import Gradient


def check(name: str, gradient: Gradient, free: Mapping[str, Tensor]) -> None:
    """See that a gradient is one of the free parameters.

    Args:
        name: Of the estimator.
        gradient: As it was returned.
        free: The free parameters by name.

    Raises:
        CellError: It is not; one sentence says what is wrong.
    """
    if not isinstance(gradient, tuple) or len(gradient) != 2:
        raise CellError(f"estimator '{name}' must return a vdbench.Gradient(value, gradients).")
    value, gradients = gradient
    if not isinstance(gradients, Mapping) or set(gradients) != set(free):
        odd = sorted(map(str, set(gradients) ^ set(free))) if isinstance(gradients, Mapping) else []
        raise CellError(
            f"estimator '{name}' must return one gradient for each free parameter; "
            f"missing or superfluous: {', '.join(odd)}."
        )
    for key, parameter in free.items():
        _check_one(name, key, gradients[key], parameter)
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise CellError(f"estimator '{name}' must return a scalar value.")
    if not value.is_floating_point():
        raise CellError(
            f"estimator '{name}' returns a value of type {value.dtype}; expected a floating-point number."
        )
    shared = overlap(list(gradients.items()))
    if shared:
        raise CellError(
            f"estimator '{name}' returns gradients of '{shared[0]}' and '{shared[1]}' that share memory, so that one "
            "overwrites the other; expected tensors of their own (clone them)."
        )


def _check_one(name: str, key: str, found: object, parameter: Tensor) -> None:
    if not isinstance(found, Tensor):
        raise CellError(
            f"estimator '{name}' returns {type(found).__name__} as the gradient for '{key}'; expected a tensor."
        )
    if found.shape != parameter.shape:
        raise CellError(
            f"estimator '{name}' returns a gradient of shape {tuple(found.shape)} "
            f"for '{key}', which has shape {tuple(parameter.shape)}."
        )
    if found.dtype != parameter.dtype or found.layout != parameter.layout:
        kind = found.dtype if found.dtype != parameter.dtype else found.layout
        own = parameter.dtype if found.dtype != parameter.dtype else parameter.layout
        raise CellError(
            f"estimator '{name}' returns a gradient of type {kind} for '{key}', which has type {own}."
        )
    if found.device != parameter.device:
        raise CellError(
            f"estimator '{name}' returns a gradient on {found.device} for '{key}', which is on {parameter.device}."
        )


def overlap(named: Sequence[tuple[str, Tensor]]) -> tuple[str, str] | None:
    """Two tensors that have memory in common, by name; None where there are none."""
    spans = sorted((*_span(value), key) for key, value in named if _has_memory(value))
    for (_, end, one), (start, _, other) in itertools.pairwise(spans):
        if start < end:
            return one, other
    return None


def _has_memory(value: Tensor) -> bool:
    """Whether a tensor holds numbers; one that is traced holds none."""
    return bool(value.numel()) and not is_fake(value)


def _span(value: Tensor) -> tuple[int, int]:
    """First and one past the last byte that a tensor reaches."""
    reach = sum((size - 1) * step for size, step in zip(value.shape, value.stride(), strict=True))
    start = value.data_ptr()
    return start, start + (reach + 1) * value.element_size()


class Kept:
    """Draws taken one by one, copied as they come: what is returned may be written to again later.

    Attributes:
        copies: Those so far.
    """

    def __init__(self, name: str, free: Mapping[str, Tensor]) -> None:
        """Begin with none; arguments as of `check`."""
        self._name, self._free = name, free
        self.copies: list[Gradient] = []
        self._last: Gradient | None = None

    def add(self, gradient: Gradient) -> None:
        """Check and copy one.

        Raises:
            CellError: It is not valid; or it was written over the one before.
        """
        check(self._name, gradient, self._free)
        if self._last is not None:
            for key, value in self._last.gradients.items():
                if (
                    _has_memory(value)
                    and value.data_ptr() == gradient.gradients[key].data_ptr()
                    and not _equal(value, self.copies[-1].gradients[key])
                ):
                    raise CellError(
                        f"estimator '{self._name}' writes its gradient for '{key}' over that of the call before; "
                        "expected new tensors from each call."
                    )
        self._last = gradient
        self.copies.append(
            Gradient(gradient.value.clone(), {k: v.clone() for k, v in gradient.gradients.items()})
        )

    def stacked(self) -> Gradient:
        """Values (K,) and gradients (K, …) by parameter."""
        return Gradient(
            torch.stack([g.value.reshape(()) for g in self.copies]),
            {n: torch.stack([g.gradients[n] for g in self.copies]) for n in self._free},
        )


def _equal(a: Tensor, b: Tensor) -> bool:
    return bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
