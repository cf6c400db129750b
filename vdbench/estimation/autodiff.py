"""Value and gradient of a function of named tensors, alone or inside a vectorised call.

`torch.func.grad` composes with `torch.func.vmap` and costs some 0.3 ms of Python a call, which is more than a small
network's arithmetic; `torch.autograd.grad` is quick and cannot be vectorised. A gradient taken alone, as a
training step takes it, uses the second; `vectorising` switches to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.func import grad_and_value

_inside_vmap: ContextVar[bool] = ContextVar("inside_vmap", default=False)

Objective = Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]
"""Of the free parameters: the scalar to be differentiated, and the scalar to be reported."""


@contextmanager
def vectorising() -> Iterator[None]:
    """Within, gradients are taken so that `torch.func.vmap` can vectorise them."""
    token = _inside_vmap.set(True)
    try:
        yield
    finally:
        _inside_vmap.reset(token)


def inside_vmap() -> bool:
    """Whether this call is one of several that `torch.func.vmap` takes together."""
    return _inside_vmap.get()


def seen_positive(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are above 0; False where they cannot be looked at, or a GPU would be waited for.

    They cannot where the tensor is traced or vectorised.
    """
    plain = type(tensor) is Tensor and tensor.device.type == "cpu"
    if not plain or _inside_vmap.get() or torch.compiler.is_compiling():
        return False
    try:
        return float(tensor.detach().min()) > 0
    except RuntimeError:  # inside another vmap
        return False


def differentiate(
    objective: Objective, at: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Value and gradient of an objective, alone or inside a vectorised call.

    Args:
        objective: Of tensors by name: the scalar that is differentiated, and the scalar that is reported.
        at: Where, each tensor of its own shape.

    Returns:
        The reported value, and the gradient of the objective by name, each of its tensor's shape; zeros where the
        objective does not depend on a tensor.

    Example:
        >>> import torch
        >>> import vdbench
        >>> def objective(at):
        ...     value = at["w"].square().sum()
        ...     return value, value
        >>> value, gradient = vdbench.differentiate(objective, {"w": torch.tensor([1.0, 2.0])})
        >>> float(value), gradient["w"].tolist()
        (5.0, [2.0, 4.0])
    """
    if _inside_vmap.get():
        gradients, (_, value) = grad_and_value(objective, has_aux=True)(dict(at))
        return value, gradients
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        target, value = objective(leaves)
    if not target.requires_grad:  # it depends on none of them
        return value.detach(), {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(target, list(leaves.values()), materialize_grads=True)
    return value.detach(), _own(dict(zip(leaves, found, strict=True)))


def differentiate_sum(
    values: Callable[[dict[str, Tensor]], Tensor], at: Mapping[str, Tensor], factor: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Value and gradient of factor · Σ values, as of `differentiate`; sum and factor are not differentiated through.

    Args:
        values: Of tensors by name: what is summed, such as the log-likelihoods of M examples, (M,).
        at: Where.
        factor: What the sum is multiplied by.
    """
    if _inside_vmap.get():

        def objective(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            total = factor * values(free).sum()
            return total, total

        return differentiate(objective, at)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        found = values(leaves)
    value = factor * found.detach().sum()
    if not found.requires_grad:
        return value, {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    slopes = torch.autograd.grad(
        found,
        list(leaves.values()),
        torch.full_like(found, factor, requires_grad=False),
        materialize_grads=True,
    )
    return value, _own(dict(zip(leaves, slopes, strict=True)))


def _own(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients in memory of their own: autograd gives one tensor twice where two are equal."""
    seen: set[int] = set()
    for name, value in gradients.items():
        # the pointer of a traced tensor may not be asked for, and an object for its storage takes its time to make
        where = value.data_ptr() if type(value) is Tensor else value.untyped_storage()._cdata
        if where in seen or 0 in value.stride():
            gradients[name] = value.clone()
        seen.add(where)
    return gradients
