"""Of a third-party layer: has its output the variance that its scale means?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Check
from vdbench.certificate.sampling import Subject
from vdbench.certificate.third_party_layers import (
    each_layer,
    is_third_party,
    point,
    seeded,
    unheard,
)
from vdbench.estimation.third_party import Spec
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.transforms import TRANSFORMS

NAME = "layer spread"

REPEATS = 400
"""Draws that a variance is estimated from: some 7 % are its standard error if all outputs share their noise."""
WIDE = 0.35
"""Relative difference of variances that is no accident: five of these standard errors."""


def _spread(spec: Spec, layer: Layer, seed: int) -> Finding:
    """The variance of the layer's output over its own draws is Σ x²σ², with σ of order 1."""
    x, q, bias = point(layer, seed, 1.0)
    with torch.no_grad():
        drawn = [seeded(spec, layer, x, q, bias, seed + k) for k in range(REPEATS)]
        found = torch.stack(drawn).var(0)
        want = layer.squared(x, q.variance)
    if found.shape != want.shape:
        return Finding(NAME, layer.name, None, note="the output has another shape")
    gap = float((found / want).mean()) - 1
    note = (
        "relative difference of the output's variance from Σ x²σ², mean over outputs and examples"
    )
    good = abs(gap) <= WIDE
    return Finding(
        NAME, layer.name, good, gap, limit=WIDE, note=note,
        suggests="" if good else unheard(spec, layer, x, q, bias) or _other_transform(spec, layer, x, q, found),
    )  # fmt: skip


def _other_transform(spec: Spec, layer: Layer, x: Tensor, q: Posterior, found: Tensor) -> str:
    """Name the transform under which the output's variances are nearest to those found, if it is near."""
    parameter = spec.transform.inverse(q.scale, q.mean)
    far = {}
    for name, transform in TRANSFORMS.items():
        want = layer.squared(x, transform.forward(parameter, q.mean).square())
        far[name] = float((found / want).log().abs().mean())
    near = min((name for name in far if math.isfinite(far[name])), key=far.__getitem__)
    said = "scale= names the wrong parameter or transform, or the layer's noise has another scale"
    named = f"; its variance is nearest to that of the transform '{near}'"
    return f"{said}{named if far[near] <= WIDE / 2 else ''}."


def ask(subject: Subject) -> list[Finding]:
    """One finding for each kind of layer."""
    return each_layer(NAME, subject, _spread)


CHECK = Check(NAME, "the variance of its output over its own draws", ask, is_third_party)
