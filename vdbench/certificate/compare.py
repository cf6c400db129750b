"""What the tests without statistics share: comparing two gradients, and asking whether a stage is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from vdbench.certificate.reference_problems import Stage
from vdbench.certificate.sampling import Subject
from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Gradient
from vdbench.estimation.draws import call
from vdbench.noise import stream


def refusal(subject: Subject, at: Stage) -> str:
    """Why the estimator refuses a stage; empty if it does not."""
    key = subject.key / "refusal"
    noise = stream(key, at.problem.device, at.problem.dtype)
    try:
        state = subject.state(at)
        call(subject.estimator, at.problem, at.parameters, at.batch, noise, key, state)
    except (CellError, InputError) as error:
        return str(error)
    return ""


def pairs(a: Gradient, b: Gradient) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Value and gradients of two draws, by name, in float64 on the CPU."""
    for name, (x, y) in {
        "value": (a.value, b.value),
        **{n: (g, b.gradients[n]) for n, g in a.gradients.items()},
    }.items():
        yield name, x.detach().double().cpu(), y.detach().double().cpu()


def gap(a: Gradient, b: Gradient) -> tuple[float, str]:
    """The largest difference over the largest entry of the same parameter in ``b``, and where it is.

    Where ``b`` is 0 throughout, the difference itself. Infinite where one is not finite and the other is, or both are
    at different places.
    """
    worst, where = 0.0, "nowhere"
    for name, x, y in pairs(a, b):
        size = float(y.abs().max()) or 1.0
        found = float((x - y).abs().max()) / size
        if math.isnan(found):
            found = 0.0 if torch.equal(x.isfinite(), y.isfinite()) else math.inf
        if found > worst:
            worst, where = found, name
    return worst, where


def same(a: Gradient, b: Gradient) -> bool:
    """Bit by bit; not-a-number equals itself."""
    return all(torch.equal(x.nan_to_num(), y.nan_to_num()) for _, x, y in pairs(a, b))


def copied(gradient: Gradient) -> Gradient:
    """The same in memory of its own."""
    return Gradient(
        gradient.value.detach().clone(),
        {n: g.detach().clone() for n, g in gradient.gradients.items()},
    )
