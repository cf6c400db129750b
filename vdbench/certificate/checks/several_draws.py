"""Are several draws at once the same as each by itself: in one backward pass, and in one vectorised call?"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vdbench.certificate.compare import gap
from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Asked, Check, each_stage, guarded
from vdbench.certificate.reference_problems import Stage, kind
from vdbench.certificate.sampling import Draws, Subject
from vdbench.estimation import draws
from vdbench.estimation.autodiff import differentiate
from vdbench.estimation.base import Gradient
from vdbench.estimation.draws import Trace, inject
from vdbench.estimation.pathwise import Pathwise
from vdbench.noise import Injected, Noise
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch

NAME = "several draws"

COUNT = 3

TOLERANCE = 1e-9
"""Relative, in float64: the order of additions may differ."""


def ask(subject: Subject) -> Iterable[Asked]:
    """Two findings on each stage."""
    of = kind(subject.estimator)
    names = (of.layer, of.network)
    return each_stage(NAME, names, subject, lambda at: _ask(subject, at))


def _ask(subject: Subject, at: Stage) -> list[Asked]:
    drawn = subject.on(at)
    one, many = f"{at.name}: one backward pass", f"{at.name}: vectorised"
    return [
        *guarded(NAME, one, lambda: [_backward(subject, drawn, one)]),
        *guarded(NAME, many, lambda: [_vectorised(subject, drawn, many)]),
    ]


def _backward(subject: Subject, drawn: Draws, where: str) -> Finding:
    """The gradient of the sum of draws that share one graph, and the sum of their own gradients."""
    estimator, at = drawn.estimator, drawn.stage
    own = type(estimator).__call__ is not Pathwise.__call__
    if own or not isinstance(estimator, Pathwise) or not estimator.declaration.pure:
        note = "each call of the estimator differentiates for itself; only pathwise samplers can share a pass"
        return Finding(NAME, where, None, note=note)
    noises = [Noise(Injected(given)) for given in _noise(subject, drawn)]
    separate = [drawn.given(noise) for noise in noises]

    def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        parameters = {**at.parameters, **free}
        values = []
        for noise in noises:

            def sampler(layer: Layer, x: Tensor, noise: Noise = noise) -> Tensor:
                q = at.problem.posterior(layer, parameters)
                return estimator.preactivation(layer, x, q, noise)

            values.append(at.problem.log_likelihood(sampler, at.batch, parameters).sum())
        total = at.problem.scale(at.batch) * torch.stack(values).sum()
        return total, total

    try:
        value, gradients = differentiate(target, at.problem.free(at.parameters))
    except RuntimeError as error:
        if "inplace" not in str(error):
            raise
        return Finding(NAME, where, False, note=str(error).split(":")[0], suggests=_BUFFER)
    whole = Gradient(
        torch.stack([g.value for g in separate]).sum(),
        {n: torch.stack([g.gradients[n] for g in separate]).sum(0) for n in gradients},
    )
    return _compared(where, Gradient(value, gradients), whole, _BUFFER)


_BUFFER = "a noise buffer is overwritten in place by the next forward, before this one's backward: make new tensors."


def _vectorised(subject: Subject, drawn: Draws, where: str) -> Finding:
    """Draws in one vectorised call, and one by one, on the same noise."""
    at = drawn.stage
    if not drawn.estimator.declaration.pure:
        return Finding(NAME, where, None, note="the estimator is declared not pure: it is looped")
    keys = [subject.key / NAME / k for k in range(COUNT)]
    batches = Batch(*(t.expand(COUNT, *t.shape) for t in at.batch))
    place = (drawn.estimator, at.problem, at.parameters, batches, keys)
    try:
        found = draws.gradients(*place, Trace(drawn.traced.requests, COUNT), drawn.state)
    except (RuntimeError, KeyError) as error:
        note = f"torch.func.vmap does not take it: {str(error).strip().splitlines()[0]}"
        return Finding(NAME, where, False, note=note, suggests=_VMAP)
    looped = draws.gradients(*place, Trace(drawn.traced.requests, 0), drawn.state)
    return _compared(where, found, looped, _VMAP)


_VMAP = (
    "a pure estimator is a function of its arguments without branches on values or writes into tensors; else declare "
    "pure=False, and it is looped."
)


def _noise(subject: Subject, drawn: Draws) -> list[dict]:  # type: ignore[type-arg]
    keys = [subject.key / NAME / "pass" / k for k in range(COUNT)]
    problem = drawn.stage.problem
    stacked = inject(drawn.traced.requests, keys, problem.device, problem.dtype)
    return [{r: v[k] for r, v in stacked.items()} for k in range(COUNT)]


def _compared(where: str, found: Gradient, truth: Gradient, suggests: str) -> Finding:
    size, place = gap(found, truth)
    holds = size <= TOLERANCE
    note = f"largest relative difference, in {place}"
    return Finding(
        NAME,
        where,
        holds,
        size,
        limit=TOLERANCE,
        note=note,
        suggests="" if holds else suggests,
    )


CHECK = Check(NAME, "in one backward pass and vectorised, as each alone", ask)
