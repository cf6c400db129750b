"""Noisy layers: what an estimator may ask of one, and its place in a module.

A layer exposes its linear map and the same map with squared input and weights. Estimators are written in these
two, so that one file serves every kind of layer. The bias is deterministic and added by the problem, in the way the
layer says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from vdbench.problems.posterior import Posterior


@dataclass(frozen=True)
class Layer:
    """A noisy layer; this one dense, b = x Wᵀ, with torch's layout of weights.

    Attributes:
        name: Name of the layer inside its module, such as ``fc1``.
        weight_shape: (outputs, inputs).

    Example:
        >>> import torch
        >>> import vdbench
        >>> layer = vdbench.Layer("fc1", (10, 64))
        >>> layer.linear(torch.ones(16, 64), torch.ones(10, 64)).shape
        torch.Size([16, 10])
        >>> float(layer.squared(2 * torch.ones(1, 64), torch.ones(10, 64))[0, 0])  # Σ x² var
        256.0
    """

    name: str
    weight_shape: tuple[int, ...]

    inputs_second: ClassVar[bool] = True
    """Whether the second dimension of the weights is that of the inputs, as noise that outputs share needs it."""

    @property
    def outputs(self) -> int:
        """Features or channels out."""
        return self.weight_shape[0]

    @property
    def fan_in(self) -> int:
        """Weights that one pre-activation is a sum over."""
        return math.prod(self.weight_shape[1:])

    def counted(self, q: Posterior) -> Posterior:
        """The law of the weights that the network uses: all of them."""
        return q

    def used(self, weight: Tensor) -> Tensor:
        """A weight as the network uses it: all of it."""
        return weight

    def scored(self, q: Posterior) -> Posterior:
        """The law whose log density is differentiated, of the weights' shape: that of all of them."""
        return q

    def add_bias(self, b: Tensor, bias: Tensor) -> Tensor:
        """Pre-activations with the bias, of shape (outputs,)."""
        return b + bias

    def sign_shape(self, x: Tensor) -> tuple[int, ...]:
        """Shape of one number an example and feature that broadcasts to ``x``, inputs or pre-activations alike.

        A factor of this shape on inputs and another on pre-activations multiply the weight that an example meets, the
        same one wherever the example uses it.
        """
        return (x.shape[0], *(1 for _ in x.shape[1:-1]), x.shape[-1])

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """Pre-activations (M, outputs) of inputs (M, inputs) under one weight (outputs, inputs)."""
        return F.linear(x, weight)

    def linear_each(self, x: Tensor, weights: Tensor) -> Tensor:
        """Pre-activations (M, outputs) of inputs (M, inputs), each under a weight of its own, (M, outputs, inputs)."""
        if x.dim() == 2:
            # the same as vmap(linear), in a layout whose gradient needs no transposed sum
            return torch.bmm(weights, x.unsqueeze(-1)).squeeze(-1)
        return vmap(self.linear)(x, weights)

    def squared(self, x: Tensor, variance: Tensor) -> Tensor:
        """Σ_i x_i² var_ji: variance of the pre-activations when the weights are independent."""
        return F.linear(x.square(), variance)


