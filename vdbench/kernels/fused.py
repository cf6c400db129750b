"""Local reparameterization and flipout of a dense layer in one launch forward and two backward, by Triton.

    >>> from vdbench.kernels import fused
    >>> b = fused.local(x, mean, variance, stream)  # doctest: +SKIP

``x`` and its square (or x∘s) are read once for both products, the noise is made by Philox in the epilogue or read from
a tensor, and no (M, outputs) intermediate but ζ/(2√x²σ²) is written. Gradients in x and in both matrices come by
autograd, `torch.func.grad` and `torch.func.vmap`; second derivatives are refused.

It needs Triton and a CUDA device (or TRITON_INTERPRET=1, which runs anywhere, slowly). The plain form of each function
is in `vdbench.kernels.references`, with the same arguments.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from vdbench.kernels.launches import PRECISIONS, How, Operands, Tiles, gradients, preactivation

Dims = tuple[int | None, ...]


def local(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    noise: Tensor,
    precision: str | None = None,
    tiles: Tiles | None = None,
) -> Tensor:
    """Local reparameterization of a dense layer, b = xμᵀ + √(x²σ²ᵀ)∘ζ.

    Where x²σ² is 0, as in a row of zeros, b is xμᵀ and no gradient passes through the root.

    Args:
        x: (..., inputs), of float32, bfloat16, float16 or float64.
        mean: μ, (outputs, inputs), of the same type.
        variance: σ², (outputs, inputs). For log σ² or σ give ``log_variance.exp()`` or ``scale.square()``: autograd
            has the chain rule.
        noise: ζ, (..., outputs), of the same type; or int64 of shape (5,), the stream that it is the first numbers of
            (`vdbench.kernels.philox.normals`). No gradient is taken in it.
        precision: How float32 is multiplied: ``ieee``, ``tf32``, ``tf32x3``; as torch's float32 matmul precision says
            if None.
        tiles: How the work is divided; chosen by shape if None.

    Returns:
        b, (..., outputs), of the same type. Sums are kept in float32, of float64 in float64.

    Raises:
        ValueError: Shapes, types or devices do not fit.
        ModuleNotFoundError: Triton is not installed.
    """
    x, mean, variance, noise = _cast(x, mean, variance, noise)
    _check("local", x, {"mean": mean, "variance": variance})
    how = How(_precision("local", precision), tiles)
    outputs = mean.shape[0]
    if noise.dtype == torch.int64:
        if noise.shape != (5,):
            raise ValueError(f"local: a stream has shape (5,), not {tuple(noise.shape)}.")
        given = noise[None]
    elif noise.shape != (*x.shape[:-1], outputs) or noise.dtype != x.dtype:
        raise ValueError(
            f"local: noise has shape {tuple(noise.shape)} and type {noise.dtype}; expected "
            f"{(*x.shape[:-1], outputs)} and {x.dtype}, or a stream, int64 of shape (5,)."
        )
    else:
        given = noise.reshape(1, -1, outputs)
    _same_device("local", x, {"mean": mean, "variance": variance, "noise": noise})
    flat = x.reshape(1, -1, x.shape[-1])
    b, _ = _forward(flat, mean[None], variance[None], given, None, None, how)
    return _shaped(b, x, outputs)


def flipout(
    x: Tensor,
    mean: Tensor,
    perturbation: Tensor,
    row_bits: Tensor,
    out_bits: Tensor,
    precision: str | None = None,
    tiles: Tiles | None = None,
) -> Tensor:
    """Flipout of a dense layer, b = xμᵀ + ((x∘s)ΔWᵀ)∘t.

    Args:
        x: (M, inputs), of float32, bfloat16, float16 or float64.
        mean: μ, (outputs, inputs), of the same type.
        perturbation: ΔW = σ∘ε, (outputs, inputs), one for the minibatch; autograd has the chain rule for σ.
        row_bits: The signs s as bits of int32, row by row, the lowest of a word first, −1 where set; of shape
            (⌈M · inputs/32⌉,), from `vdbench.kernels.launches.words` or any other source.
        out_bits: The signs t, (⌈M · outputs/32⌉,).
        precision: As of `local`.
        tiles: As of `local`.

    Returns:
        b, (M, outputs), of the same type.

    Raises:
        ValueError: Shapes, types or devices do not fit.
        ModuleNotFoundError: Triton is not installed.
    """
    x, mean, perturbation = _cast(x, mean, perturbation)
    _check("flipout", x, {"mean": mean, "perturbation": perturbation})
    if x.dim() != 2:
        raise ValueError(f"flipout: x has shape {tuple(x.shape)}; expected (M, inputs).")
    for name, bits, columns in (
        ("row_bits", row_bits, x.shape[1]),
        ("out_bits", out_bits, mean.shape[0]),
    ):
        expected = (-(-x.shape[0] * columns // 32),)
        if bits.shape != expected or bits.dtype != torch.int32:
            raise ValueError(
                f"flipout: {name} has shape {tuple(bits.shape)} and type {bits.dtype}; expected {expected} and "
                "torch.int32."
            )
    given = {"mean": mean, "perturbation": perturbation, "row_bits": row_bits, "out_bits": out_bits}
    _same_device("flipout", x, given)
    how = How(_precision("flipout", precision), tiles)
    operands = (x[None], mean[None], perturbation[None], None, row_bits[None], out_bits[None])
    b, _ = _forward(*operands, how)
    return _shaped(b, x, mean.shape[0])


def runs_on(device: torch.device) -> bool:
    """Whether the kernels run there: on CUDA devices, and in Triton's interpreter anywhere."""
    return device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


