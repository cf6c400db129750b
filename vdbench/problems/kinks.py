"""Which operations of a network have derivatives that jump: there, second derivatives are not all there is.

Operations of torch are looked for by name, in one forward pass and its likelihood. One that is not in the list, such as
an operation written in another language, is not seen.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Problem

KINKED = frozenset({
    "_prelu_kernel", "abs", "amax", "amin", "aminmax", "ceil", "clamp", "clamp_max", "clamp_min", "cummax", "cummin",
    "fix", "floor", "fmax", "fmin", "fmod", "frac", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "heaviside",
    "kthvalue", "leaky_relu", "max", "maximum", "median", "min", "minimum", "mode", "nanmedian", "prelu", "relu",
    "relu6", "remainder", "round", "rrelu_with_noise", "rrelu_with_noise_functional", "sgn", "sign", "softshrink",
    "sort", "threshold", "topk", "trunc", "where",
})  # fmt: skip
"""Operations whose value or derivative jumps somewhere, or may."""

POOLING = "max_pool"
"""What is in the names of those that take the largest of several numbers."""

_seen: WeakKeyDictionary[nn.Module, tuple[Any, tuple[str, ...]]] = WeakKeyDictionary()


class _Names(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the names of all operations with kinks."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        if name in KINKED or POOLING in name or (name == "elu" and _bent(*args, **(kwargs or {}))):
            self.names.add(name)
        return func(*args, **(kwargs or {}))


def _bent(_: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> bool:
    """Whether the two slopes of an ELU at 0 differ: scale·α·input_scale on the left, scale on the right."""
    return bool(alpha * input_scale != 1)


def kinks(problem: Problem) -> tuple[str, ...]:
    """The operations with kinks that a problem's network and likelihood use, sorted; looked for once.

    Example:
        >>> from vdbench import problems
        >>> kinks(problems.build("mine", "classification", {"widths": [4]}))
        ('relu',)
    """
    known = _seen.get(problem.module)
    if known is not None and known[0] is problem.likelihood:
        return known[1]

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        return layer.linear(x, problem.posterior(layer, problem.start).mean)

    few = Batch(*(t[:2] for t in problem.data.train))
    with _Names() as found:
        problem.log_likelihood(sampler, few, problem.start)
    _seen[problem.module] = (problem.likelihood, tuple(sorted(found.names)))
    return _seen[problem.module][1]
