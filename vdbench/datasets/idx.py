"""The IDX format of MNIST's files."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from vdbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np


def parse_idx(data: bytes, where: str) -> np.ndarray[Any, Any]:
    """Read an array of unsigned bytes in the IDX format.

    The format: two zero bytes, the type (8: unsigned byte), the number of axes, each axis' length
    as a big-endian 32-bit number, then the values in row-major order.

    Args:
        data: The whole file.
        where: What to call it in an error.

    Returns:
        A read-only uint8 array.

    Raises:
        InputError: It is not such a file, or too short or too long for the shape it states.
    """
    import numpy as np

    if len(data) < 4 or data[:3] != b"\0\0\x08" or data[3] == 0:
        raise InputError(
            f"{where} is not an IDX file of unsigned bytes: it begins with "
            f"{data[:4].hex(' ') or 'nothing'}, expected 00 00 08 and the number of axes."
        )
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise InputError(f"{where} ends within its header of {start} bytes, after {len(data)}.")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        size = " x ".join(str(length) for length in shape)
        raise InputError(
            f"{where} has {len(data) - start} values, expected {math.prod(shape)} ({size}) "
            "as its header says."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
