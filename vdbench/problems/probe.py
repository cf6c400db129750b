"""What a network does, asked before anything is measured: a few forward passes, and one sentence for each misfit.

The questions are about behaviour, not about types. They are asked of the module as it came, at its own weights and at
weights moved a little (a layer of zeros hides what lies behind it), and then of the problem made from it:

1. Is the output one finite tensor with a row an example, and is a second pass equal? Is no random number drawn, no
   buffer and no target written? (`probe_module`)
2. Does an example's log-likelihood depend on that example alone, and not on its place in the minibatch?
3. Does the problem compute at the mean weights what the module computes? (`probe_layers`)
4. Which rows of each layer's input belong to which example, and how often is the layer called?
5. Is the gradient that of the log-likelihood, and can draws be taken together? (`probe_gradient`)

Here is what these files share.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vdbench.errors import InputError
from vdbench.noise import Key, stream
from vdbench.problems.layers import Layer, WholeWeight
from vdbench.problems.likelihoods import Likelihood
from vdbench.problems.problem import Batch, Problem, converted
from vdbench.problems.several_inputs import Wrapper

MANY, FEW = 5, 3
"""The two numbers of examples that a network is tried on."""

LARGE = 32
"""A larger one, even, whose outputs are compared with those of its parts."""

KEY = Key(("vdbench", "probe"))

CLOSE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Numbers of a type that differ by no more than this share of their size are the same."""

AMOUNTS = (0.3, 0.1, 0.03, 0.01)
"""How far weights are moved, in units of 1/√fan-in: the first of these at which the log-likelihood is finite."""


BUDGET = 3e9
"""Multiplications that a search may cost. It is work and not time, so that what is found is the same on any machine."""


def operations(problem: Problem) -> int:
    """Multiplications in one forward pass of one example, in the noisy layers alone."""
    return sum(
        max(problem.uses[layer.name].outputs * layer.fan_in, math.prod(layer.weight_shape))
        for layer in problem.layers
    )


class Seen(NamedTuple):
    """What the module itself does on a few examples.

    Attributes:
        precision: The only type it computes in, or None.
        of_likelihood: The same of the likelihood.
        writes_inputs: Whether it writes its input.
        alone: Whether an example passes alone.
        attention: Whether it calls fused attention.
        derives: Whether a pass needs gradients enabled.
        amount: How far its weights can be moved.
        rounding: The coarsest type among those it computes and returns in.
        likelihood: Of the targets.
        said: Which likelihood that is, and why; and what else is to be said of it.
    """

    precision: torch.dtype | None
    of_likelihood: torch.dtype | None
    writes_inputs: bool
    alone: bool
    attention: bool
    derives: bool
    amount: float
    rounding: torch.dtype
    likelihood: Likelihood
    said: tuple[str, ...]

    @property
    def computed(self) -> torch.dtype:
        """The type in which it is asked."""
        return self.precision or torch.float64


class PassFailed(InputError):
    """A forward pass of the module raised an exception."""


