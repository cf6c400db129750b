"""The exact expected log-likelihood of a softmax over independent normal logits, for any number of classes.

With log z = ∫ (exp(−eᵘ) − exp(−z·eᵘ)) du and z = Σ_j exp(b_j), the expectation of the second term is a product over the
classes: E[log Σ_j exp b_j] = ∫ (exp(−eᵘ) − Π_j E[exp(−e^(u + b_j))]) du. Both integrals, over u and over each normal
number, are of functions that are analytic in a strip and vanish at both ends, for which the trapezoidal rule converges
exponentially: the steps are chosen for ten digits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

DIGITS = 25.0
"""−ln of the relative error that the steps are chosen for."""

STEP = 0.35
"""In u: exp(−eᵘ) is analytic for |Im u| < π/2, so that the error is exp(−π²/STEP)."""

REACH = 8.5
"""Standard deviations over which a normal number is summed."""


def expected_log_sum(mean: Tensor, variance: Tensor) -> Tensor:
    """E[log Σ_j exp b_j] of independent b_j ~ N(mean_j, variance_j), both (M, J); (M,)."""
    spread = variance.sqrt()
    widest = max(float(spread.detach().max()), 1e-3)
    step = min(math.pi**2 / (DIGITS * widest), 0.5)
    nodes = torch.arange(-REACH, REACH + step, step, dtype=mean.dtype)
    weights = step * torch.exp(-nodes.square() / 2) / math.sqrt(2 * math.pi)
    weights = weights / weights.sum()
    centre = mean.detach().max(1, keepdim=True).values
    lowest = -DIGITS - float((0.5 * variance).detach().max()) - math.log(mean.shape[1])
    highest = 4.0 + REACH * widest
    u = torch.arange(lowest, highest, STEP, dtype=mean.dtype)
    kept = torch.ones(len(mean), len(u), dtype=mean.dtype)
    for j in range(mean.shape[1]):  # one class after the other holds memory down
        b = (mean[:, j : j + 1] - centre)[..., None] + spread[:, j, None, None] * nodes
        kept = kept * (torch.exp(-torch.exp(u[None, :, None] + b)) @ weights)
    return centre[:, 0] + STEP * (torch.exp(-torch.exp(u)) - kept).sum(1)


def expected_log_likelihood(mean: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
    """E[log softmax(b)_y], (M,), of independent normal logits and classes y, (M,)."""
    own = mean.gather(1, targets[:, None])[:, 0]
    return own - expected_log_sum(mean, variance)
