"""Slow textbook twins of the estimators for learned binary masks: example by example, weights written out.

A twin of one example is given its cost as a function of its masks, and its uniform numbers; it returns the cost that θ
and the biases are differentiated in, and the gradient in the logits by layer, before what shares a logit is summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from twins import Given

Leaves = Mapping[str, Tensor]
Masks = dict[str, Tensor]
Cost = Callable[..., Tensor]
"""Of masks, and of parameters if other ones."""

Example = Callable[[Leaves, Cost, Callable[..., Masks]], tuple[Tensor, Masks]]


def logits(leaves: Leaves) -> Masks:
    return {n.removesuffix(".logit"): v for n, v in leaves.items() if n.endswith(".logit")}


def keep(leaves: Leaves) -> Masks:
    return {layer: 1 / (1 + (-v.detach()).exp()) for layer, v in logits(leaves).items()}


def drawn(leaves: Leaves, u: Masks) -> Masks:
    return {layer: (u[layer] > 1 - q).double() for layer, q in keep(leaves).items()}


@dataclass(frozen=True)
class OfState:
    """A twin of one example that is made with the state of the estimator."""

    make: Callable[[Any], Example]


def less(base: Tensor | float) -> Example:
    """REINFORCE with a baseline."""

    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        b = drawn(leaves, uniform())
        f = cost(b)
        above = f.detach() - base
        return f, {layer: above * (b[layer] - q) for layer, q in keep(leaves).items()}

    return example


def rloo(samples: int) -> Example:
    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        masks = [drawn(leaves, uniform("sample", s)) for s in range(samples)]
        f = [cost(b) for b in masks]
        along = {layer: torch.zeros(()).double() for layer in masks[0]}
        for s, b in enumerate(masks):
            others = [float(f[t].detach()) for t in range(samples) if t != s]
            less = float(f[s].detach()) - sum(others) / len(others)
            for layer, q in keep(leaves).items():
                along[layer] = along[layer] + less * (b[layer] - q) / samples
        return sum(f, start=torch.zeros(()).double()) / samples, along

    return example


def pair(leaves: Leaves, cost: Cost, u: Masks) -> tuple[Masks, Masks, Tensor, Tensor]:
    first = drawn(leaves, u)
    second = {layer: (u[layer] < q).double() for layer, q in keep(leaves).items()}
    return first, second, cost(first), cost(second)


def arm(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
    u = uniform()
    _, _, f, g = pair(leaves, cost, u)
    return (f + g) / 2, {layer: (f - g).detach() * (u[layer] - 0.5) for layer in u}


def disarm(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
    """As the paper has it: (−1)^b̃ 1[b ≠ b̃] σ(|φ|), entry by entry."""
    first, second, f, g = pair(leaves, cost, uniform())
    along = {}
    for layer, q in keep(leaves).items():
        sign = 1 - 2 * second[layer]
        differ = (first[layer] != second[layer]).double()
        along[layer] = (f - g).detach() / 2 * sign * differ * torch.maximum(q, 1 - q)
    return (f + g) / 2, along


def double(samples: int) -> Example:
    """Leave-one-out of f − a·B with the slopes of the other samples, entry by entry."""

    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        fixed = {n: v.detach() for n, v in leaves.items()}
        masks = [drawn(leaves, uniform("sample", s)) for s in range(samples)]
        f, slopes = [cost(b) for b in masks], []
        for b in masks:
            at = {n: v.clone().requires_grad_() for n, v in b.items()}
            found = torch.autograd.grad(cost(at, fixed), list(at.values()))
            slopes.append(dict(zip(at, found, strict=True)))
        along = {layer: torch.zeros(()).double() for layer in masks[0]}
        for s, b in enumerate(masks):
            others = [t for t in range(samples) if t != s]
            a = {n: sum(slopes[t][n] for t in others) / len(others) for n in b}

            def taylor(t: int, a: Masks = a) -> float:
                dot = sum(float((a[n] * masks[t][n]).sum()) for n in a)
                return float(f[t].detach()) - dot

            above = taylor(s) - sum(taylor(t) for t in others) / len(others)
            for n, q in keep(leaves).items():
                along[n] = along[n] + (above * (b[n] - q) + a[n] * q * (1 - q)) / samples
        return sum(f, start=torch.zeros(()).double()) / samples, along

    return example


def gumbel(temperature: float, slopes: int) -> Example:
    """The slope of σ(z/λ) at z with the mask's sign, from the uniform number of its side, averaged."""

    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        b = {n: v.requires_grad_() for n, v in drawn(leaves, uniform()).items()}
        found = torch.autograd.grad(cost(b), list(b.values()))
        phi, along = logits(leaves), {}
        places = [uniform("slope", k) for k in range(slopes)]
        for (n, mask), g in zip(b.items(), found, strict=True):
            q, total = keep(leaves)[n], 0.0
            for v in places:
                # of its own side: the part of u above 1 − q, from the top, or below, from the bottom
                u = torch.where(mask > 0, 1 - q * v[n], (1 - q) * v[n])
                c = 1 / (1 + (-(phi[n].detach() + (u / (1 - u)).log()) / temperature).exp())
                total = total + c * (1 - c) / temperature / slopes
            along[n] = g * total
        return cost({n: v.detach() for n, v in b.items()}), along

    return example


