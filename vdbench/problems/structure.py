"""Noise that is more than one normal number a weight: how it is drawn, what it does to the weights, and its entropy.

A posterior has a `Structure` where its standardised noise z has another law than the normal one, or where a weight
depends on several numbers of z. Then the weights are mean + perturbation(z), and

    KL(q ‖ N(0, s²)) = ½ Σ (μ² + Var w)/s² + ½ Σ ln 2πs² − entropy(q):

whatever the law of q, its divergence from a normal prior takes two moments and the entropy.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor

from vdbench.noise import Noise

NORMAL_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)
"""Differential entropy of N(0, 1), in nats."""


class Map(Protocol):
    """What is asked of a layer here."""

    @property
    def name(self) -> str:
        """The layer's name."""
        ...

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """Pre-activations of inputs under a weight."""
        ...

    def squared(self, x: Tensor, variance: Tensor) -> Tensor:
        """The same of squared inputs."""
        ...


def safe_sqrt(variance: Tensor) -> Tensor:
    """Square root whose derivative at 0 is finite.

    The variance is 0 only where the input row is all zero (or every σ is); then its own derivatives are 0, and so is
    their product with any finite number, where √'s ∞·0 would put NaN into the whole gradient. 1 is added where the
    variance is 0, and taken off the root.
    """
    none = (variance <= 0).to(variance.dtype)  # rounding makes some of a convolution's negative
    return (variance + none).sqrt() - none


class Structure(ABC):
    """The noise of one layer's weights."""

    def noise_shape(self, weights: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for weights of this shape; their own unless a subclass says otherwise."""
        return weights

    @abstractmethod
    def draw(
        self, noise: Noise, name: str, shape: tuple[int, ...], lead: tuple[int, ...]
    ) -> Tensor:
        """Z, with mean 0, variance 1 and no correlations.

        It is odd in the normal numbers that it takes from ``noise``: at their negatives it is −z.

        Args:
            noise: Where numbers come from.
            name: The layer's name.
            shape: From `noise_shape`.
            lead: How many independent ones: () or (examples,).

        Returns:
            (*lead, *shape).
        """

    def perturbation(self, scale: Tensor, z: Tensor) -> Tensor:
        """W − mean at the noise z; scale ∘ z unless a subclass says otherwise.

        Args:
            scale: Deviation of each weight, of the weights' shape.
            z: (…, *noise_shape).

        Returns:
            (…, *weights).
        """
        return scale * z

    @abstractmethod
    def entropy(self, scale: Tensor) -> Tensor:
        """Differential entropy of the weights in nats, a scalar, differentiable.

        Args:
            scale: Deviation of each weight.
        """


class Uncorrelated(Structure):
    """Noise that is not normal, of weights without covariances."""

    @abstractmethod
    def fourth(self, count: int) -> tuple[float, float]:
        """E[z_i⁴], and E[z_i² z_j²] of two of the numbers of a layer with so many weights."""


class Correlated(Structure):
    """Normal weights that are correlated: mean + a linear map of z."""

    def draw(
        self, noise: Noise, name: str, shape: tuple[int, ...], lead: tuple[int, ...]
    ) -> Tensor:
        """Independent standard normal numbers."""
        return noise(name, (*lead, *shape))

    @abstractmethod
    def covariance(self) -> Tensor:
        """Covariance of the weights in the order of their memory, (number of weights, number of weights)."""

    @abstractmethod
    def spread(self, layer: Map, x: Tensor) -> Tensor:
        """Variance of each pre-activation of a dense layer, (…, outputs), for inputs (…, inputs)."""

    @abstractmethod
    def preactivations(self, layer: Map, x: Tensor, noise: Noise) -> Tensor:
        """X(W − mean) for a W of its own for every row of x, without sampling W.

        Of one row all outputs have the joint law that the weights give them; rows are independent.

        Args:
            layer: A dense layer.
            x: Its inputs, (…, inputs).
            noise: Of the draw; ``noise(layer.name, (…, outputs))`` and what lies below it are asked for.

        Returns:
            (…, outputs).
        """