def _cast(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Operands in the type of `torch.autocast` where that is on, as those of torch's own products would be."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return x, *others
    to = torch.get_autocast_dtype(kind)
    return tuple(t.to(to) if t.is_floating_point() else t for t in (x, *others))


def _check(name: str, x: Tensor, matrices: dict[str, Tensor]) -> None:
    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    if x.dtype not in kinds or x.dim() < 2:
        raise ValueError(
            f"{name}: x has shape {tuple(x.shape)} and type {x.dtype}; expected (..., inputs), two dimensions or more, "
            f"of {', '.join(map(str, kinds))}."
        )
    first = next(iter(matrices.values()))
    if not x.numel() or not first.numel():
        raise ValueError(
            f"{name}: x has shape {tuple(x.shape)}; expected one row, input and output at least."
        )
    expected = (first.shape[0], x.shape[-1])
    for label, matrix in matrices.items():
        if matrix.shape != expected or matrix.dtype != x.dtype:
            raise ValueError(
                f"{name}: {label} has shape {tuple(matrix.shape)} and type {matrix.dtype}; expected {expected} and "
                f"{x.dtype}, as x has."
            )


def _same_device(name: str, x: Tensor, others: dict[str, Tensor]) -> None:
    for label, tensor in others.items():
        if tensor.device != x.device:
            raise ValueError(f"{name}: {label} is on {tensor.device}, x on {x.device}.")


def _precision(name: str, precision: str | None) -> str:
    if precision is None:
        return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    if precision not in PRECISIONS:
        raise ValueError(f"{name}: precision '{precision}' is none of {', '.join(PRECISIONS)}.")
    return precision


def _shaped(b: Tensor, x: Tensor, outputs: int) -> Tensor:
    return b.reshape(*x.shape[:-1], outputs)


def _shared(gradient: Tensor, operand: Tensor) -> Tensor:
    """The gradient of what all batches share: their sum."""
    return gradient.sum(0, keepdim=True) if len(operand) < len(gradient) else gradient


def _flattened(tensors: tuple[Any, ...], dims: Dims, size: int) -> list[Any]:
    """Operands with what is vectorised over put before their batches; what is shared stays so."""
    batches = max(
        (t.shape[0] if d is None else t.movedim(d, 0).shape[1])
        for t, d in zip(tensors, dims, strict=True)
        if isinstance(t, Tensor)
    )
    found: list[Any] = []
    for tensor, dim in zip(tensors, dims, strict=True):
        if not isinstance(tensor, Tensor) or (dim is None and tensor.shape[0] == 1):
            found.append(tensor)
            continue
        moved = tensor[None] if dim is None else tensor.movedim(dim, 0)
        whole = moved.expand(size, batches, *moved.shape[2:])
        found.append(whole.reshape(size * batches, *moved.shape[2:]))
    return found


def _split(batches: Tensor, size: int) -> Tensor:
    return batches.reshape(size, len(batches) // size, *batches.shape[1:])


class _Forward(Function):
    """b, and ζ/(2√second), of operands with a first dimension of batches, 1 where they are shared."""

    @staticmethod
    def forward(
        x: Tensor,
        first: Tensor,
        second: Tensor,
        noise: Tensor | None,
        row_bits: Tensor | None,
        out_bits: Tensor | None,
        how: How,
    ) -> tuple[Tensor, Tensor]:
        at = _operands(x, first, second, row_bits, out_bits)
        b, slope = preactivation(at, None if noise is None else noise.contiguous(), how)
        return b, (slope.new_empty((len(b), 0)) if at.flip else slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, first, second, _, row_bits, out_bits, how = inputs
        ctx.save_for_backward(x, first, second, row_bits, out_bits, output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.how = how

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Any) -> Any:
        x, first, second, row_bits, out_bits, slope = ctx.saved_tensors
        found = _backward(x, first, second, row_bits, out_bits, slope, g, ctx.how)
        own = (_shared(d, t) for d, t in zip(found, (x, first, second), strict=True))
        return *own, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Dims, *operands: Any) -> Any:
        found = _forward(*_flattened(operands, in_dims, info.batch_size))
        return tuple(_split(t, info.batch_size) for t in found), (0, 0)


class _Backward(Function):
    """The three gradients, one for each batch."""

    @staticmethod
    def forward(
        x: Tensor,
        first: Tensor,
        second: Tensor,
        row_bits: Tensor | None,
        out_bits: Tensor | None,
        slope: Tensor,
        g: Tensor,
        how: How,
    ) -> tuple[Tensor, Tensor, Tensor]:
        at = _operands(x, first, second, row_bits, out_bits)
        batches = max(len(t) for t in (*at, slope, g) if t is not None)
        g = g.expand(batches, *g.shape[1:]).contiguous()
        slope = slope.expand(batches, *slope.shape[1:]).contiguous()
        return gradients(at, g, g if at.flip else slope, how)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            "vdbench.kernels.fused: second derivatives are not available; use vdbench.kernels.references."
        )

    @staticmethod
    def vmap(info: Any, in_dims: Dims, *operands: Any) -> Any:
        found = _backward(*_flattened(operands, in_dims, info.batch_size))
        return tuple(_split(t, info.batch_size) for t in found), (0, 0, 0)


def _operands(
    x: Tensor, first: Tensor, second: Tensor, row_bits: Tensor | None, out_bits: Tensor | None
) -> Operands:
    bits = (t if t is None else t.contiguous() for t in (row_bits, out_bits))
    return Operands(x.contiguous(), first.contiguous(), second.contiguous(), *bits)


_forward: Callable[..., tuple[Tensor, Tensor]] = _Forward.apply
_backward: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Backward.apply
