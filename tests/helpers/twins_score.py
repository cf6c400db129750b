"""Slow textbook twins of estimators that weigh costs: score functions and measure-valued derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from twins import (
    BATCH,
    EXAMPLES,
    LAYERS,
    Affine,
    Given,
    Twin,
    Weights,
    backward,
    log_likelihood,
    mean,
    posterior,
    product,
)

from vdbench.noise import Noise


def score(samples: int, leave_one_out: bool, state: Any = None) -> Twin:
    """(L − b)·∇log q with ∇log q written out, and ∂L/∂bias by autograd."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        costs, slopes, biases = [], [], []
        for s in range(samples):
            eps = {
                layer: noise.at("sample", s)(layer, tuple(posterior(leaves, layer)[0].shape))
                for layer in LAYERS
            }
            drawn = {
                layer: (mu + sigma * eps[layer]).detach()
                for layer in LAYERS
                for mu, sigma in [posterior(leaves, layer)]
            }
            cost = torch.zeros((), dtype=torch.float64)
            for m in range(BATCH):
                affine = lambda layer, x, w=drawn: product(w[layer], x)  # noqa: E731
                cost = cost + log_likelihood(leaves, inputs[m], int(targets[m]), affine)
            cost = EXAMPLES / BATCH * cost
            costs.append(cost.detach())
            biases.append(backward(cost, leaves))
            slopes.append(scores(leaves, eps))
        return scored(costs, slopes, biases, leave_one_out, state)

    return twin


