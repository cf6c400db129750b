"""The slow textbook twin of moment matching: unit by unit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from twins import BATCH, EXAMPLES, LAYERS, Twin, Weights, backward, posterior

from vdbench.noise import Noise


def rectified(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of max(0, b), the textbook difference of moments, for one b."""
    if not variance > 0:
        return (mean if mean > 0 else 0 * mean), 0 * variance
    s = variance.sqrt()
    unit = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    below, density = unit.cdf(mean / s), unit.log_prob(mean / s).exp()
    first = mean * below + s * density
    second = (mean * mean + variance) * below + mean * s * density
    return first, second - first * first


def matched(moments: Callable[[Weights, str], tuple[Tensor, Tensor]]) -> Twin:
    """Moments unit by unit; the output's by the expansion of log-sum-exp to second order, from its Hessian."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total = torch.zeros((), dtype=torch.float64)
        for m in range(BATCH):
            h = [(u, 0 * u) for u in inputs[m]]
            for layer in LAYERS:
                mu, square = moments(leaves, layer)
                b = []
                for j in range(len(mu)):
                    mean = leaves[f"{layer}.bias"][j]
                    spread = torch.zeros((), dtype=torch.float64)
                    for i, (first, var) in enumerate(h):
                        mean = mean + first * mu[j, i]
                        second = (first**2 + var) * (mu[j, i] ** 2 + square[j, i])
                        spread = spread + second - first**2 * mu[j, i] ** 2
                    b.append((mean, spread))
                h = [rectified(*u) for u in b] if layer != LAYERS[-1] else b
            total = total + expanded(h, int(targets[m]))
        total = EXAMPLES / BATCH * total
        return total.detach(), backward(total, leaves)

    return twin


def expanded(outputs: list[tuple[Tensor, Tensor]], target: int) -> Tensor:
    mean, variance = (torch.stack(part) for part in zip(*outputs, strict=True))
    hessian = torch.autograd.functional.hessian(lambda b: b.exp().sum().log(), mean, True)
    lse = mean.exp().sum().log() + 0.5 * (hessian.diagonal() * variance).sum()
    return mean[target] - lse


def squares(leaves: Weights, layer: str) -> tuple[Tensor, Tensor]:
    """μ and σ²."""
    mu, sigma = posterior(leaves, layer)
    return mu, sigma * sigma
