"""Sums over parameters of what a unit's four gradients make, in buffers that are reused.

With d₁ = a₁ − a₂, d₂ = b₁ − b₂, s = a₁ + a₂, t = b₁ + b₂ and u = s − t,

    noise = ¼(d₁² + d₂²),  total = ⅛(u² + d₁² + d₂²),  signal = ¼st,  data = total − noise,

which are the products of `vdbench.measures.variance_units`: (a₁ − b₁)² + (a₁ − b₂)² + (a₂ − b₁)² + (a₂ − b₂)² is
u² + d₁² + d₂². No difference of large sums is taken: noise that is small beside the mean keeps its digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Numbers = np.ndarray[Any, np.dtype[np.float64]]

TILE = {"cpu": 2**15, "cuda": 2**24}
"""Numbers of a gradient, in all units together, that are looked at at once: a CPU's cache holds their four draws."""


@dataclass
class Buffers:
    """Memory that is used again and again, one tensor for each purpose."""

    held: dict[str, Tensor] = field(default_factory=dict)

    def get(self, purpose: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape, of any content, in the type and on the device of another."""
        size = math.prod(shape)
        held = self.held.get(purpose)
        if (
            held is None
            or held.numel() < size
            or (held.dtype, held.device) != (like.dtype, like.device)
        ):
            held = self.held[purpose] = torch.empty(size, dtype=like.dtype, device=like.device)
        return held[:size].view(shape)


@dataclass
class Sums:
    """Sums over parameters for each of U units.

    Attributes:
        units: U.
        buffers: Where differences are formed.
    """

    units: int
    buffers: Buffers
    _found: dict[str, list[tuple[int, Tensor]]] = field(default_factory=dict)

    def add(
        self, name: str, first: Tensor, second: Tensor, slope: Tensor | None = None, unit: int = 0
    ) -> None:
        """Take in some of a parameter's numbers in some units.

        Args:
            name: The parameter.
            first: The first draw on each of their minibatches, (2V, n): a₁ and b₁ of one unit, then of the next.
            second: The second draws, (2V, n).
            slope: What is added to all draws, (n,).
            unit: The first of the V units.
        """
        count, size = first.shape
        step = max(1, 2 * TILE[first.device.type] // count)
        for start in range(0, size, step):
            part = slice(start, min(start + step, size))
            a, b = (first, second) if step >= size else (first[:, part], second[:, part])
            difference = self.buffers.get("difference", (count, part.stop - start), first)
            total = self.buffers.get("total", (count, part.stop - start), first)
            torch.sub(a, b, out=difference)
            torch.add(a, b, out=total)
            self.combine(name, difference, total, None if slope is None else slope[part], unit)

    def combine(
        self, name: str, difference: Tensor, total: Tensor, slope: Tensor | None, unit: int
    ) -> None:
        """Take in d₁, d₂ and s, t, (2V, n) each; they are overwritten."""
        count, size = difference.shape
        s, t = total[0::2], total[1::2]
        u = torch.sub(s, t, out=self.buffers.get("u", (count // 2, size), total))
        if slope is not None:
            total.add_(slope, alpha=2)
        if count == 2:
            d = difference.view(-1)
            sums = torch.stack((torch.dot(d, d), torch.dot(u[0], u[0]), torch.dot(s[0], t[0])))[
                None
            ]
        else:
            squares = difference.square_().view(-1, 2 * size)
            sums = torch.stack((squares.sum(1), u.square_().sum(1), s.mul_(t).sum(1)), 1)
        self.take(name, sums, unit)

    def take(self, name: str, sums: Tensor, unit: int = 0) -> None:
        """Add sums that were computed elsewhere: d₁² + d₂², u² and st, (V, 3)."""
        self._found.setdefault(name, []).append((unit, sums))

    def numbers(self) -> dict[str, Numbers] | None:
        """The sums by parameter, (U, 3), in one transfer; None where one is not finite."""
        parts = [(name, *part) for name, parts in self._found.items() for part in parts]
        every = torch.cat([sums.double() for _, _, sums in parts]).cpu().numpy()
        if not np.isfinite(every).all():
            return None
        result = {name: np.zeros((self.units, 3)) for name in self._found}
        place = 0
        for name, unit, sums in parts:
            result[name][unit : unit + len(sums)] += every[place : place + len(sums)]
            place += len(sums)
        return result


def quantities(names: Sequence[str], found: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """Noise, data, total and signal of each unit, summed over the numbers of some parameters, each (U,)."""
    squares, u, signal = np.sum([found[name] for name in names], axis=0).T
    noise = squares / 4
    total = noise / 2 + u / 8
    return {"noise": noise, "data": total - noise, "total": total, "signal": signal / 4}
