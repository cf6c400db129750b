"""Slow textbook twins of estimators on the dense network: loops over examples and samples, gradients by hand.

A twin takes the same numbers from the same addresses as its estimator, so they must agree draw by draw, in float64,
to rounding (`agrees`). Here are the pathwise ones; `twins_score`, `twins_wrapped` and `twins_moments` have the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vdbench.estimation.base import Estimator
from vdbench.noise import Key, Noise, stream
from vdbench.problems.problem import Batch, Problem

LAYERS = ("0", "2", "4")
EXAMPLES, BATCH = 12, 5


Weights = Mapping[str, Tensor]


def posterior(leaves: Weights, layer: str) -> tuple[Tensor, Tensor]:
    """μ and σ of one layer."""
    if f"{layer}.mean" in leaves:
        return leaves[f"{layer}.mean"], (leaves[f"{layer}.log_variance"]).exp().sqrt()
    theta, alpha = leaves[f"{layer}.theta"], leaves[f"{layer}.log_alpha"].exp()
    return theta, alpha.sqrt() * theta


Affine = Callable[[str, Tensor], Tensor]
"""Pre-activation (outputs,) of a layer for the activations (inputs,) of one example, without the bias."""


def log_likelihood(leaves: Weights, x: Tensor, target: int, affine: Affine) -> Tensor:
    """Log softmax of the target's logit, one example, written out."""
    h = x
    for layer in LAYERS:
        h = affine(layer, h) + leaves[f"{layer}.bias"]
        if layer != LAYERS[-1]:
            h = torch.stack([u if u > 0 else 0 * u for u in h])
    return h[target] - torch.stack([u.exp() for u in h]).sum().log()


def product(weight: Tensor, x: Tensor) -> Tensor:
    """W x, one output at a time."""
    return torch.stack([(row * x).sum() for row in weight])


