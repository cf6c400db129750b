"""Noisy layers: what an estimator may ask of one, and its place in a module.

A layer exposes its linear map and the same map with squared input and weights. Estimators are written in these
two, so that one file serves every kind of layer. The bias is deterministic and added by the problem, in the way the
layer says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap


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

    @property
    def fan_in(self) -> int:
        """Weights that one pre-activation is a sum over."""
        return math.prod(self.weight_shape[1:])

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
    """A noisy two-dimensional convolution of zero-padded images, with torch's layout of weights.

    Its weights serve every location of an example. Sampling weights is as in a dense layer; sampling pre-activations
    independently, location by location, has another objective (`vdbench.estimation.base.objective`).

    Attributes:
        name: Name of the layer inside its module, such as ``conv1``.
        weight_shape: (channels out, channels in / groups, kernel height, kernel width).
        stride: Vertical and horizontal.
        padding: Zeros on either side, vertical and horizontal; or ``same`` or ``valid``.
        dilation: Vertical and horizontal.
        groups: Parts of the channels that do not mix.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] | str = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """Pre-activations (M, channels out, height', width') of inputs (M, channels in, height, width)."""
        return self._convolve(x, weight, self.groups)

    def linear_each(self, x: Tensor, weights: Tensor) -> Tensor:
        """The same, each example under a weight of its own, (M, *weight_shape)."""
        examples = x.shape[0]
        # one convolution whose groups are the examples' own: their channels do not mix
        images = x.reshape(1, examples * x.shape[1], *x.shape[2:])
        b = self._convolve(images, weights.flatten(0, 1), examples * self.groups)
        return b.reshape(examples, self.weight_shape[0], *b.shape[2:])

    def squared(self, x: Tensor, variance: Tensor) -> Tensor:
        """Σ x² var over a kernel: variance of each pre-activation when the weights are independent."""
        return self._convolve(x.square(), variance, self.groups)

    def add_bias(self, b: Tensor, bias: Tensor) -> Tensor:
        """Pre-activations with the bias of their channel, the same at every location."""
        return b + bias[:, None, None]

    def sign_shape(self, x: Tensor) -> tuple[int, ...]:
        """One number an example and channel, the same at every location."""
        return (x.shape[0], x.shape[1], 1, 1)

    def _convolve(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        padding = self.padding
        if padding == "same":
            missing = [d * (k - 1) for d, k in zip(self.dilation, weight.shape[2:], strict=True)]
            (top, left), (odd, wide) = (m // 2 for m in missing), (m % 2 for m in missing)
            if odd or wide:  # the larger part goes after, as torch does with a warning
                x = F.pad(x, (0, wide, 0, odd))
            padding = (top, left)
        return F.conv2d(
            x,
            weight,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=groups,
        )


def layer_of(name: str, module: nn.Linear | nn.Conv2d) -> Layer:
    """The noisy layer that stands for a layer of a network."""
    if isinstance(module, nn.Linear):
        return Layer(name, (module.out_features, module.in_features))
    padding = module.padding
    return Convolution(
        name,
        tuple(module.weight.shape),
        stride=_pair(module.stride),
        padding=padding if isinstance(padding, str) else _pair(padding),
        dilation=_pair(module.dilation),
        groups=module.groups,
    )


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    vertical, horizontal = values
    return int(vertical), int(horizontal)


Sampler = Callable[[Layer, Tensor], Tensor]
"""``sampler(layer, x)`` gives a noisy layer's pre-activation, without the bias."""


class NoisyModule(nn.Module):
    """Stands where a linear or convolutional layer was, and asks the sampler in force for its pre-activation."""

    def __init__(self, layer: Layer) -> None:
        """Hold the place of ``layer``."""
        super().__init__()
        self.layer = layer
        self.call: Callable[[Layer, Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Pre-activation with bias, as the sampler in force makes it."""
        if self.call is None:
            raise RuntimeError(
                "a noisy layer has no weights of its own: evaluate it through Problem.log_likelihood"
            )
        return self.call(self.layer, x)
