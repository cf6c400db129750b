"""Of a third-party layer: without noise, is its output the linear map of the mean?"""

from __future__ import annotations

import torch

from vdbench.certificate.certificate import Finding
from vdbench.certificate.protocol import Check
from vdbench.certificate.sampling import Subject
from vdbench.certificate.third_party_layers import ROOM, each_layer, is_third_party, point, seeded
from vdbench.estimation.third_party import Spec
from vdbench.problems.layers import Layer

NAME = "layer mapping"

NONE = 1e-9
"""A scale at which the noise is below what `ROOM` sees."""


def _mapping(spec: Spec, layer: Layer, seed: int) -> Finding:
    """Without noise the layer's output is its linear map of the mean, with the bias once."""
    x, q, bias = point(layer, seed, NONE)
    note = "relative difference from the layer's map of the mean, with the scale next to 0"
    with torch.no_grad():
        b = seeded(spec, layer, x, q, bias, seed)
        want = layer.linear(x, q.mean)
        want = layer.add_bias(want, bias) if spec.bias else want
    if b.shape != want.shape:
        shapes = f"the output has shape {tuple(b.shape)}, expected {tuple(want.shape)}"
        return Finding(NAME, layer.name, False, note=shapes, suggests=_WRONG_MAP)
    gap = float((b - want).abs().max() / want.abs().max())
    return Finding(
        NAME, layer.name, gap <= ROOM, gap, limit=ROOM, note=note,
        suggests="" if gap <= ROOM else _WRONG_MAP,
    )  # fmt: skip


_WRONG_MAP = (
    "either mean=, transposed= or output= names the wrong thing, or the layer's noise does not vanish with its scale, "
    "as where the whole sample μ + σε is perturbed instead of σε."
)


def ask(subject: Subject) -> list[Finding]:
    """One finding for each kind of layer."""
    return each_layer(NAME, subject, _mapping)


CHECK = Check(NAME, "without noise, the layer's map of the mean", ask, is_third_party)
