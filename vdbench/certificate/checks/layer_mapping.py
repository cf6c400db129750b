"""Of a third-party layer: without noise, is its output the linear map of the mean?"""

from __future__ import annotations

import torch
from scipy.special import stdtrit
from torch import Tensor

from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Check
from vdbench.certificate.sampling import Subject
from vdbench.certificate.third_party_layers import (
    each_layer,
    is_third_party,
    point,
    room,
    seeded,
    unheard,
)
from vdbench.estimation.third_party import Spec
from vdbench.problems.layers import Layer

NAME = "layer mapping"

SCALES = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Scales next to 0; the first is taken that the layer's own parameter has a value for."""

FLOOR = 1e-2
"""Noise, relative to the output, that a layer may keep as its scale vanishes: that of √(Σx²σ² + ε)."""

DRAWS = 64
"""Draws whose mean is compared with the map where such noise remains."""

RATE = 1e-4
"""Probability that the mean of a right layer is accused, over all its outputs."""


def _mapping(spec: Spec, layer: Layer, seed: int) -> Finding:
    """Without noise the layer's output is its linear map of the mean, with the bias once."""
    points = (point(layer, seed, scale) for scale in SCALES)
    x, q, bias = next((at for at in points if spec.reaches(at[1])), point(layer, seed, SCALES[-1]))
    note = "relative difference from the layer's map of the mean, with the scale next to 0"
    with torch.no_grad():
        b = seeded(spec, layer, x, q, bias, seed)
        want = layer.linear(x, q.mean)
        want = layer.add_bias(want, bias) if spec.bias else want
    if b.shape != want.shape:
        shapes = f"the output has shape {tuple(b.shape)}, expected {tuple(want.shape)}"
        return Finding(NAME, layer.name, False, note=shapes, suggests=_WRONG_MAP)
    if not bool(b.isfinite().all()):
        why = "its output is not finite, with the scale next to 0"
        return Finding(NAME, layer.name, False, note=why, suggests=_WRONG_MAP)
    gap = float((b - want).abs().max() / want.abs().max())
    limit = room(spec, layer)
    if spec.narrow(layer, x):
        note += "; the layer works in float32 alone, and is compared in that type"
    if gap > limit:
        with torch.no_grad():
            drawn = [seeded(spec, layer, x, q, bias, seed + k) for k in range(DRAWS)]
        found = _with_a_floor(torch.stack(drawn), want, limit)
        if found:
            return Finding(NAME, layer.name, True, gap, note=f"{note}; {found}")
    suggests = "" if gap <= limit else unheard(spec, layer, x, q, bias) or _WRONG_MAP
    return Finding(
        NAME, layer.name, gap <= limit, gap, limit=limit, note=note, suggests=suggests,
    )  # fmt: skip


def _with_a_floor(drawn: Tensor, want: Tensor, rounding: float) -> str:
    """What is to be said of noise that does not vanish with the scale, but is small and leaves the mean as it is."""
    size, spread = want.abs().max(), drawn.std(0)
    floor = float(spread.max() / size)
    limit = -float(stdtrit(DRAWS - 1, RATE / want.numel() / 2)) / DRAWS**0.5
    if floor > FLOOR or bool(
        ((drawn.mean(0) - want).abs() > limit * spread + rounding * size).any()
    ):
        return ""
    remains = f"noise of {floor:.1g} of the output remains, as of √(Σx²σ² + ε)"
    return f"its mean over {DRAWS} draws is that map, and {remains}"


_WRONG_MAP = (
    "either mean=, transposed= or output= names the wrong thing, or the layer's noise does not vanish with its scale, "
    "as where the whole sample μ + σε is perturbed instead of σε."
)


def ask(subject: Subject) -> list[Finding]:
    """One finding for each kind of layer."""
    return each_layer(NAME, subject, _mapping)


CHECK = Check(NAME, "without noise, the layer's map of the mean", ask, is_third_party)
