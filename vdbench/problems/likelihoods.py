"""Log-likelihoods: one value an example, shape (M,)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor


class Likelihood(Protocol):
    """log p(target | output), one value an example."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Values of shape (M,) in nats for outputs (M, …) and targets (M, …)."""
        ...


@runtime_checkable
class Expected(Protocol):
    """A likelihood that knows its expectation under independent normal outputs, exactly or nearly."""

    def expected(self, mean: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
        """E[log p(target | output)] of each example, shape (M,), for outputs N(mean, variance), each (M, …)."""
        ...


@dataclass(frozen=True)
class Categorical:
    """Softmax classification: outputs are logits (M, C), targets class indices (M,)."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """−cross entropy of each example, shape (M,)."""
        return -F.cross_entropy(outputs, targets, reduction="none")

    def expected(self, mean: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
        """Second-order expansion about the mean, log p_y(m) − ½ Σ_k p_k(1 − p_k) v_k (Braun & McAuliffe 2010)."""
        p = mean.softmax(1)
        return self(mean, targets) - 0.5 * (p * (1 - p) * variance).sum(1)


@dataclass(frozen=True)
class GaussianNoise:
    """Regression with known noise: outputs and targets (M, D), variance of the noise in units of target².

    The constant −½D·log(2π·variance) is part of the value: it shifts a score-function estimator's variance,
    so it is stated here and never dropped silently.
    """

    variance: float = 1.0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Log-density of each example, summed over D, shape (M,)."""
        constant = math.log(2 * math.pi * self.variance)
        residual = (outputs - targets).square() / self.variance
        return (-0.5 * (residual + constant)).flatten(1).sum(1)

    def expected(self, mean: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
        """Exactly: each residual's square has its variance added to it."""
        return self(mean, targets) - 0.5 * (variance / self.variance).flatten(1).sum(1)


@dataclass(frozen=True)
class Bernoulli:
    """Binary classification: outputs are logits of class 1, (M, 1), targets class numbers 0 and 1, (M,)."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Log-probability of each example's class, shape (M,): log s(±logit), s the logistic function."""
        sign = 2.0 * targets - 1
        return F.logsigmoid(outputs.squeeze(1) * sign.to(outputs.dtype))
