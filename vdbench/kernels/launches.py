"""Launches of the device programs on tensors with a first dimension of batches, in memory that they allocate.

Operands that all batches share have a first dimension of 1. Everything is contiguous; `vdbench.kernels.fused` sees to
that, and to shapes. Triton is imported at the first launch.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

PRECISIONS = ("ieee", "tf32", "tf32x3")
"""How float32 operands are multiplied: as they are; rounded to 10 bits; or in three products of such halves."""


BLOCKS = 256
"""Blocks of a stream that one program makes."""


class Tiles(NamedTuple):
    """How a program divides its work: a tile of the result, and how much is summed at once; powers of 2, ≥ 16."""

    rows: int
    columns: int
    depth: int
    warps: int = 4
    stages: int = 3


@dataclass(frozen=True)
class How:
    """How operands are multiplied, and by what tiles; None chooses by shape."""

    precision: str
    tiles: Tiles | None = None


def programs() -> ModuleType:
    """The device programs.

    Raises:
        ModuleNotFoundError: Triton is not installed.
    """
    try:
        from vdbench.kernels import programs as found
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "triton":
            raise ModuleNotFoundError(
                "vdbench.kernels: the fused kernels need Triton: pip install 'vdbench[kernels]', on Linux."
            ) from error
        raise
    return found


def tiles_for(rows: int, columns: int) -> Tiles:
    """The tiles of a result of this shape: small ones where there would be too few to fill a device."""
    tall = 16 if rows <= 16 else 32 if rows <= 32 or columns < 64 else 64
    wide = 32 if columns <= 32 or rows <= 32 else 64
    return Tiles(tall, wide, 32)


def normals(streams: Tensor, out: Tensor) -> Tensor:
    """Numbers of N(0, 1) of K streams in one launch; the same as `vdbench.kernels.philox.normals` to rounding.

    Args:
        streams: int64 words on the device, (K, 5).
        out: Filled with them, (K, n), contiguous, of floating point. The transform is taken in float32, of float64 in
            float64.

    Returns:
        ``out``.
    """
    blocks = -(-out.shape[1] // 4)
    grid = (-(-blocks // BLOCKS), len(streams))
    if out.numel():
        programs().normals[grid](
            out, streams.contiguous(), out.shape[1], blocks,
            BLOCK=BLOCKS, WIDE=out.dtype == torch.float64,
        )  # fmt: skip
    return out


def words(streams: Tensor, count: int, first: int = 0) -> Tensor:
    """Words of K streams in one launch, in the order of `vdbench.kernels.philox`.

    Args:
        streams: int64 words on the device, (K, 5).
        count: How many of each.
        first: The number of the first block.

    Returns:
        int32, (K, count). Their bits, the lowest of a word first, are the stream's signs.
    """
    out = torch.empty((len(streams), count), device=streams.device, dtype=torch.int32)
    blocks = -(-count // 4)
    grid = (-(-blocks // BLOCKS), len(streams))
    if out.numel():
        programs().words[grid](out, streams.contiguous(), count, blocks, first, BLOCK=BLOCKS)
    return out


class Operands(NamedTuple):
    """Of one layer: x (B, M, inputs), the two matrices (B, outputs, inputs), and the signs' bits of flipout alone.

    Attributes:
        x: Inputs.
        first: μ.
        second: σ², or ΔW.
        row_bits: Of s, row by row, int32, (B, ⌈M · inputs/32⌉); None of local reparameterization.
        out_bits: Of t, (B, ⌈M · outputs/32⌉).
    """

    x: Tensor
    first: Tensor
    second: Tensor
    row_bits: Tensor | None = None
    out_bits: Tensor | None = None

    @property
    def flip(self) -> bool:
        """Whether they are flipout's."""
        return self.row_bits is not None

    @property
    def wide(self) -> bool:
        """Whether sums are kept in float64."""
        return self.x.dtype == torch.float64

    @property
    def sizes(self) -> tuple[int, int, int]:
        """M, inputs, outputs."""
        return self.x.shape[1], self.x.shape[2], self.first.shape[1]

    @property
    def batches(self) -> int:
        """How many there are."""
        return max(len(t) for t in self if t is not None)

    def bits(self) -> tuple[Tensor, Tensor, int, int]:
        """Of s and t, and their steps; where there are none, something to point at."""
        if self.row_bits is None or self.out_bits is None:
            return self.x, self.x, 0, 0
        return self.row_bits, self.out_bits, step(self.row_bits), step(self.out_bits)


