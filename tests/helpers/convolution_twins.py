"""Slow textbook twins on a network with convolutions: example by example, location by location.

Two convolutions, one strided and padded, one grouped, and a dense layer. Every weight sample is written out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from twins import BATCH, EXAMPLES, Twin, backward, group, own, posterior
from twins_moments import expanded, rectified
from twins_score import scored

from vdbench.datasets import Dataset, Split
from vdbench.noise import Noise
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import Parameterization
from vdbench.problems.priors import NoPrior, Prior
from vdbench.problems.problem import Problem

Weights = Mapping[str, Tensor]
LAYERS = ("0", "2", "5")
CONVOLUTIONS = {"0": (2, 1, 1), "2": (1, 0, 2)}
"""Stride, padding and groups."""

Preactivation = Callable[[str, Tensor], Tensor]


def network(
    coordinates: Parameterization, prior: Prior | None = None
) -> tuple[Problem, dict[str, Tensor]]:
    """Two convolutions and a dense layer; the problem is made once, parameters are anew each time."""
    problem, parameters = _network(coordinates, prior)
    return problem, {name: value.clone() for name, value in parameters.items()}


@functools.lru_cache(maxsize=64)
def _network(
    coordinates: Parameterization, prior: Prior | None
) -> tuple[Problem, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(2015)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    inputs = (1.6 * rand(EXAMPLES, 2, 5, 5) - 0.6).clamp(min=0)
    inputs[1] = 0
    split = Split(inputs, torch.randint(3, (EXAMPLES,), generator=generator))
    with torch.random.fork_rng():
        body = nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 2, groups=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 3),
        ).double()
    problem = noisy(
        body,
        Dataset("random", split, split, 3),
        parameterization=coordinates,
        prior=NoPrior() if coordinates.learned_law else prior,
    )
    parameters = {}
    for name, value in problem.start.items():
        spread = 0.3 if name.endswith(("log_variance", "log_alpha", "bias")) else 1.0
        centre = value if name.endswith(("log_variance", "log_alpha")) else 0.0
        parameters[name] = centre + spread * (2 * rand(*value.shape) - 1)
    return problem, parameters


def linear(layer: str, x: Tensor, weight: Tensor) -> Tensor:
    """One example's pre-activations, one channel and location at a time."""
    if layer not in CONVOLUTIONS:
        return torch.stack([(row * x).sum() for row in weight])
    stride, padding, groups = CONVOLUTIONS[layer]
    outputs, inside, size, _ = weight.shape
    side = x.shape[1] + 2 * padding
    padded = x.new_zeros(x.shape[0], side, side)
    padded[:, padding : side - padding, padding : side - padding] = x
    places = range(0, side - size + 1, stride)
    channels = []
    for j in range(outputs):
        first = j // (outputs // groups) * inside
        part = padded[first : first + inside]
        rows = [
            [(part[:, a : a + size, b : b + size] * weight[j]).sum() for b in places]
            for a in places
        ]
        channels.append(torch.stack([torch.stack(row) for row in rows]))
    return torch.stack(channels)


def log_likelihood(leaves: Weights, x: Tensor, target: int, sample: Preactivation) -> Tensor:
    """Log softmax of the target's logit, one example."""
    h = x
    for layer in LAYERS:
        h = sample(layer, h.flatten() if layer not in CONVOLUTIONS else h)
        bias = leaves[f"{layer}.bias"]
        h = torch.stack([channel + bias[j] for j, channel in enumerate(h)])
        if layer != LAYERS[-1]:
            h = torch.where(h > 0, h, 0 * h)
    return h[target] - torch.stack([u.exp() for u in h]).sum().log()