class Asked:
    """Runs a network on copies of its inputs, and notes whether it writes them.

    Attributes:
        name: The problem's.
        network: A copy of the user's.
        precision: Its type.
        rounding: The coarsest type in its outputs and log-likelihoods, by which they are compared.
        writes: Whether an input was written.
    """

    def __init__(self, name: str, network: nn.Module, precision: torch.dtype) -> None:
        """Ask a network."""
        self.name, self.network, self.precision = name, network, precision
        self.rounding = precision
        self.writes = False

    def outputs(self, inputs: Tensor, gradients: bool = True) -> Tensor:
        """Outputs, detached.

        Args:
            inputs: Of a few examples.
            gradients: Whether they are enabled during the pass.

        Raises:
            PassFailed: The pass raised an exception.
            InputError: The outputs are no tensor with a row an example.
        """
        return self.raw(inputs, gradients).detach()

    def raw(self, inputs: Tensor, gradients: bool = True) -> Tensor:
        """Outputs with what they were computed from."""
        return self._given(self._copied(inputs), gradients)

    def overwritten(self, inputs: Tensor, others: Tensor) -> Tensor:
        """Outputs of other inputs, after a pass of the first ones in the same memory."""
        given = self._copied(inputs)
        self._given(given, True)
        return self._given(given.copy_(others), True).detach()

    def _copied(self, inputs: Tensor) -> Tensor:
        given = inputs.to(self.precision) if inputs.is_floating_point() else inputs.clone()
        return given.clone() if given is inputs else given

    def _given(self, given: Tensor, gradients: bool) -> Tensor:
        """Outputs of inputs that are handed over as they are, and checked."""
        before = given.clone()
        # with gradients enabled, as it is called later: a network may take some of its own
        with torch.set_grad_enabled(gradients), fast_paths_off(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = self.network(given)
            except Exception as error:
                raise PassFailed(
                    f"problem '{self.name}': the module does not fit inputs of shape "
                    f"{tuple(given.shape)}, {len(given)} of the data's examples: {reason(error)}"
                    f"{hint(self.network)}{_kind_hint(given, error)}{_call_hint(self.network, error)}"
                ) from error
        if not isinstance(found, Tensor):
            raise InputError(
                f"problem '{self.name}': the module returns a {type(found).__name__}; expected one tensor with a row "
                f"for each example: say which with forward=, such as lambda model, x: model(x){_part_of(found)}."
            )
        if found.dim() == 0 or found.shape[0] != given.shape[0]:
            raise InputError(
                f"problem '{self.name}': the module returns outputs of shape {tuple(found.shape)} for "
                f"{given.shape[0]} examples; expected a first dimension of {given.shape[0]}."
            )
        if found.layout != torch.strided:
            raise InputError(
                f"problem '{self.name}': the module returns outputs of layout {found.layout}; expected a dense tensor."
            )
        if not found.is_floating_point():
            raise InputError(
                f"problem '{self.name}': the module returns outputs of type {found.dtype}; expected floating-point "
                "ones."
            )
        self.writes |= not torch.equal(torch.nan_to_num(given), torch.nan_to_num(before))
        return found


def _kind_hint(inputs: Tensor, error: Exception) -> str:
    """What to do about integer inputs of a network that multiplies them, or nothing."""
    if inputs.is_floating_point() or "dtype" not in str(error):
        return ""
    kind = str(inputs.dtype).removeprefix("torch.")
    return f"; the inputs are {kind}: pass floats, X.float(), to a network that multiplies them."


def _call_hint(network: nn.Module, error: Exception) -> str:
    """What to do about a network that takes its several inputs in another way, or nothing."""
    if not isinstance(network, Wrapper) or network.adapter is not None:
        return ""
    if not isinstance(error, TypeError) or "argument" not in str(error):
        return ""
    return (
        "; a module that takes its inputs otherwise is called by forward=, such as lambda model, **inputs: "
        "model(inputs) where it takes a dict."
    )


def _part_of(found: object) -> str:
    """How the outputs are got out of what a network returns, by the looks of it."""
    if isinstance(found, Mapping) and found:
        named = [n for n, v in found.items() if isinstance(v, Tensor)]
        return f"[{(named or list(found))[0]!r}]"
    if isinstance(found, tuple | list) and not hasattr(found, "_fields"):
        return "[0]"
    fields = vars(found) if hasattr(found, "__dict__") else {}
    names = getattr(found, "_fields", tuple(fields))
    tensors = [n for n in names if isinstance(getattr(found, n), Tensor)]
    return f".{('logits' if 'logits' in tensors else tensors[0]) if tensors else 'logits'}"


def examples(problem: Problem, count: int) -> Batch:
    """Examples from all over the training split, some twice where there are fewer, in float64."""
    rows = torch.arange(count) * problem.examples // count
    return Batch(*(wide(part[rows].cpu()) for part in problem.data.train))


def changed(inputs: Tensor) -> Iterator[Tensor]:
    """The inputs with one example exchanged for another, for each example in turn."""
    for j in range(len(inputs)):
        other = inputs[(j + 1) % len(inputs)]
        if torch.equal(other, inputs[j]):
            others = [row for row in inputs if not torch.equal(row, inputs[j])]
            if others:
                other = others[0]
            elif inputs.is_floating_point():
                other = other + 0.5 * stream(KEY / "input", dtype=inputs.dtype)("x", other.shape)
        moved = inputs.clone()
        moved[j] = other
        yield moved


def moved_network(
    module: nn.Module, amount: float, precision: torch.dtype, attempt: int = 0
) -> nn.Module:
    """A copy of a network with its parameters moved.

    Frozen ones stay. Tensors of two or more dimensions get noise of ``amount``/√fan-in. Others keep their signs: they
    are multiplied by numbers near 1, except those that are all 0.

    Args:
        module: The user's.
        amount: 0 for a plain copy.
        precision: Of the copy.
        attempt: Another number for other noise.
    """
    network = converted(copy.deepcopy(module), "cpu", precision)
    noise = stream(KEY / "weights" / attempt, dtype=torch.float64)
    embeddings = [m for m in network.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    with torch.no_grad():
        padding = [
            (m, m.weight[m.padding_idx].clone()) for m in embeddings if m.padding_idx is not None
        ]
        for path, value in network.named_parameters():
            still = not (amount and value.requires_grad and value.is_floating_point())
            if still or not value.numel() or "parametrizations." in path:
                continue
            own = value.double()
            z = noise(path, value.shape)
            if value.dim() > 1:
                own = own + amount / max(1, own[0].numel()) ** 0.5 * z
            elif bool(own.any()):
                own = own * (min(0.3 * amount, 3.0) * z).exp()
            else:
                own = 0.3 * amount * z
            value.copy_(own.to(precision))
        for part, row in padding:
            part.weight[part.padding_idx] = row
    return network


def moved_weights(problem: Problem, network: nn.Module) -> dict[str, Tensor]:
    """The weights of the noisy layers in a copy of the network, by layer, and all other parameters of the problem."""
    at = {name: value.double() for name, value in problem.start.items()}
    for path, value in network.named_parameters():
        if path in problem.start:
            at[path] = value.detach().double()
    for layer in problem.layers:
        at[layer.name] = network.get_parameter(path_of(layer)).detach().double()
    for layer in problem.layers:
        bias = f"{layer.name}.bias"
        if bias in problem.start and bias not in dict(network.named_parameters()):
            owner = path_of(layer).removesuffix(".weight")
            at[bias] = network.get_parameter(f"{owner}.bias").detach().double()
    return at


def path_of(layer: Layer) -> str:
    """Name of the parameter in the module that a noisy layer's weights were."""
    return layer.path if isinstance(layer, WholeWeight) else f"{layer.name}.weight"


def coarsest(*types: torch.dtype) -> torch.dtype:
    """The type among these that rounds most."""
    return max(types, key=lambda kind: CLOSE[kind])


def same(a: Tensor, b: Tensor, rounding: torch.dtype) -> bool:
    """Whether two tensors are equal up to the rounding of a type."""
    if a.shape != b.shape:
        return False
    a, b = torch.nan_to_num(a.double()), torch.nan_to_num(b.double())
    if a.numel() == 0:
        return True
    # each output in its own unit: one of a million must not hide the others
    size = torch.maximum(a.abs(), b.abs())
    size = size.amax(0, keepdim=True) if size.dim() else size
    return bool(((a - b).abs() <= CLOSE[rounding] * size.clamp(min=1e-3)).all())


def finite(name: str, what: str, value: Tensor) -> None:
    """Refuse numbers that are not finite.

    Raises:
        InputError: One is not.
    """
    bad = (~torch.isfinite(value)).flatten(1 if value.dim() > 1 else 0)
    if bool(bad.any()):
        row = int(bad.reshape(len(value), -1).any(1).nonzero()[0])
        raise InputError(
            f"problem '{name}': {what} for example {row} are not finite; check its inputs, its targets and the "
            "module's weights."
        )


def reason(error: Exception) -> str:
    """Kind and first line of an exception."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def hint(module: nn.Module) -> str:
    """A sentence on the first batch normalisation in training mode, or nothing."""
    for path, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and (
            part.training or part.running_mean is None
        ):
            return (
                f" '{path or 'the module'}' is a {type(part).__name__} in training mode, which couples the examples of "
                "a minibatch; call module.eval() first, or use LayerNorm."
            )
    return ""


@contextmanager
def fast_paths_off() -> Iterator[None]:
    """Attention of torch's own encoder layers without the form that bypasses hooks."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def wide(value: Tensor) -> Tensor:
    """A float64 copy of numbers; integers as they are."""
    return value.double() if value.is_floating_point() else value.clone()