def arms(samples: int) -> Example:
    """The rarer value where a Dirichlet share is large, entry by entry; the pair's correlation as it is defined."""

    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        u = [uniform("sample", s) for s in range(samples)]
        q = {n: v.expand_as(u[0][n]) for n, v in keep(leaves).items()}
        times = {n: [-one[n].log() for one in u] for n in q}
        masks = []
        for s in range(samples):
            rare = {
                n: (1 - (1 - t[s] / sum(t)) ** (samples - 1) > 1 - torch.minimum(q[n], 1 - q[n]))
                for n, t in times.items()
            }
            masks.append({n: (rare[n] == (q[n] <= 0.5)).double() for n in q})
        f = [cost(b) for b in masks]
        along = {}
        for n, keeping in q.items():
            p = torch.minimum(keeping, 1 - keeping)
            both = (2 * p ** (1 / (samples - 1)) - 1).clamp(min=0) ** (samples - 1)
            rho = (both - p * p) / (p * (1 - p))
            total = torch.zeros_like(keeping)
            for s in range(samples):
                others = [float(f[t].detach()) for t in range(samples) if t != s]
                less = float(f[s].detach()) - sum(others) / len(others)
                total = total + less * (masks[s][n] - keeping) / samples
            along[n] = total / (1 - rho)
        return sum(f, start=torch.zeros(()).double()) / samples, along

    return example


def sum_and_sample(count: int) -> Example:
    """The masks that deviate from the mode in all ways, sorted; each probability outside by adding up the others."""

    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        u = uniform()
        sizes = [v.numel() for v in u.values()]
        phi = torch.cat([v.detach().expand_as(u[n]).flatten() for n, v in logits(leaves).items()])
        order = sorted(range(len(phi)), key=lambda i: (abs(float(phi[i])), i))
        few = order[: count - 1]
        sets = []
        for bits in range(2 ** len(few)):
            which = [i for k, i in enumerate(few) if bits >> k & 1]
            sets.append((sum((abs(float(phi[i])) for i in which), 0.0), bits, which))
        chosen = [set(which) for _, _, which in sorted(sets)[:count]]
        p = [1 / (1 + math.exp(abs(float(x)))) for x in phi]

        def chance(deviating: set[int], of: list[int]) -> float:
            return math.prod(p[i] if i in deviating else 1 - p[i] for i in of)

        whole = [chance(c, order) for c in chosen]
        rest = 1 - sum(whole)
        drawn: set[int] = set()
        flat = torch.cat([v.flatten() for v in u.values()])
        places = [*few, *sorted(set(order) - set(few))]
        for k, i in enumerate(places):
            before, after = set(places[:k]), places[k:]

            def outside(members: list[set[int]], of: list[int]) -> float:
                return 1 - sum(chance(c, of) for c in members)

            alike = [c for c in chosen if c & before == drawn]
            on = [c for c in alike if i in c]
            if float(flat[i]) < p[i] * outside(on, after[1:]) / outside(alike, after):
                drawn.add(i)

        def mask(deviating: set[int]) -> Masks:
            numbers = torch.tensor([float((i in deviating) != (x > 0)) for i, x in enumerate(phi)])
            parts = numbers.double().split(sizes)
            return {n: x.reshape(v.shape) for x, (n, v) in zip(parts, u.items(), strict=True)}

        masks = [mask(d) for d in [*chosen, drawn]]
        weights = [*whole, rest]
        f = [cost(b) for b in masks]
        base = sum(w * float(x.detach()) for w, x in zip(whole, f, strict=False)) / sum(whole)
        along = {n: torch.zeros(()).double() for n in u}
        for w, x, b in zip(weights, f, masks, strict=True):
            for n, q in keep(leaves).items():
                along[n] = along[n] + w * (float(x.detach()) - base) * (b[n] - q)
        value = sum((w * x for w, x in zip(weights, f, strict=True)), torch.zeros(()).double())
        return value, along

    return example


