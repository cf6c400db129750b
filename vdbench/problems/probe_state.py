"""Whether a forward pass depends on more than its inputs and parameters: random numbers, memory, tensors elsewhere."""

from __future__ import annotations

import random
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from vdbench.errors import InputError
from vdbench.problems.probe import Asked, hint, reason, same


def noisy_hint(module: nn.Module) -> str:
    """The first dropout layer in training mode, in brackets, or nothing."""
    for path, part in module.named_modules():
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0 and part.training:
            return f" ('{path or 'the module'}' is a {type(part).__name__} in training mode)"
    return ""


@contextmanager
def generators(what: str, said: str) -> Iterator[None]:
    """Refuse what moves a global generator, and put it back.

    Raises:
        InputError: One was moved.
    """
    before = torch.random.get_rng_state(), np.random.get_state(legacy=True), random.getstate()
    try:
        yield
    finally:
        after = torch.random.get_rng_state(), np.random.get_state(legacy=True), random.getstate()
        moved = (
            not torch.equal(before[0], after[0])
            or any(not np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))  # type: ignore[arg-type]
            or before[2] != after[2]
        )
        torch.random.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
    if moved:
        raise InputError(
            f"{what} draws noise of its own from a global generator{said}; remove it or call module.eval() first."
        )


def _real(value: Tensor) -> Tensor:
    value = value.detach()
    return torch.nan_to_num(torch.view_as_real(value) if value.is_complex() else value)


def unwritten(name: str, network: nn.Module, module: nn.Module) -> None:
    """Refuse a network that no longer has the module's buffers and parameters after two passes.

    Raises:
        InputError: One was written.
    """
    held = dict((*module.named_buffers(), *module.named_parameters()))
    for path, value in (*network.named_buffers(), *network.named_parameters()):
        before = held.get(path)
        if before is None or not torch.equal(_real(before.to(value.dtype)), _real(value)):
            raise InputError(
                f"problem '{name}': a forward pass writes '{path}' of the module, so that a draw would depend on the "
                f"draws before it; call module.eval() first, or remove it.{hint(network)}"
            )


def repeats(name: str, asked: Asked, inputs: Tensor, first: Tensor | None = None) -> None:
    """Refuse a network that gives other outputs for the same inputs when it is asked again.

    Args:
        name: The problem's.
        asked: The network.
        inputs: Of a few examples.
        first: Outputs of its very first pass, where they are known.

    Raises:
        InputError: It does.
    """
    found = [asked.outputs(inputs), asked.outputs(inputs), *([] if first is None else [first])]
    # other examples in the memory of the first: a network may keep what it computed under an address
    turned = inputs.flip(0)
    pairs = [(found[0], other) for other in found[1:]]
    pairs.append((asked.overwritten(inputs, turned), asked.outputs(turned)))
    if not all(same(a, b, asked.rounding) for a, b in pairs):
        raise InputError(
            f"problem '{name}': a second forward pass on the same inputs gives other outputs: the module has noise or "
            "memory of its own; call module.eval() first, or remove it."
        )


def unhooked(name: str, asked: Asked, inputs: Tensor, value: Callable[[Tensor], Tensor]) -> None:
    """Refuse a network whose modules have hooks that change gradients; hooks that only look are fine.

    Args:
        name: The problem's.
        asked: The network.
        inputs: Of a few examples.
        value: The log-likelihood of outputs, summed.

    Raises:
        InputError: Without the hooks the gradient is another.
    """
    hooked = {
        path or "the module": part
        for path, part in asked.network.named_modules()
        if part._backward_hooks or part._backward_pre_hooks
    }
    if not hooked:
        return

    def gradients() -> list[Tensor]:
        leaves = [p for p in asked.network.parameters() if p.requires_grad]
        found = value(asked.raw(inputs))
        return list(torch.autograd.grad(found, leaves, materialize_grads=True, allow_unused=True))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            before = gradients()
            held = {p: (m._backward_hooks, m._backward_pre_hooks) for p, m in hooked.items()}
            for part in hooked.values():
                part._backward_hooks, part._backward_pre_hooks = OrderedDict(), OrderedDict()
            after = gradients()
        except RuntimeError as error:
            raise InputError(
                f"problem '{name}': the gradient of the log-likelihood cannot be taken: {reason(error)}"
            ) from error
    for path, part in hooked.items():
        part._backward_hooks, part._backward_pre_hooks = held[path]
    if not all(same(a, b, asked.rounding) for a, b in zip(before, after, strict=True)):
        raise InputError(
            f"problem '{name}': a backward hook of {' or '.join(map(repr, hooked))} changes gradients, which a "
            "measured gradient does not pass through; remove it (the handle that register_full_backward_hook returned)."
        )


def no_other_parameters(name: str, asked: Asked, inputs: Tensor) -> None:
    """Refuse a network that computes with a tensor that requires a gradient and is no parameter of it.

    Such a one would stay as it is, without noise and without a gradient. Tensors that a pass makes are none: those that
    two passes have in common.

    Raises:
        InputError: It does.
    """
    known = {id(p) for p in asked.network.parameters()}
    both = [_leaves(asked.raw(inputs)) for _ in range(2)]
    for key, value in both[0].items():
        if key in known or key not in both[1]:
            continue
        raise InputError(
            f"problem '{name}': the outputs depend on {_called(asked.network, value)} of shape {tuple(value.shape)}, "
            "which requires a gradient and is no parameter of the module, so that it would stay as it is; make it an "
            "nn.Parameter (modules in a list: nn.ModuleList), or call requires_grad_(False) on it."
        )


def _leaves(out: Tensor) -> dict[int, Tensor]:
    """Tensors that gradients of the outputs are taken in, by identity."""
    found: dict[int, Tensor] = {}
    if out.grad_fn is None:
        return {id(out): out} if out.requires_grad else {}
    seen, stack = {out.grad_fn}, [out.grad_fn]
    while stack:
        node = stack.pop()
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                stack.append(before)
    return found


def _called(network: nn.Module, tensor: Tensor) -> str:
    """What a tensor that is no parameter is called: an attribute, or a module in a plain list or dict."""
    for path, part in network.named_modules():
        for name, value in vars(part).items():
            where = f"{path}.{name}".lstrip(".")
            if value is tensor:
                return f"the attribute '{where}'"
            if name.startswith("_") or not isinstance(value, list | tuple | dict):
                continue
            for key, other in value.items() if isinstance(value, dict) else enumerate(value):
                inside = other.parameters() if isinstance(other, nn.Module) else (other,)
                if any(p is tensor for p in inside):
                    return f"'{where}[{key!r}]'"
    return "a tensor outside the module,"
