"""In which floating-point type a module computes, and whether a part of it computes in a coarser one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vdbench.problems.probe import CLOSE, Asked, PassFailed
from vdbench.problems.problem import Batch, Problem, converted

HALF = {torch.float16: "0.05 %", torch.bfloat16: "0.4 %"}
"""Types of 16 bits, and their rounding."""


def precision(module: nn.Module, problem: Problem, batch: Batch) -> torch.dtype:
    """The type that the network computes in when it is asked for float64."""
    own = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    network = converted(copy.deepcopy(module), "cpu", torch.float64)
    try:
        Asked(problem.name, network, torch.float64).outputs(batch.inputs)
    except PassFailed:
        native = converted(copy.deepcopy(module), "cpu", own)
        Asked(problem.name, native, own).outputs(batch.inputs)
        return own
    return torch.float64  # whatever it casts its outputs to


class _Types(TorchFunctionMode):
    """Notes the floating-point types of all results."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[torch.dtype] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, tuple | list) else (out,):
            if isinstance(part, Tensor) and part.is_floating_point():
                self.found.add(part.dtype)
        return out


def halves(network: nn.Module, asked: Asked, inputs: Tensor) -> tuple[torch.dtype, tuple[str, ...]]:
    """The coarsest type in which a pass computes a part, and what is to be said of types of 16 bits.

    Autocast leaves numbers of 64 bits as they are, so the network is asked in 32 bits, too.

    Args:
        network: The user's.
        asked: A copy, in the type it computes in.
        inputs: Of a few examples.
    """
    kinds = _types(asked, inputs)
    single = Asked(
        asked.name, converted(copy.deepcopy(network), "cpu", torch.float32), torch.float32
    )
    try:
        found = (kinds | _types(single, inputs)) & HALF.keys() - {asked.precision}
    except PassFailed:
        found = kinds & HALF.keys() - {asked.precision}
    coarse = max(kinds & HALF.keys() | {asked.precision}, key=lambda kind: CLOSE[kind])
    if not found:
        return coarse, ()
    kind = max(found, key=lambda kind: CLOSE[kind])
    called = str(kind).removeprefix("torch.")
    said = (
        f"a forward pass computes in part in 16 bits, {called} (autocast or a cast), in every precision of a run: each "
        f"such step rounds by up to {HALF[kind]}, which is a bias of all estimators alike"
    )
    return coarse, (said,)


def _types(asked: Asked, inputs: Tensor) -> set[torch.dtype]:
    watch = _Types()
    with watch:
        asked.outputs(inputs)
    return watch.found