def step(operand: Tensor) -> int:
    """Numbers from one batch to the next: 0 where all share one."""
    return 0 if len(operand) == 1 else operand[0].numel()


def interpreted() -> bool:
    """Whether programs run in Triton's interpreter, on any device: where TRITON_INTERPRET=1 is set."""
    return type(programs().normals).__name__ == "InterpretedFunction"


def _tile_arguments(
    at: Operands, how: How, rows: int, columns: int
) -> tuple[int, dict[str, int | str | bool]]:
    tiles = how.tiles or tiles_for(rows, columns)
    grid = -(-rows // tiles.rows) * -(-columns // tiles.columns)
    return grid, {
        "FLIP": at.flip,
        "WIDE": at.wide,
        "UPCAST": at.x.dtype == torch.bfloat16 and interpreted(),
        "BM": tiles.rows,
        "BN": tiles.columns,
        "BK": tiles.depth,
        "PRECISION": how.precision,
        "num_warps": tiles.warps,
        "num_stages": tiles.stages,
    }


def preactivation(at: Operands, noise: Tensor | None, how: How) -> tuple[Tensor, Tensor]:
    """Values b (B, M, outputs), and of local reparameterization ζ/(2√second), of the same shape.

    Args:
        at: The layer's operands.
        noise: ζ, (B, M, outputs), or the streams that it is made of, int64, (B, 5); None of flipout.
        how: Precision and tiles.
    """
    rows, inputs, outputs = at.sizes
    batches = max(at.batches, 1 if noise is None else len(noise))
    out = at.x.new_empty((batches, rows, outputs))
    slope = out if at.flip else out.new_empty(out.shape, dtype=_sum_type(at))
    row_bits, out_bits, *bit_steps = at.bits()
    grid, tiles = _tile_arguments(at, how, rows, outputs)
    programs().preactivation[(grid, batches)](
        out, slope, at.x, at.first, at.second, at.x if noise is None else noise, row_bits, out_bits,
        rows, inputs, outputs, -(-rows * outputs // 4),
        step(at.x), step(at.first), step(at.second), *bit_steps,
        DRAWN=noise is not None and noise.dtype == torch.int64, **tiles,
    )  # fmt: skip
    return out, slope


def _sum_type(at: Operands) -> torch.dtype:
    return torch.float64 if at.wide else torch.float32


def gradients(at: Operands, g: Tensor, slope: Tensor, how: How) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, first and second, one for each batch, in two launches.

    Args:
        at: The layer's operands.
        g: Gradient of b, (B, M, outputs).
        slope: From `preactivation`.
        how: Precision and tiles.
    """
    rows, inputs, outputs = at.sizes
    batches = len(g)
    dx = at.x.new_empty((batches, rows, inputs))
    row_bits, out_bits, *bit_steps = at.bits()
    grid, tiles = _tile_arguments(at, how, rows, inputs)
    programs().input_gradient[(grid, batches)](
        dx, g, slope, at.x, at.first, at.second, row_bits, out_bits,
        rows, inputs, outputs, step(at.x), step(at.first), step(at.second), *bit_steps,
        **tiles,
    )  # fmt: skip
    dfirst = at.first.new_empty((batches, outputs, inputs))
    dsecond = torch.empty_like(dfirst)
    grid, tiles = _tile_arguments(at, how, outputs, inputs)
    programs().weight_gradients[(grid, batches)](
        dfirst, dsecond, g, slope, at.x, row_bits, out_bits,
        rows, inputs, outputs, step(at.x), *bit_steps,
        **tiles,
    )  # fmt: skip
    return dx, dfirst, dsecond