def rodeo(samples: int, coefficients: Tensor) -> Example:
    """Every number of a mask set to 1 and to 0, and the surrogate computed at both; N/M is 12/5."""
    alpha, one, two = (float(c) for c in coefficients)

    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        fixed = {n: v.detach() for n, v in leaves.items()}
        masks = [drawn(leaves, uniform("sample", s)) for s in range(samples)]
        f, slopes = [cost(b) for b in masks], []
        for b in masks:
            at = {n: v.clone().requires_grad_() for n, v in b.items()}
            found = torch.autograd.grad(cost(at, fixed), list(at.values()))
            slopes.append(dict(zip(at, found, strict=True)))
        q = keep(leaves)
        along = {n: torch.zeros_like(v) for n, v in masks[0].items()}
        for s, b in enumerate(masks):
            others = [r for r in range(samples) if r != s]

            def surrogate(at: Masks, others: list[int] = others) -> float:
                total = 0.0
                for r in others:
                    t = sum(float((slopes[r][n] * (at[n] - masks[r][n])).sum()) for n in at)
                    total += (one * t + two * t * t * 5 / 12) / len(others)
                return total

            base = 0.0
            for r in others:
                moved = sum(float((slopes[r][n] * (q[n] - masks[r][n])).sum()) for n in b)
                base += (float(f[r].detach()) + alpha * moved) / len(others)
            above = float(f[s].detach()) - base - surrogate(b)
            for n, mask in b.items():
                keeping = q[n].expand_as(mask)
                for i in range(mask.numel()):
                    ends = []
                    for value in (1.0, 0.0):
                        other = {m: v.clone() for m, v in b.items()}
                        other[n].view(-1)[i] = value
                        ends.append(surrogate(other))
                    p = float(keeping.flatten()[i])
                    term = above * (float(mask.flatten()[i]) - p)
                    along[n].view(-1)[i] += (term + p * (1 - p) * (ends[0] - ends[1])) / samples
        return sum(f, start=torch.zeros(()).double()) / samples, along

    return example


def relax(of: Masks) -> Example:
    """As REBAR's, with the surrogate written out unit by unit; ``of`` are its trained numbers."""

    def surrogate(cost: Cost, fixed: Leaves, examples: float, soft: Masks) -> Tensor:
        flat = torch.cat([v.flatten() for v in soft.values()]) - 0.5
        total = of["eta"] * cost(soft, fixed)
        for weight, x in zip(of["linear"], flat, strict=True):
            total = total + examples * weight * x
        for row, bias, out in zip(of["in"], of["bias"], of["out"], strict=True):
            total = total + examples * out * torch.tanh((row * flat).sum() + bias)
        return total

    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        temperature = float(of["log_temperature"].exp())

        def control(soft: Masks, fixed: Leaves) -> Tensor:
            return surrogate(cost, fixed, 12 / 5 * float(of["unit"]), soft)

        return relaxed_control(temperature, 1.0, control)(leaves, cost, uniform)

    return example


def rebar(temperature: float, eta: float | Masks) -> Example:
    """The relaxed control variate is the cost itself."""
    return relaxed_control(temperature, eta, None)


def relaxed_control(
    temperature: float, eta: float | Masks, control: Callable[[Masks, Leaves], Tensor] | None
) -> Example:
    """z̃ from a uniform number v of its own, v the place of u within its side; gradients by autograd."""

    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        u, q0 = uniform(), keep(leaves)
        b = drawn(leaves, u)
        phi = {
            n: v.detach().expand_as(u[n]).clone().requires_grad_()
            for n, v in logits(leaves).items()
        }
        fixed = {n: v.detach() for n, v in leaves.items()}
        c, given, score = {}, {}, {}
        for layer, at in phi.items():
            q = 1 / (1 + (-at).exp())
            odds = u[layer] / (1 - u[layer])
            c[layer] = 1 / (1 + (-(at + odds.log()) / temperature).exp())
            v = torch.where(
                b[layer] > 0, (u[layer] - (1 - q0[layer])) / q0[layer], u[layer] / (1 - q0[layer])
            )
            inside = torch.where(b[layer] > 0, (1 - q) + v * q, v * (1 - q))
            z = at + (inside / (1 - inside)).log()
            given[layer] = 1 / (1 + (-z / temperature).exp())
            score[layer] = b[layer] - q0[layer]
        soft = control or cost
        f, relaxed, conditional = cost(b), soft(c, fixed), soft(given, fixed)
        slopes = [
            torch.autograd.grad(x, list(phi.values()), retain_graph=True)
            for x in (relaxed, conditional)
        ]
        each = {n: eta[n] if isinstance(eta, dict) else eta for n in phi}
        along = {
            n: (f - each[n] * conditional).detach() * score[n] + each[n] * (x - y)
            for n, x, y in zip(phi, *slopes, strict=True)
        }
        return f, along

    return example


