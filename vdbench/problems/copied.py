"""A copy of a user's module, or the reason why a copy would be another network."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vdbench.errors import InputError
from vdbench.problems.selection import refuse_altered


def copied(module: nn.Module, name: str) -> nn.Module:
    """A copy of the network within any wrapper.

    Raises:
        InputError: It is no module, has no numbers, cannot be copied, has a hook on a parameter's gradient, or two of
            its tensors share memory, which two tensors of a copy do not.
    """
    if not isinstance(module, nn.Module):
        raise InputError(
            f"problem '{name}': expected a torch.nn.Module, not {type(module).__name__}."
        )
    module = unwrapped(module)
    if any(value.is_meta for value in (*module.parameters(), *module.buffers())):
        raise InputError(
            f"problem '{name}': the module is on the device 'meta' and has no numbers; call to_empty and load its "
            "weights."
        )
    for path, value in module.named_parameters():
        if getattr(value, "_backward_hooks", None):
            raise InputError(
                f"problem '{name}': the parameter '{path}' has a hook on its gradient (register_hook), which a "
                "measured gradient does not pass through; remove it."
            )
    _refuse_shared_memory(module, name)
    try:
        network = copy.deepcopy(module)
    except Exception as error:
        refuse_altered(module, name)
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"problem '{name}': the module cannot be copied (copy.deepcopy: {type(error).__name__}: {reason}); keep "
            "locks, files and tensors computed from parameters out of its attributes."
        ) from error
    for part in network.modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag):
            part.sparse = False  # the same gradient, in a form that can be added up
    return network


def unwrapped(module: nn.Module) -> nn.Module:
    """The network within a wrapper that computes the same."""
    if isinstance(module, nn.DataParallel):
        module = module.module
    compiled = getattr(module, "_orig_mod", None)
    return compiled if isinstance(compiled, nn.Module) else module  # of torch.compile


def _refuse_shared_memory(module: nn.Module, name: str) -> None:
    """Refuse a parameter whose numbers are those of another parameter or of a buffer, and which is another tensor.

    One would follow the other in the user's training, and does not where each is given values of its own.
    """
    spans = sorted(
        (
            str(value.device),
            value.data_ptr(),
            value.data_ptr() + _bytes(value),
            path,
            isinstance(value, nn.Parameter),
        )
        for path, value in (*module.named_parameters(), *module.named_buffers())
        if not is_lazy(value) and value.numel()
    )
    end, before, parameter, device = 0, "", False, ""
    for where, start, stop, path, own in spans:
        if where != device:
            end, device = 0, where
        if start < end and (own or parameter):
            raise InputError(
                f"problem '{name}': '{before}' and '{path}' share memory and are two tensors, so that one follows the "
                "other in your training and would not here; tie them (b.weight = a.weight), or copy one of them "
                "(.clone())."
            )
        if stop > end:
            end, before, parameter = stop, path, own


def _bytes(value: Tensor) -> int:
    """From the first number of a tensor to its last."""
    reach = sum((n - 1) * abs(s) for n, s in zip(value.shape, value.stride(), strict=True))
    return (reach + 1) * value.element_size()
