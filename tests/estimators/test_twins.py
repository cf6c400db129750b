"""Every built-in estimator beside a slow textbook twin: loops over examples and samples, gradients by hand.

Both take the same numbers from the same addresses, so they must agree draw by draw, in float64, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mask_twins
import numpy as np
import pytest
import torch
from everyone import fitting, prior
from oracles import COORDINATES, network
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import gather
from vdbench.estimation.options import get
from vdbench.estimation.registry import names
from vdbench.noise import Key, Noise, stream
from vdbench.problems.parameterization import Parameterization
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


@dataclass(frozen=True)
class Given:
    """A twin that is made with the state of the estimator."""

    make: Callable[[Any], Twin]


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
    for layer, (mean, scale) in slopes.items():
        _, sigma = posterior({n: v.detach() for n, v in leaves.items()}, layer)
        if f"{layer}.mean" in leaves:
            found |= {f"{layer}.mean": mean, f"{layer}.log_variance": scale * sigma / 2}
        else:
            alpha = leaves[f"{layer}.log_alpha"].detach().exp()
            found |= {
                f"{layer}.theta": mean + scale * alpha.sqrt(),
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


class Second:
    """Value, gradient and the whole Hessian of a minibatch's cost at the mean weights, in weights and biases."""

    def __init__(self, leaves: Weights, inputs: Tensor, targets: Tensor, cost: Cost) -> None:
        layers = layers_of(leaves)
        parts = {f"{a}.weight": posterior(leaves, a)[0].detach() for a in layers}
        parts |= {f"{a}.bias": leaves[f"{a}.bias"].detach() for a in layers}
        self.shapes = {name: value.shape for name, value in parts.items()}
        flat = torch.cat([value.flatten() for value in parts.values()]).requires_grad_()

        def at(point: Tensor) -> Tensor:
            split = self.split(point)
            weights = {a: split[f"{a}.weight"] for a in layers}
            return cost(split, weights, inputs, targets)

        value = at(flat)
        (slope,) = torch.autograd.grad(value, flat, create_graph=True)
        rows = [torch.autograd.grad(g, flat, retain_graph=True)[0] for g in slope]
        self.value, self.slope = value.detach(), slope.detach()
        self.hessian = torch.stack(rows)

    def split(self, point: Tensor) -> dict[str, Tensor]:
        parts = point.split([shape.numel() for shape in self.shapes.values()])
        return {
            n: p.reshape(shape) for (n, shape), p in zip(self.shapes.items(), parts, strict=True)
        }

    def flat(self, weights: Weights) -> Tensor:
        """A direction in the weights, none in the biases."""
        zero = [torch.zeros(shape).double() for shape in self.shapes.values()]
        parts = dict(zip(self.shapes, zero, strict=True))
        parts |= {f"{a}.weight": value for a, value in weights.items()}
        return torch.cat([part.flatten() for part in parts.values()])


def hvp(cost: Cost = whole, inner: Twin | None = None) -> Twin:
    """Around naive sampling: less Hσε in μ, ε∇L(μ) in σ and the Hessian's mixed part times σε in the biases."""
    sampled = inner or pathwise(naive)

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        value, gradients = sampled(leaves, inputs, targets, noise)
        at = Second(leaves, inputs, targets, cost)
        q = {a: [t.detach() for t in posterior(leaves, a)] for a in layers_of(leaves)}
        eps = {a: noise(a, tuple(mu.shape)) for a, (mu, _) in q.items()}
        step = {a: sigma * eps[a] for a, (_, sigma) in q.items()}
        curved, slope = at.split(at.hessian @ at.flat(step)), at.split(at.slope)
        control = chained(
            leaves, {a: (curved[f"{a}.weight"], eps[a] * slope[f"{a}.weight"]) for a in q}
        )
        control |= {f"{a}.bias": curved[f"{a}.bias"] for a in q}
        return value, {name: g - control[name] for name, g in gradients.items()}

    return twin