def pathwise(sample: Callable[[Weights, Noise, int], Preactivation]) -> Twin:
    """Sum over the examples, one at a time."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total = torch.zeros((), dtype=torch.float64)
        for m in range(BATCH):
            total = total + log_likelihood(
                leaves, inputs[m], int(targets[m]), sample(leaves, noise, m)
            )
        total = EXAMPLES / BATCH * total
        return total.detach(), backward(total, leaves)

    return twin


def deterministic(leaves: Weights, noise: Noise, m: int) -> Preactivation:
    return lambda layer, x: linear(layer, x, posterior(leaves, layer)[0])


def naive(leaves: Weights, noise: Noise, m: int) -> Preactivation:
    def sample(layer: str, x: Tensor) -> Tensor:
        mu, sigma = posterior(leaves, layer)
        return linear(layer, x, mu + sigma * noise(layer, tuple(mu.shape)))

    return sample


def per_example(leaves: Weights, noise: Noise, m: int) -> Preactivation:
    return naive(leaves, own(noise, m), m)


def grouped(leaves: Weights, noise: Noise, m: int) -> Preactivation:
    return naive(leaves, noise.at("group", group(4, m)), m)


def flipout(perturbations: int) -> Callable[[Weights, Noise, int], Preactivation]:
    """A weight sample for example m: μ_ji + t_j σ_ji ε_ji s_i, i and j channels, all of a kernel with one sign."""

    def sample(leaves: Weights, noise: Noise, m: int) -> Preactivation:
        base = noise.at("base", group(perturbations, m))

        def at(layer: str, x: Tensor) -> Tensor:
            mu, sigma = posterior(leaves, layer)
            groups = CONVOLUTIONS[layer][2] if layer in CONVOLUTIONS else 1
            outputs, inside = mu.shape[:2]
            tail = (1,) * (mu.dim() - 2)
            s = noise.at("input")(layer, (BATCH, groups * inside, *tail), law="sign")[m].flatten()
            t = noise.at("output")(layer, (BATCH, outputs, *tail), law="sign")[m].flatten()
            epsilon = base(layer, tuple(mu.shape))
            rows = []
            for j in range(outputs):
                first = j // (outputs // groups) * inside
                own = [t[j] * s[first + i] * epsilon[j, i] for i in range(inside)]
                rows.append(mu[j] + sigma[j] * torch.stack(own))
            return linear(layer, x, torch.stack(rows))

        return at

    return sample


def local(leaves: Weights, noise: Noise, m: int) -> Preactivation:
    """γ + √δ·ζ, a number of its own for every channel and location."""

    def sample(layer: str, x: Tensor) -> Tensor:
        mu, sigma = posterior(leaves, layer)
        gamma, delta = linear(layer, x, mu), linear(layer, x * x, sigma * sigma)
        zeta = noise(layer, (BATCH, *gamma.shape))[m]
        parts = zip(gamma.flatten(), delta.flatten(), zeta.flatten(), strict=True)
        found = [g + d.sqrt() * z if d > 0 else g for g, d, z in parts]
        return torch.stack(found).reshape(gamma.shape)

    return sample


def score(count: int, leave_one_out: bool) -> Twin:
    """(L − b)·∇log q with ∇log q written out, and ∂L/∂bias by autograd."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        costs, own, slopes = [], [], []
        for s in range(count):
            fixed = {n: v if n.endswith("bias") else v.detach() for n, v in leaves.items()}
            cost = torch.zeros((), dtype=torch.float64)
            for m in range(BATCH):
                drawn = naive(fixed, noise.at("sample", s), m)
                cost = cost + log_likelihood(fixed, inputs[m], int(targets[m]), drawn)
            cost = EXAMPLES / BATCH * cost
            costs.append(cost.detach())
            own.append(backward(cost, leaves))
            slopes.append(scores(fixed, noise.at("sample", s)))
        return scored(costs, slopes, own, leave_one_out)

    return twin


def scores(leaves: Weights, noise: Noise) -> dict[str, Tensor]:
    """∇log q: ε/σ in μ, ½(ε² − 1) in log σ²; by the chain rule σ² = αθ² in θ and log α."""
    found = {}
    for layer in LAYERS:
        mu, sigma = (t.detach() for t in posterior(leaves, layer))
        eps = noise(layer, tuple(mu.shape))
        slope, spread = eps / sigma, (eps**2 - 1) / 2
        if f"{layer}.mean" in leaves:
            found |= {f"{layer}.mean": slope, f"{layer}.log_variance": spread}
        else:
            found |= {
                f"{layer}.theta": slope + spread * 2 / mu,
                f"{layer}.log_alpha": spread.sum().reshape(1),
            }
    return found


def type_a(leaves: Weights, noise: Noise, m: int) -> Preactivation:
    """A weight sample for example m: all weights of an input channel times its ξ."""

    def sample(layer: str, x: Tensor) -> Tensor:
        theta, alpha = leaves[f"{layer}.theta"], leaves[f"{layer}.log_alpha"].exp()
        one = (BATCH, 1, theta.shape[1], *(1 for _ in theta.shape[2:]))
        return linear(layer, x, theta * (1 + alpha.sqrt() * noise.at("examples")(layer, one)[m]))

    return sample


def moment_matching(
    leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
) -> tuple[Tensor, dict[str, Tensor]]:
    """Moments example by example, of every unit apart."""
    total = torch.zeros((), dtype=torch.float64)
    for m in range(BATCH):
        mean, variance = inputs[m], 0 * inputs[m]
        for layer in LAYERS:
            mu, sigma = posterior(leaves, layer)
            if layer not in CONVOLUTIONS:
                mean, variance = mean.flatten(), variance.flatten()
            both = linear(layer, mean**2 + variance, mu**2 + sigma**2)
            variance = both - linear(layer, mean**2, mu**2)
            mean = linear(layer, mean, mu)
            bias = leaves[f"{layer}.bias"]
            mean = torch.stack([channel + bias[j] for j, channel in enumerate(mean)])
            if layer != LAYERS[-1]:
                units = zip(mean.flatten(), variance.flatten(), strict=True)
                pairs = [rectified(*unit) for unit in units]
                shape = mean.shape
                mean, variance = (torch.stack(p).reshape(shape) for p in zip(*pairs, strict=True))
        total = total + expanded(list(zip(mean, variance, strict=True)), int(targets[m]))
    total = EXAMPLES / BATCH * total
    return total.detach(), backward(total, leaves)


def convolved(layer: str, x: Tensor, weight: Tensor) -> Tensor:
    """One example's pre-activations by torch's own convolution, where there are hundreds of weights to go through."""
    if layer not in CONVOLUTIONS:
        return weight @ x
    stride, padding, groups = CONVOLUTIONS[layer]
    return F.conv2d(x[None], weight, None, stride, padding, 1, groups)[0]


def whole(leaves: Weights, weights: Weights, inputs: Tensor, targets: Tensor) -> Tensor:
    parts = [
        log_likelihood(leaves, x, int(y), lambda layer, h: convolved(layer, h, weights[layer]))
        for x, y in zip(inputs, targets, strict=True)
    ]
    return EXAMPLES / BATCH * torch.stack(parts).sum()
