"""Slow textbook twins of estimators that perturb a weight sample, or take the curvature there.

Gradients and Hessians in the weights are written out entry by entry, by autograd on the flat vector of all weights and
biases; directions are dotted with them by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from twins import BATCH, EXAMPLES, Given, Twin, Weights, backward, posterior
from twins_score import Cost, chained, layers_of, whole
from twins_wrapped import Second

from vdbench.noise import Noise

Slopes = dict[str, Tensor]


def law(leaves: Weights, layer: str) -> tuple[Tensor, Tensor]:
    mu, sigma = posterior(leaves, layer)
    return mu.detach(), sigma.detach()


def sampled(leaves: Weights, noise: Noise) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """ε and μ + σε of every layer."""
    eps = {a: noise(a, tuple(law(leaves, a)[0].shape)) for a in layers_of(leaves)}
    return eps, {a: law(leaves, a)[0] + law(leaves, a)[1] * z for a, z in eps.items()}


def biases(leaves: Weights) -> Slopes:
    return {n: v.detach() for n, v in leaves.items() if n.endswith(".bias")}


class Around(Second):
    """The cost about a weight sample, in weights and biases."""

    def __init__(
        self, leaves: Weights, weights: Weights, inputs: Tensor, targets: Tensor, cost: Cost
    ) -> None:
        fixed = {f"{a}.mean": w for a, w in weights.items()}
        fixed |= {f"{a}.log_variance": torch.zeros_like(w) for a, w in weights.items()}
        super().__init__({**fixed, **biases(leaves)}, inputs, targets, cost)

    def named(self, flat: Tensor) -> Slopes:
        """By layer for weights, by name for biases."""
        return {n.removesuffix(".weight"): v for n, v in self.split(flat).items()}


def back(leaves: Weights, eps: Weights, slopes: Slopes) -> dict[str, Tensor]:
    """ĝ in μ and εĝ in σ; a bias has its own slope."""
    found = chained(leaves, {a: (slopes[a], z * slopes[a]) for a, z in eps.items()})
    return found | {n: v for n, v in slopes.items() if n.endswith(".bias")}


def forward_gradient(count: int, cost: Cost = whole) -> Twin:
    """(∇L·v)v with the gradient of the whole cost written out."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        eps, weights = sampled(leaves, noise)
        at = Around(leaves, weights, inputs, targets, cost)
        slope = at.named(at.slope)
        total = {n: torch.zeros_like(v) for n, v in slope.items()}
        for d in range(count):
            v = {n: noise.at("direction", d)(n, tuple(g.shape)) for n, g in slope.items()}
            along = sum(float((slope[n] * v[n]).sum()) for n in v)
            total = {n: total[n] + along * v[n] / count for n in v}
        return at.value, back(leaves, eps, total)

    return twin


def spsa(step: float, cost: Cost = whole) -> Twin:
    """Two costs of the whole minibatch."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        eps, weights = sampled(leaves, noise)
        there = {**weights, **biases(leaves)}
        signs = {n: noise.at("step")(n, tuple(v.shape), law="sign") for n, v in there.items()}
        by = step * max(1.0, *(abs(x) for v in there.values() for x in v.flatten().tolist()))
        up, down = (
            cost(
                {n: v + c * signs[n] for n, v in biases(leaves).items()},
                {a: w + c * signs[a] for a, w in weights.items()},
                inputs,
                targets,
            )
            for c in (by, -by)
        )
        slope = (up - down) / (2 * by)
        return (up + down) / 2, back(leaves, eps, {n: slope * s for n, s in signs.items()})

    return twin


def evolution_strategies(
    samples: int, mirrored: bool, centre: bool, rank: int = 0, cost: Cost = whole
) -> Twin:
    """Costs less that at the means, times ε/σ and (ε² − 1)/σ; the bias by autograd at the samples."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        layers = layers_of(leaves)
        means = {a: law(leaves, a)[0] for a in layers}
        base = cost(leaves, means, inputs, targets).detach() if centre else torch.zeros(())
        values, parts = [], []
        for s in range(samples):
            eps = {a: _drawn(means[a], noise.at("sample", s), a, rank) for a in layers}
            for sign in (1, -1) if mirrored else (1,):
                drawn = {a: sign * z for a, z in eps.items()}
                there = {a: means[a] + law(leaves, a)[1] * z for a, z in drawn.items()}
                value = cost(leaves, there, inputs, targets)
                scored = chained(leaves, {a: _score(leaves, a, z) for a, z in drawn.items()})
                found = {n: (value.detach() - base) * v for n, v in scored.items()}
                own = backward(value, leaves)
                parts.append(found | {n: v for n, v in own.items() if n.endswith("bias")})
                values.append(value.detach())
        count = len(values)
        return sum(values) / count, {n: sum(p[n] for p in parts) / count for n in parts[0]}

    return twin


