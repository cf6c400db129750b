"""Whether two draws agree: bit by bit, or to rounding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vdbench.estimation.base import Gradient


def same(a: Gradient, b: Gradient) -> bool:
    """Bit by bit."""
    pairs = [(a.value, b.value), *((v, b.gradients[n]) for n, v in a.gradients.items())]
    return all(bool((x == y).all()) for x, y in pairs)


def gaps(
    a: Gradient, b: Gradient, relative: float, room: Mapping[str, Tensor] | None = None
) -> list[str]:
    """Where two gradients differ by more than this share of the largest entry, and an entry's own room beside it."""
    lines, more = [], room or {}
    pairs = {
        "value": (a.value, b.value),
        **{n: (v, b.gradients[n]) for n, v in a.gradients.items()},
    }
    for name, (x, y) in pairs.items():
        gap, size = (x.double() - y.double()).abs(), float(y.double().abs().max())
        held = relative * (size + 1e-6) + more.get(name, torch.zeros_like(gap))
        if not bool((gap <= held).all()):
            worst = int((gap / held).argmax())
            found = [f"{float(t.flatten()[worst]):.3g}" for t in (gap, held)]
            lines.append(
                f"{name}[{worst}] differs by {found[0]}, at most {found[1]}, largest {size:.3g}"
            )
    return lines