@dataclass(frozen=True)
class Convolution(Layer):
    """A noisy convolution in one, two or three dimensions, with torch's layout of weights.

    Its weights serve every location of an example. Sampling weights is as in a dense layer; sampling pre-activations
    independently, location by location, has another objective (`vdbench.estimation.base.objective`).

    Attributes:
        name: Name of the layer inside its module, such as ``conv1``.
        weight_shape: (channels out, channels in / groups, kernel…).
        stride: One number a dimension.
        padding: Zeros on either side of each dimension; or ``same`` or ``valid``.
        dilation: One number a dimension.
        groups: Parts of the channels that do not mix.
    """

    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] | str = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1

    @property
    def dimensions(self) -> int:
        """Of the kernel: 1, 2 or 3."""
        return len(self.weight_shape) - 2

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """Pre-activations (M, …, channels out, locations…) of inputs (M, …, channels in, locations…)."""
        lead = x.shape[: -1 - self.dimensions]
        if len(lead) == 1:
            return self._convolve(x, weight, self.groups)
        b = self._convolve(x.reshape(-1, *x.shape[len(lead) :]), weight, self.groups)
        return b.reshape(*lead, *b.shape[1:])

    def linear_each(self, x: Tensor, weights: Tensor) -> Tensor:
        """The same, each example under a weight of its own, (M, *weight_shape)."""
        if x.dim() > 2 + self.dimensions:
            return vmap(self.linear)(x, weights)
        examples = x.shape[0]
        # one convolution whose groups are the examples' own: their channels do not mix
        images = x.reshape(1, examples * x.shape[1], *x.shape[2:])
        b = self._convolve(images, weights.flatten(0, 1), examples * self.groups)
        return b.reshape(examples, self.outputs, *b.shape[2:])

    def squared(self, x: Tensor, variance: Tensor) -> Tensor:
        """Σ x² var over a kernel: variance of each pre-activation when the weights are independent."""
        return self.linear(x.square(), variance)

    def add_bias(self, b: Tensor, bias: Tensor) -> Tensor:
        """Pre-activations with the bias of their channel, the same at every location."""
        return b + bias.reshape(-1, *(1 for _ in range(self.dimensions)))

    def sign_shape(self, x: Tensor) -> tuple[int, ...]:
        """One number an example and channel, the same at every location."""
        inner = self.dimensions
        places = x.shape[1 : -1 - inner]
        return (x.shape[0], *(1 for _ in places), x.shape[-1 - inner], *(1 for _ in range(inner)))

    def _convolve(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        padding = self.padding
        if padding == "same":
            missing = [d * (k - 1) for d, k in zip(self.dilation, weight.shape[2:], strict=True)]
            if any(
                m % 2 for m in missing
            ):  # the larger part goes after, as torch does with a warning
                x = F.pad(x, [n for m in reversed(missing) for n in (0, m % 2)])
            padding = tuple(m // 2 for m in missing)
        convolve: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[weight.dim() - 3]
        return convolve(
            x,
            weight,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=groups,
        )


@dataclass(frozen=True)
class PaddedConvolution(Convolution):
    """A convolution of inputs that are padded with something else than zeros: with values of the inputs themselves.

    Attributes:
        mode: ``reflect``, ``replicate`` or ``circular``, as of `torch.nn.functional.pad`.
        margins: Before and after each dimension, last dimension first.
    """

    mode: str = "circular"
    margins: tuple[int, ...] = ()

    def _convolve(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        return super()._convolve(F.pad(x, self.margins, mode=self.mode), weight, groups)


@dataclass(frozen=True)
class TransposedConvolution(Convolution):
    """A noisy transposed convolution, whose weights have the shape (channels in, channels out / groups, kernel…).

    Attributes:
        output_padding: Added to one side of the output, one number a dimension.
    """

    output_padding: tuple[int, ...] = (0, 0)
    inputs_second: ClassVar[bool] = False

    @property
    def outputs(self) -> int:
        """Channels out."""
        return self.weight_shape[1] * self.groups

    @property
    def fan_in(self) -> int:
        """Channels in of a group times the kernel: an upper bound, as a stride leaves some of them out."""
        return self.weight_shape[0] // self.groups * math.prod(self.weight_shape[2:])

    def linear_each(self, x: Tensor, weights: Tensor) -> Tensor:
        """Each example under a weight of its own."""
        return vmap(lambda one, weight: self.linear(one[None], weight)[0])(x, weights)

    def _convolve(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        convolve: Callable[..., Tensor] = (
            F.conv_transpose1d,
            F.conv_transpose2d,
            F.conv_transpose3d,
        )[weight.dim() - 3]
        return convolve(
            x,
            weight,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=groups,
            dilation=self.dilation,
        )


@dataclass(frozen=True)
class WholeWeight(Layer):
    """A noisy weight that the network uses in a way of its own: an embedding, a recurrent or an attention weight.

    Its map is W ↦ W, so that what an estimator makes of it is the weight itself, one for the whole minibatch: the
    network then computes with that weight. An estimator that samples pre-activations samples this weight instead, by
    the same formula: μ + σζ. ``x`` is a single 1 in place of an input.

    Attributes:
        name: Name of the weight, such as ``rnn.weight_ih_l0``; the module's alone where the weight is called weight.
        weight_shape: Of the weight, as torch keeps it.
        path: Name of the parameter in the module.
        fixed_row: A row without noise, an embedding's padding; None where there is none. It is 0 here, and the problem
            puts the network's own in.
    """

    path: str = ""
    fixed_row: int | None = None

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """The weight."""
        return self.used(weight)

    def used(self, weight: Tensor) -> Tensor:
        """The weight, with 0 in the row without noise."""
        if self.fixed_row is None:
            return weight
        rows = torch.arange(self.weight_shape[0], device=weight.device)
        return weight * (rows != self.fixed_row).to(weight.dtype)[:, None]

    def counted(self, q: Posterior) -> Posterior:
        """The law of all rows but the one without noise."""
        row = self.fixed_row
        if row is None:
            return q

        def rest(value: Tensor) -> Tensor:
            whole = value.dim() == len(self.weight_shape) and len(value) == self.weight_shape[0]
            return torch.cat([value[:row], value[row + 1 :]]) if whole else value

        return q._replace(
            mean=rest(q.mean),
            scale=rest(q.scale),
            variance=rest(q.variance),
            log_alpha=None if q.log_alpha is None else rest(q.log_alpha),
        )

    def scored(self, q: Posterior) -> Posterior:
        """The law with a standard normal one of no parameter in the row without noise, whose σ may be 0."""
        if self.fixed_row is None:
            return q
        fixed = torch.arange(self.weight_shape[0], device=q.mean.device)[:, None] == self.fixed_row
        one = torch.ones_like(q.scale)
        return q._replace(
            mean=torch.where(fixed, 0.0, q.mean),
            scale=torch.where(fixed, one, q.scale),
            variance=torch.where(fixed, one, q.variance),
        )

    def linear_each(self, x: Tensor, weights: Tensor) -> Tensor:
        """The weights."""
        return vmap(lambda weight: self.linear(x, weight))(weights)

    def squared(self, x: Tensor, variance: Tensor) -> Tensor:
        """Their variance."""
        return self.linear(x, variance)

    def sign_shape(self, x: Tensor) -> tuple[int, ...]:
        """One sign for all: the law of a perturbation is the same."""
        return tuple(1 for _ in x.shape)


def layer_of(name: str, module: nn.Module) -> Layer:
    """The noisy layer that stands for a dense or convolutional layer of a network."""
    if isinstance(module, nn.Linear):
        return Layer(name, tuple(module.weight.shape))
    assert isinstance(module, nn.modules.conv._ConvNd)
    padding = module.padding
    common: dict[str, Any] = {
        "name": name,
        "weight_shape": tuple(module.weight.shape),
        "stride": tuple(module.stride),
        "padding": padding if isinstance(padding, str) else tuple(padding),
        "dilation": tuple(module.dilation),
        "groups": module.groups,
    }
    if module.transposed:
        return TransposedConvolution(**common, output_padding=tuple(module.output_padding))
    if module.padding_mode == "zeros":
        return Convolution(**common)
    margins = tuple(module._reversed_padding_repeated_twice)
    none = tuple(0 for _ in module.kernel_size)
    return PaddedConvolution(
        **{**common, "padding": none}, mode=module.padding_mode, margins=margins
    )


Sampler = Callable[[Layer, Tensor], Tensor]
"""``sampler(layer, x)`` gives a noisy layer's pre-activation, without the bias."""


PLACEHOLDER = "placeholder"
"""Name of the empty parameter of a noisy layer's place."""


class OutsideUse(Exception):
    """A network reads a weight of a layer instead of calling the layer."""

    def __init__(self, name: str) -> None:
        """Of the layer of this name."""
        super().__init__(name)
        self.name = name


class OutsideCall(RuntimeError):
    """A noisy layer is called when no sampler is in force: outside a problem, or again in a backward pass."""


class NoisyModule(nn.Module):
    """Stands where a linear or convolutional layer was, and asks the sampler in force for its pre-activation.

    Attributes such as ``in_features`` are those of the layer that it stands for, and so are its hooks.
    """

    def __init__(self, layer: Layer, original: nn.Module | None = None) -> None:
        """Hold the place of ``layer``.

        Args:
            layer: What it stands for.
            original: The module that was there.
        """
        super().__init__()
        self.layer = layer
        self.call: Callable[[NoisyModule, Tensor], Tensor] | None = None
        self.attributes: dict[str, Any] = {}
        if original is not None:
            own = vars(original)
            self.training = original.training
            self.attributes = {n: v for n, v in own.items() if not n.startswith("_")}
            for name in ("_forward_hooks", "_forward_pre_hooks"):
                for key in ("", "_with_kwargs", "_always_called"):
                    if name + key in own:
                        vars(self)[name + key] = own[name + key]
            bias = getattr(original, "bias", None)
            if isinstance(bias, Tensor) and not bias.requires_grad:
                self.register_buffer("fixed_bias", bias.detach().clone())
            weight = original.get_parameter("weight").detach()
            # empty: it tells a network that looks for one the device and type of its parameters
            self.register_parameter(
                PLACEHOLDER, nn.Parameter(weight.new_empty(0), requires_grad=False)
            )

    def __getattr__(self, name: str) -> Any:
        """Attributes of the layer that was here; its weight is refused, since there is none outside the sampler."""
        if name in ("weight", "bias"):
            raise OutsideUse(self.layer.name)
        attributes = self.__dict__.get("attributes", {})
        return attributes[name] if name in attributes else super().__getattr__(name)

    def forward(self, *args: Tensor, **kwargs: Any) -> Tensor:
        """Pre-activation with bias, as the sampler in force makes it.

        Args:
            args: The input.
            kwargs: The same, as ``input``.

        Raises:
            OutsideUse: The layer is called with anything else, such as a convolution's ``output_size``.
            OutsideCall: No sampler is in force.
        """
        if len(args) + len(kwargs) != 1 or set(kwargs) - {"input"}:
            raise OutsideUse(self.layer.name)
        x: Tensor = args[0] if args else kwargs["input"]
        if self.call is None:
            raise OutsideCall(
                "a noisy layer has no weights of its own: evaluate it through Problem.log_likelihood"
            )
        return self.call(self, x)
