"""Noisy layers: what an estimator may ask of one, and its place in a module.

A layer exposes its linear map and the same map with squared input and weights. Estimators are written in these
two, so that one file serves every kind of layer. The bias is deterministic and added by the problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap


@dataclass(frozen=True)
class Layer:
    """A dense noisy layer, b = x Wᵀ, with torch's layout of weights.

    Attributes:
        name: Name of the layer inside its module, such as ``fc1``.
        weight_shape: (outputs, inputs).
    """

    name: str
    weight_shape: tuple[int, int]

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


Sampler = Callable[[Layer, Tensor], Tensor]
"""``sampler(layer, x)`` gives a noisy layer's pre-activation, without the bias."""


class NoisyModule(nn.Module):
    """Stands in a module where a linear layer was, and asks the sampler in force for its pre-activation."""

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
