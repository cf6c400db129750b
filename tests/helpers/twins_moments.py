"""The slow textbook twin of moment matching: unit by unit."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
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


def covariant(nodes: int) -> Twin:
    """Means and covariances pair by pair, through all layers; log-sum-exp by the trace of its Hessian times them."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total = torch.zeros((), dtype=torch.float64)
        for m in range(BATCH):
            mean, joint = inputs[m], torch.zeros(7, 7, dtype=torch.float64)
            for layer in LAYERS:
                mu, sigma = posterior(leaves, layer)
                found = [[row @ joint @ other for other in mu] for row in mu]
                for j, noise_of in enumerate(sigma):
                    found[j][j] = found[j][j] + (noise_of**2 * (mean**2 + joint.diagonal())).sum()
                mean = mu @ mean + leaves[f"{layer}.bias"]
                joint = torch.stack([torch.stack(row) for row in found])
                if layer != LAYERS[-1]:
                    mean, joint = _through_relu(mean, joint, nodes)
            hessian = torch.autograd.functional.hessian(lambda b: b.exp().sum().log(), mean, True)
            lse = mean.exp().sum().log() + 0.5 * (hessian * joint).sum()
            total = total + mean[int(targets[m])] - lse
        total = EXAMPLES / BATCH * total
        return total.detach(), backward(total, leaves)

    return twin


def _through_relu(mean: Tensor, joint: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of rectified units, pair by pair."""
    size = range(len(mean))
    own = [rectified(mean[j], joint[j, j]) for j in size]
    rows = [
        torch.stack([own[j][1] if j == k else _both(mean, joint, j, k, nodes) for k in size])
        for j in size
    ]
    return torch.stack([u for u, _ in own]), torch.stack(rows)


def _both(mean: Tensor, joint: Tensor, j: int, k: int, nodes: int) -> Tensor:
    """Covariance of two rectified units, by the rule in arcsin r written out for the density φ₂ itself."""
    c = joint[j, k]
    if c == 0:  # of independent units, or one without noise
        return 0 * c
    s, t = joint[j, j].sqrt(), joint[k, k].sqrt()
    a, b, rho = mean[j] / s, mean[k] / t, c / s / t
    unit = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    total = c * unit.cdf(a) * unit.cdf(b)
    points, weights = np.polynomial.legendre.leggauss(nodes)
    for x, w in zip(points, weights, strict=True):
        angle = torch.asin(rho) * (1 + float(x)) / 2
        r = torch.sin(angle)
        form = (a * a - 2 * r * a * b + b * b) / (1 - r * r)
        density = torch.exp(-form / 2) / (2 * math.pi * (1 - r * r).sqrt())
        step = torch.asin(rho) / 2 * float(w) * torch.cos(angle)
        total = total + s * t * (rho - r) * density * step
    return total