def _score(leaves: Weights, layer: str, eps: Tensor) -> tuple[Tensor, Tensor]:
    """∇log q in μ and σ."""
    sigma = law(leaves, layer)[1]
    return eps / sigma, (eps**2 - 1) / sigma


def _drawn(mu: Tensor, noise: Noise, layer: str, rank: int) -> Tensor:
    if not rank:
        return noise(layer, tuple(mu.shape))
    flat = mu.flatten(1)
    left = noise.at("left")(layer, (flat.shape[0], rank))
    right = noise.at("right")(layer, (flat.shape[1], rank))
    rows = [
        [sum(left[j, k] * right[i, k] for k in range(rank)) for i in range(flat.shape[1])]
        for j in range(flat.shape[0])
    ]
    whole = torch.stack([torch.stack(row) for row in rows]) / math.sqrt(rank)
    return whole.reshape(mu.shape)


def price_hessian(probes: int, cost: Cost = whole) -> Twin:
    """Σ_j z_i H_ij z_j with the whole Hessian written out."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        _, weights = sampled(leaves, noise)
        at = Around(leaves, weights, inputs, targets, cost)
        slope = at.named(at.slope)
        along = {a: torch.zeros_like(w) for a, w in weights.items()}
        for p in range(probes):
            z = {a: noise.at("probe", p)(a, tuple(w.shape), law="sign") for a, w in weights.items()}
            product = at.named(at.hessian @ at.flat(z))
            along = {a: along[a] + z[a] * product[a] / probes for a in z}
        return at.value, curved(leaves, slope, along)

    return twin


def curved(leaves: Weights, slope: Slopes, diagonal: Weights) -> dict[str, Tensor]:
    """∇L in μ, σ times the diagonal in σ."""
    parts = {a: (slope[a], law(leaves, a)[1] * h) for a, h in diagonal.items()}
    return chained(leaves, parts) | {n: v for n, v in slope.items() if n.endswith(".bias")}


def quadratic(cost: Cost = whole) -> Given:
    """Naive sampling less the two parts of the state's model, its matrix UTUᵀ written out over all weights."""

    def made(state: Any) -> Twin:
        def twin(
            leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
        ) -> tuple[Tensor, dict[str, Tensor]]:
            eps, weights = sampled(leaves, noise)
            at = Around(leaves, weights, inputs, targets, cost)
            total = back(leaves, eps, at.named(at.slope))
            rows = torch.cat([u.flatten(1) for u in state["basis"].values()], 1)
            matrix = rows.T @ state["curve"] @ rows
            sigma = {a: law(leaves, a)[1] for a in eps}
            delta = torch.cat([(sigma[a] * z).flatten() for a, z in eps.items()])
            sizes = [z.numel() for z in eps.values()]
            s, d = ((v.split(sizes)) for v in (matrix @ delta, matrix.diagonal()))
            parts = {}
            for (a, z), along, own in zip(eps.items(), s, d, strict=True):
                along, own = along.reshape(z.shape), own.reshape(z.shape)
                parts[a] = (along, z * along - sigma[a] * own)
            straight = chained(leaves, {a: (0 * z, z * state["slope"][a]) for a, z in eps.items()})
            curved = chained(leaves, parts)
            for n, v in state["rest"].items():
                curved[n] = sum(x * part for x, part in zip(rows @ delta, v, strict=True))
            for n, (one, two) in state["weights"].items():
                total[n] = total[n] - one * straight.get(n, 0) - two * curved[n]
            return at.value, total

        return twin

    return Given(made)


