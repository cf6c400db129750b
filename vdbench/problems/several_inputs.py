"""Networks with several inputs, seen as networks with one: the number of an example's row in tables of inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn


class RowLookup(nn.Module):
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

    def __init__(self, network: nn.Module, tables: Sequence[Tensor] | Mapping[str, Tensor]) -> None:
        """Hold a network and its inputs.

        Args:
            network: Any network.
            tables: Its inputs for all examples, each (N, …), by place or by name.
        """
        super().__init__()
        self.network = network
        self.names: tuple[str, ...] = tuple(tables) if isinstance(tables, Mapping) else ()
        self.count = len(tables)
        # numbered, as a name of the user's may be none that a buffer can have
        for place, table in enumerate(tables.values() if isinstance(tables, Mapping) else tables):
            self.register_buffer(f"table_{place}", table)

    def forward(self, rows: Tensor) -> Tensor:
        """What the network gives for the examples of these rows, an integer tensor (M,)."""
        inputs = [self.get_buffer(f"table_{place}")[rows] for place in range(self.count)]
        if self.names:
            found: Tensor = self.network(**dict(zip(self.names, inputs, strict=True)))
            return found
        found = self.network(*inputs)
        return found

    def extra_repr(self) -> str:
        """The inputs' names, or how many there are."""
        return ", ".join(self.names) or f"{self.count} inputs"