def scored(
    costs: list[Tensor],
    slopes: list[dict[str, Tensor]],
    own: list[dict[str, Tensor]],
    leave_one_out: bool,
    state: Any = None,
    terms: int = 1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over samples of (L − b)·∇log q; of a bias, of its own gradient.

    b is the mean of the other costs, or what the state says of a whole minibatch's over its terms, or 0.
    """
    count = len(costs)
    total = {name: torch.zeros_like(value) for name, value in own[0].items()}
    for s in range(count):
        others = [costs[t] for t in range(count) if t != s]
        for name in total:
            base = sum(others) / len(others) if leave_one_out else 0.0
            if state is not None:
                base = (state["cost"] + state.get("offset", {}).get(name, 0.0)) / terms
            part = own[s][name] if name.endswith("bias") else (costs[s] - base) * slopes[s][name]
            total[name] = total[name] + part / count
    return sum(costs) / count, total


def fitted(samples: int) -> Given:
    return Given(lambda state: score(samples, False, state))


def scores(leaves: Weights, eps: Weights) -> dict[str, Tensor]:
    """∇log q: ε/σ in μ, ½(ε² − 1) in log σ²; by the chain rule σ² = αθ² in θ and log α."""
    found = {}
    for layer in LAYERS:
        _, sigma = posterior({n: v.detach() for n, v in leaves.items()}, layer)
        slope, spread = eps[layer] / sigma, (eps[layer] ** 2 - 1) / 2
        if f"{layer}.mean" in leaves:
            found |= {f"{layer}.mean": slope, f"{layer}.log_variance": spread}
        else:
            theta = leaves[f"{layer}.theta"].detach()
            found |= {
                f"{layer}.theta": slope + spread * 2 / theta,
                f"{layer}.log_alpha": spread.sum().reshape(1),
            }
    return found


Linear = Callable[[str, Tensor, Tensor], Tensor]
"""One example's pre-activations: layer, activations, weights."""

Likelihood = Callable[[Weights, Tensor, int, Affine], Tensor]


def score_local(
    count: int,
    leave_one_out: bool,
    state: Any = None,
    linear: Linear = lambda layer, x, weight: product(weight, x),
    likelihood: Likelihood = log_likelihood,
) -> Twin:
    """Example by example (ℓ − b)·Σ ∇log q(b | layers before), the normal density written out; ∂ℓ/∂bias by autograd."""

    def example(leaves: dict[str, Tensor], x: Tensor, target: int, noise: Noise, m: int) -> Any:
        fixed = {n: v if n.endswith("bias") else v.detach() for n, v in leaves.items()}
        densities: list[Tensor] = []

        def affine(layer: str, x: Tensor) -> Tensor:
            mu, sigma = posterior(fixed, layer)
            gamma, delta = linear(layer, x, mu), linear(layer, x * x, sigma * sigma)
            zeta = noise(layer, (BATCH, *gamma.shape))[m]
            roots = [d.sqrt() if d > 0 else 0 * d for d in delta.flatten()]
            b = gamma + torch.stack(roots).reshape(gamma.shape) * zeta
            mu, sigma = posterior(leaves, layer)
            x = x.detach()
            gamma, delta = linear(layer, x, mu), linear(layer, x * x, sigma * sigma)
            for g, d, drawn in zip(
                gamma.flatten(), delta.flatten(), b.detach().flatten(), strict=True
            ):
                if d > 0:
                    densities.append(-0.5 * (d.log() + (drawn - g) ** 2 / d))
            return b

        cost = EXAMPLES / BATCH * likelihood(fixed, x, target, affine)
        return cost.detach(), backward(torch.stack(densities).sum(), leaves), backward(cost, leaves)

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        found = []
        for m in range(BATCH):
            drawn = [
                example(leaves, inputs[m], int(targets[m]), noise.at("sample", s), m)
                for s in range(count)
            ]
            costs, slopes, own = (list(part) for part in zip(*drawn, strict=True))
            found.append(scored(costs, slopes, own, leave_one_out, state, BATCH))
        value, gradients = mean(found)
        return BATCH * value, {name: BATCH * g for name, g in gradients.items()}

    return twin


Cost = Callable[[Weights, Weights, Tensor, Tensor], Tensor]
"""N/M-scaled log-likelihood of a minibatch: leaves (for the biases), weights by layer, inputs, targets."""


def whole(leaves: Weights, weights: Weights, inputs: Tensor, targets: Tensor) -> Tensor:
    parts = [
        log_likelihood(leaves, x, int(target), lambda layer, h: weights[layer] @ h)
        for x, target in zip(inputs, targets, strict=True)
    ]
    return EXAMPLES / BATCH * torch.stack(parts).sum()


def chained(leaves: Weights, slopes: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Gradients in the parameters from those in μ and σ of every layer: σ = exp(½ log σ²), or √α·θ."""
    found = {}
    for layer, (centre, scale) in slopes.items():
        _, sigma = posterior({n: v.detach() for n, v in leaves.items()}, layer)
        if f"{layer}.mean" in leaves:
            found |= {f"{layer}.mean": centre, f"{layer}.log_variance": scale * sigma / 2}
        else:
            alpha = leaves[f"{layer}.log_alpha"].detach().exp()
            found |= {
                f"{layer}.theta": centre + scale * alpha.sqrt(),
                f"{layer}.log_alpha": (scale * sigma / 2).sum().reshape(1),
            }
    return found


def measure_valued(cost: Cost = whole) -> Twin:
    """Weight by weight: the difference of costs at μ ± σR over σ√(2π), and at μ + σD and the sample itself over σ."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        q = {layer: [t.detach() for t in posterior(leaves, layer)] for layer in layers_of(leaves)}
        n = {layer: noise(layer, (3, *mu.shape)) for layer, (mu, _) in q.items()}
        base = {layer: mu + sigma * n[layer][0] for layer, (mu, sigma) in q.items()}
        value = cost(leaves, base, inputs, targets)
        slopes = {}
        for layer, (mu, sigma) in q.items():
            found = torch.zeros(2, *mu.shape, dtype=mu.dtype)
            for place in np.ndindex(*mu.shape):
                one, two, three = (n[layer][(i, *place)] for i in range(3))
                rayleigh = (two**2 + three**2).sqrt()
                maxwell = (one**2 + two**2 + three**2).sqrt() * (1 if one >= 0 else -1)

                def at(z: Tensor, layer: str = layer, place: Any = place) -> Tensor:
                    moved = base[layer].clone()
                    moved[place] = q[layer][0][place] + q[layer][1][place] * z
                    with torch.no_grad():
                        return cost(leaves, {**base, layer: moved}, inputs, targets)

                up = (at(rayleigh) - at(-rayleigh)) / math.sqrt(2 * math.pi)
                found[(0, *place)] = up / sigma[place]
                found[(1, *place)] = (at(maxwell) - value.detach()) / sigma[place]
            slopes[layer] = (found[0], found[1])
        return value.detach(), backward(value, leaves) | chained(leaves, slopes)

    return twin


def layers_of(leaves: Weights) -> list[str]:
    """The layers, by their biases."""
    return [name.removesuffix(".bias") for name in leaves if name.endswith(".bias")]