def gradsq(examples: bool, cost: Cost = whole) -> Twin:
    """Minus squares, of the whole gradient or of each example's own."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        _, weights = sampled(leaves, noise)
        at = Around(leaves, weights, inputs, targets, cost)
        slope = at.named(at.slope)
        squares = {a: slope[a] ** 2 for a in weights}
        if examples:
            squares = {a: torch.zeros_like(w) for a, w in weights.items()}
            for m in range(BATCH):
                one = Around(leaves, weights, inputs[m : m + 1], targets[m : m + 1], cost)
                # the cost of any minibatch is scaled by N/M of the whole one
                own = one.named(one.slope * BATCH / EXAMPLES)
                squares = {a: squares[a] + EXAMPLES / BATCH * own[a] ** 2 for a in squares}
        return at.value, curved(leaves, slope, {a: -s for a, s in squares.items()})

    return twin


def activity_perturbation(
    count: int,
    linear: Callable[[str, Tensor, Tensor], Tensor],
    likelihood: Callable[[Any, Tensor, int, Any], Tensor],
    local: bool = False,
) -> Twin:
    """Example by example: ∂ℓ/∂b of every pre-activation by autograd, dotted with v; then ∂b/∂parameter by layer."""

    def example(
        leaves: dict[str, Tensor], x: Tensor, target: int, noise: Noise, m: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        calls: list[tuple[str, Tensor, Tensor]] = []

        def sample(at: Weights, layer: str, h: Tensor) -> Tensor:
            mu, sigma = posterior(at, layer)
            if not local:
                return linear(layer, h, mu + sigma * noise(layer, tuple(mu.shape)))
            mean, spread = linear(layer, h, mu), linear(layer, h * h, sigma * sigma)
            root = torch.stack([d.sqrt() if d > 0 else 0 * d for d in spread.flatten()])
            return mean + root.reshape(mean.shape) * noise(layer, (BATCH, *mean.shape))[m]

        def affine(layer: str, h: Tensor) -> Tensor:
            b = sample(fixed, layer, h)
            calls.append((layer, h.detach(), torch.zeros_like(b, requires_grad=True)))
            return b + calls[-1][2]

        fixed = {n: v.detach() for n, v in leaves.items()}
        value = EXAMPLES / BATCH * likelihood(fixed, x, target, affine)
        slopes = torch.autograd.grad(value, [zero for _, _, zero in calls])
        total = {n: torch.zeros_like(v) for n, v in leaves.items()}
        for d in range(count):
            v = [
                noise.at("direction", d, "call", i)(layer, (BATCH, *zero.shape))[m]
                for i, (layer, _, zero) in enumerate(calls)
            ]
            along = sum(float((s * u).sum()) for s, u in zip(slopes, v, strict=True))
            for (layer, h, _), u in zip(calls, v, strict=True):
                b = sample(leaves, layer, h)
                bias = leaves[f"{layer}.bias"]
                b = torch.stack([channel + bias[j] for j, channel in enumerate(b)])
                own = backward((along * u * b).sum() / count, leaves)
                total = {n: total[n] + g for n, g in own.items()}
        return value.detach(), total

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        found = [example(leaves, inputs[m], int(targets[m]), noise, m) for m in range(BATCH)]
        value = sum(v for v, _ in found)
        return value, {n: sum(g[n] for _, g in found) for n in leaves}

    return twin
