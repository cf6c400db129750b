"""Sums over parameters of what a unit's four gradients make, in buffers that are reused.

With d₁ = a₁ − a₂, d₂ = b₁ − b₂, s = a₁ + a₂, t = b₁ + b₂ and u = s − t,

    noise = ¼(d₁² + d₂²),  total = ⅛(u² + d₁² + d₂²),  signal = ¼st,  data = total − noise,

which are the products of `vdbench.measures.variance_units`: (a₁ − b₁)² + (a₁ − b₂)² + (a₂ − b₁)² + (a₂ − b₂)² is
u² + d₁² + d₂². No difference of large sums is taken: noise that is small beside the mean keeps its digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

TILE = 2**15
"""Numbers of each of the four gradients that are looked at together: what a cache holds."""


@dataclass
class Buffers:
    """Memory that is used again and again, one tensor for each purpose."""

    held: dict[str, Tensor] = field(default_factory=dict)

    def get(self, purpose: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape whose numbers mean nothing."""
        size = 1
        for n in shape:
            size *= n
        held = self.held.get(purpose)
        if held is None or held.numel() < size or held.dtype != like.dtype or held.device != like.device:
            held = self.held[purpose] = torch.empty(size, dtype=like.dtype, device=like.device)
        return held[:size].view(shape)


@dataclass
class Sums:
    """Sums over parameters for each of U units.

    Attributes:
        units: U.
        buffers: Where differences are formed.
        found: By parameter: d₁², d₂², u² and st, (U, 4) in float64.
    """

    units: int
    buffers: Buffers
    found: dict[str, Tensor] = field(default_factory=dict)

    def add(
        self, name: str, a1: Tensor, a2: Tensor, b1: Tensor, b2: Tensor, slope: Tensor | None = None
    ) -> None:
        """Take in some of a parameter's numbers.

        Args:
            name: The parameter.
            a1: The first draw on the first minibatch, (U, n); the others alike.
            slope: What is added to each of the four, (n,).
        """
        size = a1.shape[1]
        step = max(1, TILE // self.units)
        for start in range(0, size, step):
            part = slice(start, min(start + step, size))
            four = (a1[:, part], a2[:, part], b1[:, part], b2[:, part])
            self._add(name, four, None if slope is None else slope[part])

    def _add(self, name: str, four: tuple[Tensor, ...], slope: Tensor | None) -> None:
        a1, a2, b1, b2 = four
        made = self.buffers.get("moments", (self.units, 5, a1.shape[1]), a1)
        d1, d2, u, s, t = made.unbind(1)
        torch.sub(a1, a2, out=d1)
        torch.sub(b1, b2, out=d2)
        torch.add(a1, a2, out=s)
        torch.add(b1, b2, out=t)
        torch.sub(s, t, out=u)
        if slope is not None:
            made[:, 3:].add_(slope, alpha=2)
        made[:, :3].square_()
        s.mul_(t)
        self.take(name, made[:, :4].sum(2).double())

    def take(self, name: str, sums: Tensor) -> None:
        """Add sums that were computed elsewhere, (U, 4)."""
        self.found[name] = self.found[name] + sums if name in self.found else sums

    @property
    def finite(self) -> bool:
        """Whether all are: they are not where a gradient is not, or where a square overflows."""
        return bool(torch.stack([s.isfinite().all() for s in self.found.values()]).all())

    def quantities(self, members: Mapping[str, list[str]]) -> dict[str, dict[str, Tensor]]:
        """Noise, data, total and signal by group, each (U,), summed over the group's parameters."""
        result = {}
        for group, names in members.items():
            sums = torch.stack([self.found[name] for name in names]).sum(0)
            squares = (sums[:, 0] + sums[:, 1]) / 4
            total = squares / 2 + sums[:, 2] / 8
            result[group] = {
                "noise": squares,
                "data": total - squares,
                "total": total,
                "signal": sums[:, 3] / 4,
            }
        return result
