"""What estimators in weight space are, once their noise is given: the reference at the weights that the noise makes.

On the same noise there are no statistics, and no bias is too small to be seen. That the noise has the right law is seen
from its formula: each ε here is a standard normal number, or one times independent random signs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from gallery_check import Place
from gallery_reference import VALUE, Gradients, coordinate
from torch import Tensor

from vdbench.estimation.base import average
from vdbench.estimation.draws import trace
from vdbench.estimation.options import get
from vdbench.noise import Injected, Noise, Request
from vdbench.problems.layers import Layer, TransposedConvolution, WholeWeight


def shared(at: Place, noise: dict[Request, Tensor], sign: float = 1.0) -> Gradients:
    """One ε for all examples."""
    by = {r.path[-1]: v for r, v in noise.items()}
    return at.reference.at(
        {n: sign * by[n.removesuffix(".weight")][None] for n in at.reference.noisy}
    )


def none(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    return at.reference.at({n: torch.zeros_like(p)[None] for n, p in at.reference.noisy.items()})


def pair(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    up, down = shared(at, noise), shared(at, noise, -1.0)
    return {n: (g + down[n]) / 2 for n, g in up.items()}


def own(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    """An ε for every example, a row of those of its group."""
    found = {}
    for path in at.reference.noisy:
        name = path.removesuffix(".weight")
        rows = {r.path[1]: v for r, v in noise.items() if r.path[-1] == name}
        found[path] = torch.cat([rows[number] for number in sorted(rows)])
    return at.reference.at_own(found)


def groups(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    """An ε for every group of consecutive examples, the first groups one larger where they are not equal."""
    by = {r.path: v for r, v in noise.items()}
    count = max(int(r.path[1]) for r in noise) + 1
    owner = torch.cat(
        [
            torch.full((len(part),), g)
            for g, part in enumerate(torch.tensor_split(at.batch.inputs, count))
        ]
    ).tolist()
    return at.reference.at_own(
        {
            path: torch.stack([by["group", g, path.removesuffix(".weight")] for g in owner])
            for path in at.reference.noisy
        }
    )


def flipped(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    """One ε whose entries have for every example the product of a sign of its input and one of its output feature."""
    by = {(r.path[0], r.path[-1]): v for r, v in noise.items()}
    found = {}
    for layer in at.problem.layers:
        base, s, t = (by[kind, layer.name] for kind in ("base", "input", "output"))
        if isinstance(layer, WholeWeight):  # one sign for all
            found[layer.name] = (base * t).expand(len(at.batch.inputs), *base.shape)
        else:
            found[layer.name] = base * signs(layer, s, True) * signs(layer, t, False)
    return at.reference.at_own({n: found[n.removesuffix(".weight")] for n in at.reference.noisy})


def signs(layer: Layer, drawn: Tensor, inputs: bool) -> Tensor:
    """Along the dimension of the weights that inputs or outputs have, (M, 1, features, 1, …)."""
    along = 1 if inputs == isinstance(layer, TransposedConvolution) else 2
    shape = [len(drawn)] + [1] * len(layer.weight_shape)
    shape[along] = layer.weight_shape[along - 1]
    return drawn.reshape(shape)


def landing(at: Place, noise: dict[Request, Tensor]) -> Gradients:
    """Naive sampling, and ∇[KL(q‖p) − log q̄(w)/p(w)] at its weights w: of mean 0, as E ∇log q = 0.

    A row of an embedding that stays 0 counts in neither.
    """
    found = shared(at, noise)
    by = {r.path[-1]: v for r, v in noise.items()}
    prior = torch.distributions.Normal(0.0, 1.0)
    for path, mean in at.reference.noisy.items():
        log = at.parameters[coordinate(path, "log_variance")].clone().requires_grad_()
        mu = mean.clone().requires_grad_()
        q = torch.distributions.Normal(mu, torch.exp(log / 2))
        held = torch.distributions.Normal(mu.detach(), torch.exp(log / 2).detach())
        w = mu + torch.exp(log / 2) * by[path.removesuffix(".weight")]
        sampled = held.log_prob(w) - prior.log_prob(w)
        exact = torch.distributions.kl_divergence(q, prior)
        difference = ((exact - sampled) * at.reference.padding(path, mean)).sum()
        found[VALUE] = found[VALUE] + difference.detach()
        slopes = torch.autograd.grad(difference, (mu, log))
        for which, slope in zip(("mean", "log_variance"), slopes, strict=True):
            found[coordinate(path, which)] = found[coordinate(path, which)] + slope
    return found


ODD = ("control-variate",)
"""Estimators that add to naive sampling what is odd in its noise: equal to it once ±ε are averaged."""

TWINS: dict[str, Callable[[Place, dict[Request, Tensor]], Gradients]] = {
    "naive": shared,
    "antithetic": pair,
    "control-variate": pair,
    "deterministic": none,
    "samples": shared,
    "sticking-the-landing": landing,
    "grouped": groups,
    "per-example": own,
    "flipout": flipped,
}


def differences(at: Place, which: str) -> dict[str, tuple[float, float]]:
    """By parameter, the largest difference from the reference on the same noise, and the largest entry."""
    estimator = get(which)
    where = (at.problem, at.parameters, at.batch)
    generator = torch.Generator().manual_seed(3)
    noise = {}
    for r in trace(estimator, *where).requests:
        drawn = torch.randn(r.shape, generator=generator, dtype=torch.float64)
        noise[r] = torch.where(drawn < 0, -1.0, 1.0) if r.law == "sign" else drawn
    halves = [noise, {r: -v for r, v in noise.items()}] if which in ODD else [noise]
    got = average(estimator(*where, Noise(Injected(half))) for half in halves)
    want = TWINS[which](at, noise)
    found = {VALUE: got.value, **got.gradients}
    assert set(found) == set(want)
    return {
        n: (float((found[n] - g[0]).abs().max()), float(g[0].abs().max())) for n, g in want.items()
    }


def gaps(at: Place, which: str) -> list[str]:
    """A line for every parameter that differs by 1e-9 of its largest entry, and by more than rounding."""
    found = differences(at, which)
    room = 1e-13 * max(size for _, size in found.values())
    return [
        f"{n}: differs by {gap:.3g}, largest entry {size:.3g}"
        for n, (gap, size) in found.items()
        if not gap <= 1e-9 * size + room
    ]
