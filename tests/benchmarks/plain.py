"""The same gradients as a careful user would write them by hand: plain tensors, torch.autograd, no vdbench."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = list[tuple[Tensor, Tensor, Tensor]]
"""(mean, log-variance, bias) of each layer, mean and log-variance (outputs, inputs)."""

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Pre-activation from input, mean and log-variance."""


def network(weights: Weights, x: Tensor, layer: Layer) -> Tensor:
    """Logits of a ReLU network."""
    for place, (mean, log_variance, bias) in enumerate(weights):
        x = layer(x, mean, log_variance) + bias
        if place < len(weights) - 1:
            x = x.relu()
    return x


def deterministic(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    return F.linear(x, mean)


def naive(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    scale = torch.exp(0.5 * log_variance)
    return F.linear(x, torch.addcmul(mean, scale, torch.randn_like(mean)))


def local(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    b = F.linear(x, mean)
    return b + F.linear(x.square(), torch.exp(log_variance)).sqrt() * torch.randn_like(b)


def per_example(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    scale = torch.exp(0.5 * log_variance)
    noise = torch.randn(x.shape[0], *mean.shape)
    return torch.einsum("moi,mi->mo", mean + scale * noise, x)


PATHWISE: dict[str, Layer] = {
    "deterministic": deterministic,
    "naive": naive,
    "local": local,
    "per-example": per_example,
}


def pathwise(weights: Weights, x: Tensor, y: Tensor, scale: float, layer: Layer) -> list[Tensor]:
    """Gradient of scale · Σ log p through the samples."""
    leaves = [t for triple in weights for t in triple]
    value = -scale * F.cross_entropy(network(weights, x, layer), y, reduction="sum")
    return list(torch.autograd.grad(value, leaves, materialize_grads=True))


def score(weights: Weights, x: Tensor, y: Tensor, scale: float, samples: int) -> list[Tensor]:
    """Leave-one-out score function, its gradient in (mean, log-variance) written out."""
    drawn, values, slopes = [], [], []
    biases = [bias for _, _, bias in weights]
    with torch.no_grad():
        scales = [torch.exp(0.5 * log_variance) for _, log_variance, _ in weights]
    for _ in range(samples):
        noise = [torch.randn_like(mean) for mean, _, _ in weights]
        with torch.no_grad():
            sampled = [m + s * e for (m, _, _), s, e in zip(weights, scales, noise, strict=True)]
        b = x
        for place, (weight, bias) in enumerate(zip(sampled, biases, strict=True)):
            b = F.linear(b, weight, bias)
            b = b.relu() if place < len(biases) - 1 else b
        value = -scale * F.cross_entropy(b, y, reduction="sum")
        slopes.append(torch.autograd.grad(value, biases))
        drawn.append(noise)
        values.append(value.detach())
    cost = torch.stack(values)
    gain = (cost - (cost.sum() - cost) / (samples - 1)) / samples
    result = []
    for place, sd in enumerate(scales):
        noises = torch.stack([noise[place] for noise in drawn])
        weight = gain[:, None, None]
        result.append((weight * noises / sd).sum(0))
        result.append((weight * (noises.square() - 1) / 2).sum(0))
        result.append(torch.stack([slope[place] for slope in slopes]).mean(0))
    return result


def leaves(layers: Iterable[Any], parameters: Mapping[str, Tensor]) -> Weights:
    """Parameters of a network of dense layers in (μ, log σ²), to be differentiated in."""
    parts = ("mean", "log_variance", "bias")
    made = [
        [parameters[f"{a.name}.{part}"].clone().requires_grad_() for part in parts] for a in layers
    ]
    return [(mean, log_variance, bias) for mean, log_variance, bias in made]


def divergence(weights: Weights) -> Tensor:
    """KL of the weights' law from a standard normal prior."""
    parts = [0.5 * (v.exp() + m.square() - 1 - v).sum() for m, v, _ in weights]
    return torch.stack(parts).sum()


def training(
    weights: Weights, x: Tensor, y: Tensor, size: int, layer: Layer, rate: float
) -> Callable[[int], None]:
    """Training by Adam on −ELBO / N, some steps at a time."""
    parameters = [t for triple in weights for t in triple]
    optimizer = torch.optim.Adam(parameters, lr=rate, fused=True)
    order, place = torch.randperm(len(x)), 0

    def advance(steps: int) -> None:
        nonlocal order, place
        for _ in range(steps):
            if place + size > len(x):
                order, place = torch.randperm(len(x)), 0
            rows = order[place : place + size]
            place += size
            outputs = network(weights, x[rows], layer)
            cost = F.cross_entropy(outputs, y[rows], reduction="sum") / size
            loss = cost + divergence(weights) / len(x)
            optimizer.zero_grad()
            loss.backward()
            if not math.isfinite(float(loss.detach())):
                raise FloatingPointError("diverged")
            optimizer.step()

    return advance