def concrete(temperature: float) -> Example:
    def example(leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]) -> tuple[Tensor, Masks]:
        u = uniform()
        z = {n: v + (u[n] / (1 - u[n])).log() for n, v in logits(leaves).items()}
        return cost({n: 1 / (1 + (-x / temperature).exp()) for n, x in z.items()}), {}

    return example


def straight_through(
    leaves: Leaves, cost: Cost, uniform: Callable[..., Masks]
) -> tuple[Tensor, Masks]:
    b = {n: v.requires_grad_() for n, v in drawn(leaves, uniform()).items()}
    slopes = torch.autograd.grad(cost(b), list(b.values()))
    q = keep(leaves)
    return cost({n: v.detach() for n, v in b.items()}), {
        n: g * q[n] * (1 - q[n]) for n, g in zip(b, slopes, strict=True)
    }


EXAMPLE: dict[str, list[tuple[dict[str, Any], Example | OfState]]] = {
    "reinforce": [
        ({}, less(0.0)),
        (
            {"baseline": "moving-average", "pilot": 3},
            OfState(lambda state: less(state["cost"] / 5)),
        ),
    ],
    "double-control-variate": [({}, double(2)), ({"samples": 3}, double(3))],
    "straight-through-gumbel": [({}, gumbel(0.5, 1)), ({"slopes": 3}, gumbel(0.5, 3))],
    "rloo": [({}, rloo(2)), ({"samples": 3}, rloo(3))],
    "arm": [({}, arm)],
    "disarm": [({}, disarm)],
    "rebar": [
        ({}, rebar(0.5, 1.0)),
        ({"temperature": 0.3, "eta": 0.6}, rebar(0.3, 0.6)),
        ({"eta": "fitted", "pilot": 2}, OfState(lambda state: rebar(0.5, state["eta"]))),
    ],
    "relax": [
        ({"steps": 3, "hidden": 2, "rate": 0.1}, OfState(lambda state: relax(state["surrogate"])))
    ],
    "arms": [({"samples": 2}, arms(2)), ({}, arms(4))],
    "rodeo": [
        ({"pilot": 2}, OfState(lambda state: rodeo(2, state["coefficients"]))),
        ({"pilot": 2, "samples": 3}, OfState(lambda state: rodeo(3, state["coefficients"]))),
    ],
    "sum-and-sample": [({"masks": 1}, sum_and_sample(1)), ({"masks": 6}, sum_and_sample(6))],
    "concrete": [({}, concrete(0.5)), ({"temperature": 0.2}, concrete(0.2))],
    "straight-through": [({}, straight_through)],
}
"""Twins of one example, by estimator and options."""


def twin(example: Example | OfState, examples: int, log_likelihood: Any, linear: Any) -> Any:
    """A twin of a minibatch, for a network whose likelihood and layers are written out.

    Args:
        example: Of one example.
        examples: N.
        log_likelihood: Of one example, given leaves, input, target and layers.
        linear: A layer's pre-activations, given its name, input and weights.
    """
    if isinstance(example, OfState):
        make = example.make
        return Given(lambda state: twin(make(state), examples, log_likelihood, linear))

    def run(
        leaves: dict[str, Tensor], inputs: Tensor, targets: Tensor, noise: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        value = torch.zeros((), dtype=torch.float64)
        found = {n: torch.zeros_like(v) for n, v in leaves.items()}
        for m in range(len(inputs)):

            def cost(masks: Masks, at: Leaves = leaves, m: int = m) -> Tensor:
                def layer(name: str, x: Tensor) -> Tensor:
                    return linear(name, x, at[f"{name}.theta"] * masks[name])  # noqa: B023

                return (
                    examples / len(inputs) * log_likelihood(at, inputs[m], int(targets[m]), layer)
                )

            def uniform(*address: Any, m: int = m) -> Masks:
                numbers = {}
                for name in logits(leaves):
                    _, inside, *kernel = leaves[f"{name}.theta"].shape
                    shape = (len(inputs), 1, inside, *(1 for _ in kernel))
                    numbers[name] = noise.at(*address)(name, shape, law="uniform")[m]
                return numbers

            part, along = example(leaves, cost, uniform)
            value = value + part
            for name, direction in along.items():
                logit = found[f"{name}.logit"]
                logit += direction.sum().reshape(1) if logit.dim() == 1 else direction
        own = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        for name, gradient in zip(leaves, own, strict=True):
            found[name] += 0 if gradient is None else gradient
        return value.detach(), found

    return run
