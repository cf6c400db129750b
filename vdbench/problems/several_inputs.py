"""Networks that are not called as ``model(x)``, seen as networks that are.

Several inputs are looked up in tables by the number of an example's row. A function of the user's may call the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vdbench.errors import InputError

Adapter = Callable[..., Tensor]
"""``forward(model, *inputs)`` or ``forward(model, **inputs)``: the outputs."""


class Wrapper(nn.Module):
    """Calls a network as the user says.

    Attributes:
        network: The user's.
        adapter: How it is called; None for ``network(*inputs)`` or ``network(**inputs)``.
    """

    network: nn.Module

    def __init__(self, network: nn.Module, adapter: Adapter | None = None) -> None:
        """Hold a network and the function that calls it."""
        super().__init__()
        self.network = network
        self.adapter = adapter

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        """What the network gives."""
        if self.adapter is None:
            return self.network(*inputs, **named)
        return self.adapter(self.network, *inputs, **named)


def prefix(body: nn.Module) -> str:
    """What names of the user's own module begin with in a wrapper."""
    return "network." if isinstance(body, Wrapper) else ""


def wrapped(
    network: nn.Module,
    tables: Sequence[Tensor] | Mapping[str, Tensor] | None,
    adapter: Adapter | None,
    name: str,
) -> Wrapper:
    """A network that is called with one input.

    Args:
        network: The user's.
        tables: Its inputs, where there are several.
        adapter: How it is called.
        name: The problem's.

    Raises:
        InputError: The adapter cannot be called.
    """
    if adapter is not None and (not callable(adapter) or isinstance(adapter, nn.Module)):
        raise InputError(
            f"problem '{name}': forward must be a function of the module and its inputs, such as lambda model, x: "
            f"model(x)[0], not {type(adapter).__name__}."
        )
    return Wrapper(network, adapter) if tables is None else RowLookup(network, tables, adapter)


class RowLookup(Wrapper):
    """Looks the several inputs of each example up, and calls a network with them.

    The tables are buffers, so that they follow the module to a device, and floating ones to a precision, and are part
    of a problem's fingerprint.

    Attributes:
        network: The user's network: ``network(*inputs)`` or ``network(**inputs)``.
        names: Names of the inputs; empty where they are given by place.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from vdbench.problems.several_inputs import RowLookup
        >>> class Sum(nn.Module):
        ...     def forward(self, left, right):
        ...         return left + right
        >>> lookup = RowLookup(Sum(), (torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0], [20.0]])))
        >>> lookup(torch.tensor([1, 1, 0])).flatten()
        tensor([22., 22., 11.])
    """

    def __init__(
        self,
        network: nn.Module,
        tables: Sequence[Tensor] | Mapping[str, Tensor],
        adapter: Adapter | None = None,
    ) -> None:
        """Hold a network and its inputs.

        Args:
            network: Any network.
            tables: Its inputs for all examples, each (N, …), by place or by name.
            adapter: How the network is called.
        """
        super().__init__(network, adapter)
        self.names: tuple[str, ...] = tuple(tables) if isinstance(tables, Mapping) else ()
        self.count = len(tables)
        # numbered, as a name of the user's may be none that a buffer can have
        for place, table in enumerate(tables.values() if isinstance(tables, Mapping) else tables):
            self.register_buffer(f"table_{place}", table)

    def forward(self, rows: Tensor) -> Any:  # type: ignore[override]
        """What the network gives for the examples of these rows, an integer tensor (M,)."""
        inputs = [self.get_buffer(f"table_{place}")[rows] for place in range(self.count)]
        if self.names:
            return super().forward(**dict(zip(self.names, inputs, strict=True)))
        return super().forward(*inputs)

    def extra_repr(self) -> str:
        """The inputs' names, or how many there are."""
        return ", ".join(self.names) or f"{self.count} inputs"
