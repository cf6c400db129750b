"""A network that is one line of modules, passed without a call of each module.

A module's call looks for hooks, and a noisy layer in the general form asks how the network uses it. On a small network
that takes as long as the arithmetic. Where the network is an `nn.Sequential` of noisy layers and modules of torch that
hold nothing, without hooks, the passes are the same and the line is walked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every

from vdbench.problems.layers import Layer, NoisyModule, Sampler
from vdbench.problems.places import PLAIN, Fold

Function = Callable[[Tensor], Tensor]

SAME = {nn.ReLU: torch.relu, nn.Tanh: torch.tanh, nn.Sigmoid: torch.sigmoid}
"""Modules that are one function; with ``inplace`` they are called."""


EVERYWHERE = (
    "_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks", "_global_backward_pre_hooks",
)  # fmt: skip
"""Hooks of torch that every module's call looks for."""


class Noisy(NamedTuple):
    """A noisy layer in the line.

    Attributes:
        layer: Which.
        bias: Name of its bias among the parameters.
        fixed_bias: A bias that is no parameter; None where there is none.
        checked: Whether its rows are known to be one an example, which a pass may not change.
    """

    layer: Layer
    bias: str
    fixed_bias: Tensor | None
    checked: bool


class Line(NamedTuple):
    """A network as its steps.

    Attributes:
        steps: In order.
        modules: What stands there, and the sequences that hold it.
    """

    steps: tuple[Noisy | Function, ...]
    modules: tuple[nn.Module, ...]

    @property
    def hooked(self) -> bool:
        """Whether a module has a hook or a forward of its own by now, which a walk would leave out."""
        return (
            any(getattr(every, name) for name in EVERYWHERE)
            or any(
                m._forward_hooks
                or m._forward_pre_hooks
                or m._backward_hooks
                or m._backward_pre_hooks
                for m in self.modules
            )
            or any("forward" in vars(m) for m in self.modules)
        )


def find(module: nn.Module, folds: Mapping[str, tuple[Fold, ...]]) -> Line | None:
    """The line of a network; None where it is not one.

    Args:
        module: The network.
        folds: Where the example's axis is, at each call of each noisy layer.
    """
    steps: list[Noisy | Function] = []
    for part in _parts(module):
        if isinstance(part, NoisyModule):
            name = part.layer.name
            known = folds.get(name, (PLAIN,))
            if len(known) != 1 or not known[0].plain:
                return None
            bias = part._buffers.get("fixed_bias")
            steps.append(Noisy(part.layer, f"{name}.bias", bias, name in folds))
        elif not _empty(part):
            return None
        elif type(part) in SAME and not getattr(part, "inplace", False):
            steps.append(SAME[type(part)])
        else:
            steps.append(part)
    names = [step.layer.name for step in steps if isinstance(step, Noisy)]
    once = len(set(names)) == len(names) and set(folds) <= set(names)
    line = Line(tuple(steps), tuple(module.modules()))
    return line if once and not line.hooked else None


def walk(line: Line, sampler: Sampler, inputs: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Outputs of the network.

    Args:
        line: From `find`.
        sampler: Gives a noisy layer's pre-activation without bias.
        inputs: (M, …), of the parameters' type.
        parameters: With the biases.

    Raises:
        Rows: A noisy layer is given other rows than one an example.
    """
    x, examples = inputs, inputs.shape[0]
    for step in line.steps:
        if not isinstance(step, Noisy):
            x = step(x)
            continue
        if step.checked and x.shape[0] != examples:
            raise Rows(step.layer, x)
        b = sampler(step.layer, x)
        bias = parameters.get(step.bias, step.fixed_bias)
        x = b if bias is None else step.layer.add_bias(b, bias)
    return x


class Rows(Exception):
    """A noisy layer is given other rows than when the problem was made."""

    def __init__(self, layer: Layer, x: Tensor) -> None:
        """Of this layer, with this input."""
        super().__init__(layer.name)
        self.layer, self.x = layer, x


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of nested sequences in order."""
    if type(module) is nn.Sequential:
        for part in module:
            yield from _parts(part)
    else:
        yield module


def _empty(module: nn.Module) -> bool:
    """Whether a module is one of torch's own that has no parts, parameters or buffers."""
    own = type(module).__module__.startswith("torch.nn.modules.")
    return own and not (module._modules or module._parameters or module._buffers)
