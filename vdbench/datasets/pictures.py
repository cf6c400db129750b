"""Images as inputs and as targets; the library of images is never imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vdbench.datasets import tensors
from vdbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def is_bytes(value: Any) -> bool:
    """Whether something is an image as a numpy array of unsigned bytes, (height, width[, channels])."""
    if not tensors.is_a(value, "numpy", "ndarray") or value.dtype.name != "uint8":
        return False
    return value.ndim == 2 or (value.ndim == 3 and value.shape[-1] in (1, 3, 4))


def floats(value: Any, what: str) -> Tensor:
    """Floats (channels, height, width), unsigned bytes divided by 255.

    Raises:
        InputError: The image holds numbers of a palette.
    """
    import numpy as np
    import torch

    if getattr(value, "mode", "") == "P":
        raise InputError(
            f"{what} is an image of palette numbers; expected colours: convert it by image.convert('RGB')."
        )
    array = np.asarray(value)
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    found = torch.from_numpy(np.array(array, dtype=np.float32)).to(torch.get_default_dtype())
    return (found[None] if array.ndim == 2 else found.permute(2, 0, 1)).contiguous() / scale


def classes(value: Any, what: str) -> Tensor:
    """An image as a target: the class of each pixel, or its palette number."""
    import numpy as np

    return tensors.of_numpy(np.asarray(value), what)
