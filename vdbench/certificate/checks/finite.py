"""Is every gradient finite where formulas break: scales near 0 and large, inputs that are all zero?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Asked, Check, each_stage
from vdbench.certificate.reference_problems import Kind, Stage, at_point, kind
from vdbench.certificate.sampling import Subject
from vdbench.certificate.third_party_layers import innermost
from vdbench.estimation.third_party import ForeignLayer
from vdbench.problems.problem import Batch

NAME = "finite"

EDGES = {
    "σ = 1e-30": "no training gets there",
    "σ = 2e4": "no training gets there; log(1 + e^ρ) overflows beyond ρ = 88 in float32 and ρ = 709 in float64",
    "α = 1e4": "no training gets there; log(1 + e^ρ) overflows beyond ρ = 88 in float32",
}
"""Points of which a third-party layer is not judged, and why."""

PRECISIONS = (torch.float32, torch.float64)


def ask(subject: Subject) -> Iterable[Asked]:
    """One finding for each awkward point."""
    of = kind(subject.estimator)
    return each_stage(NAME, [of.network], subject, lambda at: _findings(subject, of, at))


def _findings(subject: Subject, of: Kind, at: Stage) -> list[Finding]:
    found = []
    for point in ("as it is", *of.points):
        broken = [
            f"{', '.join(names)} with {what} in {str(dtype).removeprefix('torch.')}"
            for what, batch in _batches(at.batch).items()
            for dtype in PRECISIONS
            if (names := _broken(subject, replace(at_point(at, point), batch=batch), dtype))
        ]
        note = "not finite: " + "; ".join(broken) if broken else "all inputs, float32 and float64"
        edge = _edge(subject, at, point) if broken else ""
        if edge:
            found.append(Finding(NAME, point, None, note=f"{note}; not judged, since {edge}"))
            continue
        found.append(Finding(NAME, point, not broken, note=note, suggests=_suggests(broken)))
    return found


def _edge(subject: Subject, at: Stage, point: str) -> str:
    """Why a third-party layer is not judged at a point; empty where it is, and of any other estimator."""
    inner = innermost(subject.estimator)
    if not isinstance(inner, ForeignLayer):
        return ""
    there = at_point(at, point)
    laws = [there.problem.posterior(layer, there.parameters) for layer in there.problem.layers]
    if not all(inner.spec.reaches(q) for q in laws):
        return "the layer's own parameter has no value for this scale"
    return EDGES.get(point, "")


def _batches(batch: Batch) -> dict[str, Batch]:
    row = batch.inputs.clone()
    row[0] = 0
    return {
        "its inputs": batch,
        "an all-zero input row": Batch(row, batch.targets),
        "all inputs zero": Batch(torch.zeros_like(batch.inputs), batch.targets),
    }


def _broken(subject: Subject, at: Stage, dtype: torch.dtype) -> list[str]:
    gradient = subject.once(at.to(subject.device, dtype), subject.key / NAME)
    return [n for n, g in gradient.gradients.items() if not bool(g.isfinite().all())]


def _suggests(broken: list[str]) -> str:
    if not broken:
        return ""
    if all("zero" in text for text in broken):
        return "the variance is 0 there, and √'s derivative infinite: use a root whose derivative at 0 is 0."
    return "a number leaves the range of its type: form σ² without a root, and log-densities from noise, not weights."


CHECK = Check(NAME, "no NaN or infinity at awkward points", ask)
