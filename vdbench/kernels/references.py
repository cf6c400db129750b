"""What the fused kernels compute, in plain torch: one line of algebra each, differentiated by autograd.

They run on every device and in every floating type, and with ζ given under every transform of torch.
`vdbench.kernels.fused` is held to them; where Triton cannot be had, they are the same functions, slower.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vdbench.kernels.philox import normals, signs_of_bits


def local(x: Tensor, mean: Tensor, variance: Tensor, noise: Tensor) -> Tensor:
    """Local reparameterization of a dense layer, b = xμᵀ + √(x²σ²ᵀ)∘ζ.

    Where x²σ² is 0, as in a row of zeros, b is xμᵀ and no gradient passes through the root.

    Args:
        x: (M, inputs).
        mean: μ, (outputs, inputs).
        variance: σ², (outputs, inputs).
        noise: ζ, (M, outputs); or int64 of shape (5,), the stream that it is the first M · outputs numbers of.

    Returns:
        b, (M, outputs).
    """
    center, spread = F.linear(x, mean), F.linear(x.square(), variance)
    if noise.dtype == torch.int64:
        noise = normals(noise[None], center.new_empty(1, center.numel())).reshape(center.shape)
    some = spread > 0
    root = torch.where(some, spread, 1.0).sqrt()
    return center + torch.where(some, root * noise, 0.0)


def flipout(
    x: Tensor, mean: Tensor, perturbation: Tensor, row_bits: Tensor, out_bits: Tensor
) -> Tensor:
    """Flipout of a dense layer, b = xμᵀ + ((x∘s)ΔWᵀ)∘t.

    Args:
        x: (M, inputs).
        mean: μ, (outputs, inputs).
        perturbation: ΔW = σ∘ε, (outputs, inputs).
        row_bits: The signs s as bits of int32, row by row, the lowest of a word first, −1 where set; of shape
            (⌈M · inputs/32⌉,).
        out_bits: The signs t, (⌈M · outputs/32⌉,).

    Returns:
        b, (M, outputs).
    """
    center = F.linear(x, mean)
    s = signs_of_bits(row_bits, torch.empty_like(x, requires_grad=False))
    t = signs_of_bits(out_bits, torch.empty_like(center, requires_grad=False))
    return center + F.linear(x * s, perturbation) * t
