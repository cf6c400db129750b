"""The modes by name, and which a device has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from vdbench.modes import compiled, eager, graph
from vdbench.modes.protocol import Call, Work

EAGER = "eager"

MODES: Mapping[str, Callable[[Work], Call]] = {
    EAGER: eager.prepare,
    "graph": graph.prepare,
    "compile": compiled.prepare,
}
"""How each makes a call that computes one gradient."""


def refuse(modes: Sequence[str], device: torch.device) -> None:
    """See that a device has these modes.

    Raises:
        InputError: It does not.
    """
    if "graph" in modes:
        graph.refuse(device)
