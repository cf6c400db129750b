"""Slow textbook twins of wrappers, around the twin of what they wrap."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor
from twins import LAYERS, Given, Twin, Weights, backward, mean, naive, pathwise, posterior
from twins_score import Cost, chained, layers_of, score, scores, whole

from vdbench.noise import Noise


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
        (self._slope,) = torch.autograd.grad(value, flat, create_graph=True)
        self.value, self.slope = value.detach(), self._slope.detach()
        self._flat = flat

    @functools.cached_property
    def hessian(self) -> Tensor:
        """Row by row."""
        rows = [torch.autograd.grad(g, self._flat, retain_graph=True)[0] for g in self._slope]
        return torch.stack(rows)

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


def anchored(inner: Twin, control: Twin) -> Given:
    """Less a twin at the anchor, plus the state's own mean over all examples: test_anchors.py computes that by hand."""

    def made(state: Any) -> Twin:
        def twin(
            leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
        ) -> tuple[Tensor, dict[str, Tensor]]:
            value, gradients = inner(leaves, inputs, targets, noise)
            there = {n: v.detach().clone().requires_grad_() for n, v in state["anchor"].items()}
            _, taken = control(there, inputs, targets, noise)
            return value, {n: g - taken[n] + state["whole"].get(n, 0) for n, g in gradients.items()}

        return twin

    return Given(made)


def ensemble(first: Twin, *others: Twin) -> Given:
    """The first less its differences from the others, times the state's weights."""

    def made(state: Any) -> Twin:
        def twin(
            leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
        ) -> tuple[Tensor, dict[str, Tensor]]:
            value, gradients = first(leaves, inputs, targets, noise)
            total = dict(gradients)
            for k, other in enumerate(others):
                _, theirs = other(leaves, inputs, targets, noise)
                for n, weights in state["weights"].items():
                    total[n] = total[n] - weights[k] * (gradients[n] - theirs[n])
            return value, total

        return twin

    return Given(made)


def polynomial(still: Twin, sampled: Twin, rest: Twin) -> Twin:
    """Constant and linear part of a draw: without noise, and what a first-order control variate takes of the draw."""

    def twin(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        given = (leaves, inputs, targets, noise)
        (value, constant), (_, draw), (_, left) = still(*given), sampled(*given), rest(*given)
        return value, {n: c + draw[n] - left[n] for n, c in constant.items()}

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
