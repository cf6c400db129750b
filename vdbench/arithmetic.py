"""Precisions: the floating-point type of parameters, and how the inputs of matrix products are rounded.

- ``float32``, ``float64``: products in the type of the parameters. On a GPU, TF32 is switched off for ``float32``:
  torch has it on for convolutions otherwise.
- ``tf32``: parameters in float32; the inputs of every product rounded to 10 bits after the point, sums in float32.
- ``bf16``: parameters in float32; the inputs of every product rounded to bfloat16 (7 bits after the point), sums in
  float32, and their result rounded to bfloat16.

Both are what tensor cores are documented to compute; no GPU has been compared yet. On a GPU they are torch's own:
``allow_tf32``, and `torch.autocast` to bfloat16. On a CPU they are imitated: inputs, and for ``bf16`` results, are
rounded to nearest around products in float32. This gives the bias and the variance of that arithmetic, and says nothing
of its time. Everything that is no product of matrices or convolution stays in float32, as it does under torch's own. A
bias is added unrounded, where autocast rounds it too. Products written into memory that is given (``out=``, in place),
of two vectors and of sparse matrices are not rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

STORAGE = {
    "float32": torch.float32,
    "float64": torch.float64,
    "tf32": torch.float32,
    "bf16": torch.float32,
}
"""The precisions, each with the type of parameters, inputs and noise."""

ROUNDED = ("tf32", "bf16")
"""Those that round the inputs of products."""


def computing(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Within, products are computed as a precision says; '' leaves torch as it is.

    Args:
        precision: One of `STORAGE`, or ''.
        device: Where.
    """
    if device.type == "cuda":
        return _on_gpu(precision) if STORAGE.get(precision) is torch.float32 else nullcontext()
    return _imitated(precision) if precision in ROUNDED else nullcontext()


@contextmanager
def _on_gpu(precision: str) -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        # without the cache of casts, which a captured graph could not keep
        with torch.autocast("cuda", torch.bfloat16, precision == "bf16", cache_enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def _imitated(precision: str) -> Iterator[None]:
    with RoundedProducts(precision):
        yield


def to_tf32(x: Tensor) -> Tensor:
    """A float32 tensor rounded to 10 bits after the point, to nearest, ties to even; in float32."""
    bits = x.view(torch.int32)
    # adding half of the last bit kept carries into it; what is no number stays as it is
    rounded = (bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF
    return torch.where(x.isfinite(), rounded.view(torch.float32), x)


def to_bf16(x: Tensor) -> Tensor:
    """A float32 tensor rounded to 7 bits after the point, to nearest, ties to even; in float32."""
    return x.to(torch.bfloat16).to(torch.float32)


ROUNDINGS: Mapping[str, Callable[[Tensor], Tensor]] = {"tf32": to_tf32, "bf16": to_bf16}

aten = torch.ops.aten

PRODUCTS = {
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.baddbmm.default: (1, 2),
    aten.addbmm.default: (1, 2),
    aten.linear.default: (0, 1),
    aten.convolution.default: (0, 1),
    aten.convolution_backward.default: (0, 1, 2),
}
"""Products of matrices, to which all others come down, each with the places of its factors."""

VECTORS = {aten.mv.default: (0, 1), aten.addmv.default: (1, 2)}
"""Products of a matrix and a vector, which `torch.autocast` casts and tensor cores do not compute in TF32."""


class RoundedProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, the float32 factors of every product are rounded, in backward passes too."""

    def __init__(self, precision: str) -> None:
        """Round as ``tf32`` or ``bf16`` does."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._round, self._results = ROUNDINGS[precision], precision == "bf16"
        self._places = {**PRODUCTS, **(VECTORS if self._results else {})}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """One operation of torch."""
        places = self._places.get(func)
        if places is None:
            return func(*args, **(kwargs or {}))
        given = [self._rounded(x) if n in places else x for n, x in enumerate(args)]
        found = func(*given, **(kwargs or {}))
        if not self._results:
            return found
        if isinstance(found, Tensor):
            return self._rounded(found)
        return tuple(map(self._rounded, found))

    def _rounded(self, x: Any) -> Any:
        exact = not isinstance(x, Tensor) or x.dtype != torch.float32
        return x if exact else self._round(x)