def delta(samples: int, leave_one_out: bool) -> Twin:
    """Around the score function: less the Taylor polynomial times ∇log q, and its mean ∇L(μ) in μ, σH_ii in σ, more."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        value, gradients = score(samples, leave_one_out)(leaves, inputs, targets, noise)
        at = Second(leaves, inputs, targets, whole)
        q = {a: [t.detach() for t in posterior(leaves, a)] for a in LAYERS}
        curved, slope = at.split(at.hessian.diagonal()), at.split(at.slope)
        total = chained(
            leaves,
            {a: (slope[f"{a}.weight"], curved[f"{a}.weight"] * q[a][1]) for a in LAYERS},
        )
        for s in range(samples):
            eps = {a: noise.at("sample", s)(a, tuple(q[a][0].shape)) for a in LAYERS}
            d = at.flat({a: q[a][1] * eps[a] for a in LAYERS})
            cost = at.slope @ d + d @ at.hessian @ d / 2 + (0 if leave_one_out else at.value)
            for name, h in scores(leaves, eps).items():
                total[name] = total[name] - cost * h / samples
        return value, {name: g + total.get(name, 0.0) for name, g in gradients.items()}

    return twin


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


def type_a(leaves: Weights, noise: Noise, m: int) -> Affine:
    """A weight sample of its own for example m: row i of the weights times ξ_mi."""

    def affine(layer: str, x: Tensor) -> Tensor:
        theta, alpha = leaves[f"{layer}.theta"], leaves[f"{layer}.log_alpha"].exp()
        z = noise.at("examples")(layer, (BATCH, 1, len(x)))[m]
        return product(theta * (1 + alpha.sqrt() * z), x)

    return affine


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


class Stratified:
    """The noise of sample s of a Latin hypercube, coordinate by coordinate."""

    def __init__(self, noise: Noise, s: int, samples: int) -> None:
        self.noise, self.s, self.samples = noise, s, samples

    def at(self, *parts: str | int) -> Stratified:
        return Stratified(self.noise.at(*parts), self.s, self.samples)

    def uniform(self, what: str, name: str, count: int, shape: tuple[int, ...], law: str) -> Tensor:
        asked = self.noise.at("coupled", law, what)(name, (count, *shape), law="uniform")
        return asked.flatten(1)

    def __call__(self, name: str, shape: tuple[int, ...], law: str = "normal") -> Tensor:
        order = self.uniform("order", name, self.samples, shape, law)
        strata = [
            sorted(range(self.samples), key=lambda t, k=k: float(order[t, k]))[self.s]
            for k in range(order.shape[1])
        ]
        return self.numbers(strata, name, shape, law)

    def numbers(self, strata: list[int], name: str, shape: tuple[int, ...], law: str) -> Tensor:
        place = self.uniform("place", name, self.samples, shape, law)[self.s]
        u = [(stratum + float(p)) / self.samples for stratum, p in zip(strata, place, strict=True)]
        inverse = {"normal": lambda v: float(ndtri(v)), "sign": lambda v: 1.0 if v >= 0.5 else -1.0}
        return torch.tensor([inverse[law](v) for v in u], dtype=torch.float64).reshape(shape)


class Netted(Stratified):
    """The noise of point s of a scrambled Sobol' net: Owen's permutations, one digit after the other."""

    def __init__(
        self, noise: Noise, s: int, samples: int, block: int, root: Noise, taken: dict[Any, int]
    ) -> None:
        super().__init__(noise, s, samples)
        self.block, self.root, self.taken = block, root, taken

    def at(self, *parts: str | int) -> Netted:
        inner = self.noise.at(*parts)
        return Netted(inner, self.s, self.samples, self.block, self.root, self.taken)

    def __call__(self, name: str, shape: tuple[int, ...], law: str = "normal") -> Tensor:
        coins = self.uniform("coins", name, self.samples - 1, shape, law)
        key = (self.noise.path, name, shape, law)
        if key not in self.taken:
            self.taken[key] = self.taken.get("next", 0)
            self.taken["next"] = self.taken[key] + coins.shape[1]
        strata = [
            self.stratum(*divmod(self.taken[key] + k, self.block), coins[:, k])
            for k in range(coins.shape[1])
        ]
        return self.numbers(strata, name, shape, law)

    def stratum(self, block: int, dimension: int, coins: Tensor) -> int:
        s = self.s
        if block:
            ask = self.root.at("coupled", "points")
            order = ask(block, (self.samples,), law="uniform")  # type: ignore[arg-type]
            s = sorted(range(self.samples), key=lambda t: float(order[t]))[s]
        x = qmc.Sobol(dimension + 1, scramble=False).random(self.samples)[s, dimension]
        node, found = 0, 0
        for level in range(int(math.log2(self.samples))):
            digit = int(x * 2 ** (level + 1)) % 2
            flip = float(coins[2**level - 1 + node]) < 0.5
            found, node = 2 * found + (digit ^ flip), 2 * node + digit
        return found


def latin_hypercube(count: int, twin: Twin) -> Twin:
    return lambda leaves, x, y, noise: mean(
        [twin(leaves, x, y, Stratified(noise, s, count)) for s in range(count)]
    )


def sobol(count: int, block: int, twin: Twin) -> Twin:
    def draws(leaves: Any, x: Tensor, y: Tensor, noise: Noise) -> Any:
        taken: dict[Any, int] = {}
        every = [Netted(noise, s, count, block, noise, taken) for s in range(count)]
        return mean([twin(leaves, x, y, one) for one in every])

    return draws


def sticking(
    twin: Twin,
    drawn: Callable[[Noise], list[Noise]],
    drop: bool,
    layers: tuple[str, ...] = LAYERS,
) -> Twin:
    """The twin's gradient + ∇KL − ∇ of the sampled KL, all of them by torch.distributions."""

    def landed(
        leaves: dict[str, Tensor], x: Tensor, y: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        value, gradients = twin(leaves, x, y, noise)
        total = torch.zeros((), dtype=torch.float64)
        standard = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
        for layer in layers:
            mu, sigma = posterior(leaves, layer)
            q = torch.distributions.Normal(mu, sigma.abs())
            held = torch.distributions.Normal(mu.detach(), sigma.abs().detach())
            total = total + torch.distributions.kl_divergence(q, standard).sum()
            samples = drawn(noise)
            for own in samples:
                w = mu + sigma * own(layer, tuple(mu.shape))
                ratio = (held if drop else q).log_prob(w) - standard.log_prob(w)
                total = total - ratio.sum() / len(samples)
        more = backward(total, leaves)
        return value + total.detach(), {n: g + more[n] for n, g in gradients.items()}

    return landed


def fitted(samples: int) -> Given:
    return Given(lambda state: score(samples, False, state))


PILOT = {"pilot": 4}

TWINS: list[tuple[str, dict[str, object], Twin | Given]] = [
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
    ("score", {"baseline": "moving-average", **PILOT}, fitted(1)),
    ("score", {"samples": 2, "baseline": "optimal", **PILOT}, fitted(2)),
    ("score-local", {}, score_local(1, False)),
    ("score-local", {"samples": 2, "baseline": "leave-one-out"}, score_local(2, True)),
    (
        "score-local",
        {"baseline": "optimal", **PILOT},
        Given(lambda state: score_local(1, False, state)),
    ),
    ("measure-valued", {}, measure_valued()),
    ("control-variate", {"of": "naive"}, hvp()),
    ("control-variate", {"of": get("score", samples=2), "kind": "delta"}, delta(2, False)),
    (
        "control-variate",
        {"of": get("score", samples=2, baseline="leave-one-out"), "kind": "delta"},
        delta(2, True),
    ),
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
    ("type-a", {}, pathwise(type_a)),
    ("moment-matching", {}, matched(squares)),
    ("latin-hypercube", {"of": "local", "samples": 3}, latin_hypercube(3, pathwise(local))),
    ("latin-hypercube", {"of": "flipout", "samples": 2}, latin_hypercube(2, pathwise(flipout(1)))),
    (
        "latin-hypercube",
        {"of": get("antithetic", of="naive"), "samples": 2},
        latin_hypercube(2, antithetic(pathwise(naive))),
    ),
    ("sobol", {"of": "naive", "samples": 4}, sobol(4, 21201, pathwise(naive))),
    ("sobol", {"of": "local", "samples": 4, "block": 9}, sobol(4, 9, pathwise(local))),
    ("sticking-the-landing", {}, sticking(pathwise(naive), lambda noise: [noise], True)),
    (
        "sticking-the-landing",
        {"drop_score": False},
        sticking(pathwise(naive), lambda noise: [noise], False),
    ),
    (
        "sticking-the-landing",
        {"of": "grouped"},
        sticking(pathwise(grouped(4)), lambda n: [n.at("group", g) for g in range(4)], True),
    ),
    (
        "sticking-the-landing",
        {"of": "per-example"},
        sticking(pathwise(per_example), lambda n: [n.at("example", m) for m in range(BATCH)], True),
    ),
]


@pytest.mark.parametrize("coordinates", COORDINATES.values(), ids=COORDINATES)
@pytest.mark.parametrize(
    ("name", "options", "twin"), TWINS, ids=[f"{n}{tuple(o.values())}" for n, o, _ in TWINS]
)
def test_agrees_with_its_twin(
    name: str, options: dict[str, object], twin: Twin | Given, coordinates: Parameterization
) -> None:
    estimator = get(name, **options)
    problem, parameters = network(fitting(estimator, coordinates), EXAMPLES, prior(estimator))
    for draw in range(3):
        batch = gather(problem, (torch.arange(BATCH) + draw).numpy())
        agrees(estimator, problem, parameters, batch, Key(("twin", draw)), twin)


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


def test_every_built_in_estimator_has_a_twin() -> None:
    built_in = {n for n in names() if type(get(n)).__module__.startswith("estimators.")}
    assert built_in == {name for name, _, _ in TWINS} | set(mask_twins.EXAMPLE)
