"""Two versions of a reference problem compared on the same noise: float32 with float64, a GPU with the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from vdbench.certificate.compare import pairs
from vdbench.certificate.finding import Finding
from vdbench.certificate.reference_problems import Stage
from vdbench.certificate.sampling import Draws, Subject
from vdbench.estimation.base import Estimator, Gradient, Wrapper
from vdbench.estimation.draws import inject
from vdbench.estimation.pathwise import Pathwise
from vdbench.noise import Injected, Noise, Request
from vdbench.problems.problem import Parameters, Problem

RELATIVE = 5e-4
"""Of the largest entry of a parameter's gradient: some thousand roundings of float32."""

TRIES = 3
"""Noises that are tried before an estimator is accused."""

SMALLEST = 1e-6
"""A gradient smaller than this share of the cost is judged as if it were so large: σ² = 1e-60 is 0 in float32."""

ROUNDINGS = 64
"""Roundings of the cost that may remain where costs are subtracted from one another."""


def finding(
    test: str, where: str, subject: Subject, exact: Stage, other: Stage, suggests: str
) -> Finding:
    """Whether the other version follows the exact one, on one of a few noises."""
    if not subject.estimator.declaration.pure:
        note = "the estimator draws noise of its own: there is none to be given to both"
        return Finding(test, where, None, note=note)
    # a number may be rounded across a kink on one noise; a careless formula shows on every one
    tries = (_compared(subject, exact, other, k) for k in range(TRIES))
    excess, place = next((found for found in tries if found[0] <= RELATIVE), None) or _compared(
        subject, exact, other, 0
    )
    holds = excess <= RELATIVE
    return Finding(
        test, where, holds, excess, limit=RELATIVE,
        note=f"largest relative difference, in {place}", suggests="" if holds else suggests,
    )  # fmt: skip


def _compared(subject: Subject, exact: Stage, other: Stage, k: int) -> tuple[float, str]:
    """The largest relative difference on the k-th noise, and where."""
    drawn = subject.fresh(exact)
    noise = _noise(subject, drawn, k)
    truth = drawn.given(Noise(Injected(noise)))
    cast = {r: v.to(other.problem.device, other.problem.dtype) for r, v in noise.items()}
    # what it was fitted to is rounded, too: pilot draws of another type would be other draws
    state = _cast(drawn.state, other.problem)
    found = replace(drawn, stage=other, state=state).given(Noise(Injected(cast)))
    return _excess(subject.estimator, exact.problem, exact.parameters, found, truth)


def _cast(state: Any, to: Problem) -> Any:
    """A state, of tuples, lists, dicts and tensors, on a problem's device and of its type; what is none stays."""
    if isinstance(state, torch.Tensor):
        return state.to(to.device, to.dtype if state.is_floating_point() else state.dtype)
    if isinstance(state, dict):
        return {key: _cast(value, to) for key, value in state.items()}
    if isinstance(state, tuple | list):
        parts = [_cast(value, to) for value in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return state


def _noise(subject: Subject, drawn: Draws, k: int) -> dict[Request, torch.Tensor]:
    problem = drawn.stage.problem
    keys = [subject.key / "float32" / k]
    found = inject(drawn.traced.requests, keys, problem.device, problem.dtype)
    return {r: v[0].float().to(problem.dtype) for r, v in found.items()}


def _excess(
    estimator: Estimator, problem: Problem, parameters: Parameters, found: Gradient, truth: Gradient
) -> tuple[float, str]:
    """The largest difference beyond roundings of the cost, over the largest entry, and where."""
    room = 0.0 if _pathwise(estimator) else _rounding(problem, parameters, truth)
    least = SMALLEST * (1 + abs(float(truth.value)))
    worst, where = 0.0, "nowhere"
    for name, x, y in pairs(found, truth):
        size = max(float(y.abs().max()), least)
        excess = (float((x - y).abs().max()) - room) / size
        excess = float("inf") if excess != excess else excess
        if excess > worst:
            worst, where = excess, name
    return worst, where


def _pathwise(estimator: Estimator) -> bool:
    """Whether no costs are subtracted from one another: wrappers of pathwise estimators average gradients."""
    inner = estimator
    while isinstance(inner, Wrapper):
        inner = inner.of
    return isinstance(inner, Pathwise)


def _rounding(problem: Problem, parameters: Parameters, truth: Gradient) -> float:
    """Roundings of float32 of the cost, times the largest ∇log q: what a difference of costs keeps of it.

    As σ → 0 all costs agree to all digits, and so no difference of them means anything. That is a property of the
    formula, not a defect of its program.
    """
    scales = [problem.posterior(layer, parameters).scale.abs() for layer in problem.layers]
    smallest = min(float(s.min()) for s in scales)
    score = max(1.0, 1 / smallest) if smallest > 0 else 1.0
    cost = 1 + abs(float(truth.value))
    return ROUNDINGS * torch.finfo(torch.float32).eps * cost * score