def backward(value: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients by autograd on plain tensors; zero where a leaf takes no part."""
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if g is None else g
        for (name, leaf), g in zip(leaves.items(), found, strict=True)
    }


Twin = Callable[[dict[str, Tensor], Tensor, Tensor, Noise], tuple[Tensor, dict[str, Tensor]]]


def pathwise(sample: Callable[[Weights, Noise, int], Affine]) -> Twin:
    """Sum over the examples, one at a time; ``sample`` gives example m its layers."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total = torch.zeros((), dtype=torch.float64)
        for m in range(BATCH):
            affine = sample(leaves, noise, m)
            total = total + log_likelihood(leaves, inputs[m], int(targets[m]), affine)
        total = EXAMPLES / BATCH * total
        return total.detach(), backward(total, leaves)

    return twin


def deterministic(leaves: Weights, noise: Noise, m: int) -> Affine:
    return lambda layer, x: product(posterior(leaves, layer)[0], x)


def naive(leaves: Weights, noise: Noise, m: int) -> Affine:
    """The same ε for all examples."""

    def affine(layer: str, x: Tensor) -> Tensor:
        mu, sigma = posterior(leaves, layer)
        return product(mu + sigma * noise(layer, tuple(mu.shape)), x)

    return affine


@dataclass(frozen=True)
class Row:
    """One row of what a noise draws for several examples."""

    noise: Noise
    place: int
    rows: int

    def at(self, *parts: str | int) -> Row:
        return Row(self.noise.at(*parts), self.place, self.rows)

    def __call__(self, name: str, shape: tuple[int, ...], law: str = "normal") -> Tensor:
        return self.noise(name, (self.rows, *shape), law)[self.place]


def own(noise: Noise, m: int, examples: int = BATCH, together: int = 32) -> Any:
    """What `per-example` draws for example m alone: its row of the numbers of the group that it is in."""
    number, place = divmod(m, together)
    return Row(noise.at("examples", number), place, min(together, examples - number * together))


def per_example(leaves: Weights, noise: Noise, m: int) -> Affine:
    """An ε of its own for example m."""
    return naive(leaves, own(noise, m), m)


def group(parts: int, m: int) -> int:
    """The part of the minibatch that example m is in: as equal as can be, the first ones larger."""
    small, large = divmod(BATCH, min(parts, BATCH))
    bounds = [0]
    for part in range(min(parts, BATCH)):
        bounds.append(bounds[-1] + small + (part < large))
    return next(part for part, end in enumerate(bounds[1:]) if m < end)


def grouped(groups: int) -> Callable[[Weights, Noise, int], Affine]:
    """An ε of its group's for example m."""
    return lambda leaves, noise, m: naive(leaves, noise.at("group", group(groups, m)), m)


def flipout(perturbations: int) -> Callable[[Weights, Noise, int], Affine]:
    """A weight sample for example m: μ_ji + t_j σ_ji ε_ji s_i."""

    def sample(leaves: Weights, noise: Noise, m: int) -> Affine:
        base = noise.at("base", group(perturbations, m))

        def affine(layer: str, x: Tensor) -> Tensor:
            mu, sigma = posterior(leaves, layer)
            s = noise.at("input")(layer, (BATCH, mu.shape[1]), law="sign")[m]
            t = noise.at("output")(layer, (BATCH, mu.shape[0]), law="sign")[m]
            epsilon = base(layer, tuple(mu.shape))
            return product(mu + t[:, None] * sigma * epsilon * s, x)

        return affine

    return sample


def local(leaves: Weights, noise: Noise, m: int) -> Affine:
    """γ_j + √δ_j·ζ_mj, output by output; where δ is 0 (no input), nothing depends on σ."""

    def affine(layer: str, x: Tensor) -> Tensor:
        mu, sigma = posterior(leaves, layer)
        zeta = noise(layer, (BATCH, len(mu)))[m]
        outputs = []
        for j in range(len(mu)):
            gamma = (x * mu[j]).sum()
            delta = (x * x * sigma[j] * sigma[j]).sum()
            outputs.append(gamma + delta.sqrt() * zeta[j] if delta > 0 else gamma)
        return torch.stack(outputs)

    return affine


def type_a(leaves: Weights, noise: Noise, m: int) -> Affine:
    """A weight sample of its own for example m: row i of the weights times ξ_mi."""

    def affine(layer: str, x: Tensor) -> Tensor:
        theta, alpha = leaves[f"{layer}.theta"], leaves[f"{layer}.log_alpha"].exp()
        z = noise.at("examples")(layer, (BATCH, 1, len(x)))[m]
        return product(theta * (1 + alpha.sqrt() * z), x)

    return affine


def mixed(
    rules: Mapping[str, Callable[[Weights, Noise, int], Affine]],
    default: Callable[[Weights, Noise, int], Affine],
) -> Callable[[Weights, Noise, int], Affine]:
    """Each layer by its own rule."""
    return lambda leaves, noise, m: (
        lambda layer, x: rules.get(layer, default)(leaves, noise, m)(layer, x)
    )


def mean(twins: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, dict[str, Tensor]]:
    """Of values and of gradients, name by name."""
    values, gradients = zip(*twins, strict=True)
    return sum(values) / len(twins), {
        name: sum(g[name] for g in gradients) / len(twins) for name in gradients[0]
    }


@dataclass(frozen=True)
class Given:
    """A twin that is made with the state of the estimator."""

    make: Callable[[Any], Twin]


def agrees(
    estimator: Estimator,
    problem: Problem,
    parameters: dict[str, Tensor],
    batch: Batch,
    key: Key,
    twin: Twin | Given,
) -> None:
    """One draw of an estimator beside its twin's, on the same noise: value, and gradients of all that is free."""
    state = estimator.fit(problem, parameters, key / "fit")
    ours = estimator(problem, parameters, batch, stream(key, dtype=torch.float64), state)
    twin = twin.make(state) if isinstance(twin, Given) else twin
    leaves = {n: v.clone().requires_grad_() for n, v in parameters.items()}
    value, gradients = twin(leaves, *batch, stream(key, dtype=torch.float64))
    close(f"value at {key}", ours.value, value)
    assert set(ours.gradients) == set(problem.free(parameters))
    for parameter, gradient in ours.gradients.items():
        close(f"{parameter} at {key}", gradient, gradients[parameter])


def close(what: str, got: Tensor, want: Tensor) -> None:
    """Within 1e-10 of the largest."""
    assert got.shape == want.shape, what
    worst = float((got - want).abs().max())
    room = 1e-10 * (1e-3 + float(want.abs().max()))
    assert math.isfinite(worst), what
    assert worst <= room, f"{what}: differs by {worst:.3g} of {float(want.abs().max()):.3g}"
