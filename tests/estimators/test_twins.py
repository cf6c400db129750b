"""Every built-in estimator beside a slow textbook twin: loops over examples and samples, gradients by hand.

Both take the same numbers from the same addresses, so they must agree draw by draw, in float64, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import mask_twins
import pytest
import torch
from oracles import COORDINATES, network
from torch import Tensor

from vdbench.draws import gather
from vdbench.estimator import Estimator
from vdbench.noise import Key, Noise, stream
from vdbench.posteriors import Parameterization
from vdbench.problem import Batch, Problem
from vdbench.registry import get, names

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


def per_example(leaves: Weights, noise: Noise, m: int) -> Affine:
    """An ε of its own for example m."""
    return naive(leaves, noise.at("example", m), m)


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


def score(samples: int, leave_one_out: bool) -> Twin:
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
        return scored(costs, slopes, biases, leave_one_out)

    return twin


def scored(
    costs: list[Tensor],
    slopes: list[dict[str, Tensor]],
    own: list[dict[str, Tensor]],
    leave_one_out: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over samples of (L − b)·∇log q, b the mean of the other costs or 0; of a bias, of its own gradient."""
    count = len(costs)
    total = {name: torch.zeros_like(value) for name, value in own[0].items()}
    for s in range(count):
        others = [costs[t] for t in range(count) if t != s]
        base = sum(others) / len(others) if leave_one_out else 0.0
        for name in total:
            part = own[s][name] if name.endswith("bias") else (costs[s] - base) * slopes[s][name]
            total[name] = total[name] + part / count
    return sum(costs) / count, total


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


class Flipped:
    """The same noise with the other sign."""

    def __init__(self, noise: Noise) -> None:
        self.noise = noise

    def at(self, *parts: str | int) -> Flipped:
        return Flipped(self.noise.at(*parts))

    def __call__(self, name: str, shape: tuple[int, ...], law: str = "normal") -> Tensor:
        return 0 - self.noise(name, shape, law)


def mean(twins: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, dict[str, Tensor]]:
    """Of values and of gradients, name by name."""
    values, gradients = zip(*twins, strict=True)
    return sum(values) / len(twins), {
        name: sum(g[name] for g in gradients) / len(twins) for name in gradients[0]
    }


def samples(count: int, twin: Twin) -> Twin:
    """Draw by draw, each at its own address."""
    return lambda leaves, x, y, noise: mean(
        [twin(leaves, x, y, noise.at("sample", s)) for s in range(count)]
    )


def antithetic(twin: Twin) -> Twin:
    """At ε and at −ε, which is drawn a second time."""
    return lambda leaves, x, y, noise: mean(
        [twin(leaves, x, y, noise), twin(leaves, x, y, Flipped(noise))]
    )


TWINS: list[tuple[str, dict[str, object], Twin]] = [
    ("deterministic", {}, pathwise(deterministic)),
    ("naive", {}, pathwise(naive)),
    ("per-example", {}, pathwise(per_example)),
    ("per-example", {"chunk": 2}, pathwise(per_example)),
    ("local", {}, pathwise(local)),
    (
        "fast-dropout",
        {},
        pathwise(local),
    ),  # the same on independent normal weights; else test_families.py
    ("grouped", {}, pathwise(grouped(4))),
    ("grouped", {"groups": 2}, pathwise(grouped(2))),
    ("grouped", {"groups": 9}, pathwise(grouped(9))),
    ("flipout", {}, pathwise(flipout(1))),
    ("flipout", {"perturbations": 3}, pathwise(flipout(3))),
    ("score", {}, score(1, False)),
    ("score", {"samples": 3}, score(3, False)),
    ("score", {"samples": 3, "baseline": "leave-one-out"}, score(3, True)),
    ("samples", {"of": "local", "samples": 3}, samples(3, pathwise(local))),
    ("samples", {"of": get("score", samples=2), "samples": 2}, samples(2, score(2, False))),
    ("antithetic", {"of": "naive"}, antithetic(pathwise(naive))),
    ("antithetic", {"of": "per-example"}, antithetic(pathwise(per_example))),
    ("antithetic", {"of": "local"}, antithetic(pathwise(local))),
    (
        "antithetic",
        {"of": get("score", samples=3, baseline="leave-one-out")},
        antithetic(score(3, True)),
    ),
    (
        "samples",
        {"of": get("antithetic", of="local"), "samples": 2},
        samples(2, antithetic(pathwise(local))),
    ),
]


@pytest.mark.parametrize("coordinates", COORDINATES.values(), ids=COORDINATES)
@pytest.mark.parametrize(
    ("name", "options", "twin"), TWINS, ids=[f"{n}{tuple(o.values())}" for n, o, _ in TWINS]
)
def test_agrees_with_its_twin(
    name: str, options: dict[str, object], twin: Twin, coordinates: Parameterization
) -> None:
    problem, parameters = network(coordinates, EXAMPLES)
    estimator = get(name, **options)
    for draw in range(3):
        batch = gather(problem, (torch.arange(BATCH) + draw).numpy())
        agrees(estimator, problem, parameters, batch, Key(("twin", draw)), twin)


def agrees(
    estimator: Estimator,
    problem: Problem,
    parameters: dict[str, Tensor],
    batch: Batch,
    key: Key,
    twin: Twin,
) -> None:
    """One draw of an estimator beside its twin's, on the same noise: value, and gradients of all that is free."""
    ours = estimator(problem, parameters, batch, stream(key, dtype=torch.float64))
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


def test_every_built_in_estimator_has_a_twin() -> None:
    built_in = {n for n in names() if type(get(n)).__module__.startswith("estimators.")}
    assert built_in == {name for name, _, _ in TWINS} | set(mask_twins.EXAMPLE)
