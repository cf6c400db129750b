"""The data sets that are fetched, read from their files into arrays."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from vdbench.datasets.cifar10 import RECORD, parse_batch
from vdbench.datasets.files import File, Place, Source, content, locate, target
from vdbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    Arrays = tuple[np.ndarray[Any, Any], ...]


def read_idx(source: Source) -> Arrays:
    """Read MNIST or one like it.

    Args:
        source: Its files are images and classes for training, then for testing.

    Returns:
        Training inputs, pixels / 255 as float32 of shape (N, pixels), and classes, then the same for testing.

    Raises:
        InputError: A file is missing or damaged.
    """
    place = _place(source)
    images, classes, test_images, test_classes = (
        parse_idx(content(place, file), str(place.folder / file.name)) for file in source.files
    )

    return _scaled(images), classes, _scaled(test_images), test_classes


def _scaled(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    inputs: np.ndarray[Any, Any] = pixels.reshape(len(pixels), -1) / np.float32(255)
    return inputs


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


def read_cifar(source: Source) -> Arrays:
    """Read CIFAR-10.

    Args:
        source: Its files are batches of the binary version, all but the last for training.

    Returns:
        Training inputs, pixels / 255 as float32 of shape (N, 3, 32, 32), and classes, then the same for testing.

    Raises:
        InputError: A file is missing or damaged.
    """
    place = _place(source)
    return (*_batches(place, source.files[:-1]), *_batches(place, source.files[-1:]))


def _batches(place: Place, files: tuple[File, ...]) -> Arrays:
    """One after another into arrays made beforehand: no more than one batch is in memory twice."""
    import numpy as np

    n, start = sum(file.size for file in files) // RECORD, 0
    inputs, targets = np.empty((n, 3, 32, 32), np.float32), np.empty(n, np.int64)
    for file in files:
        pixels, classes = parse_batch(content(place, file), str(place.folder / file.name))
        part = slice(start, start + len(classes))
        np.divide(pixels, np.float32(255), out=inputs[part])
        targets[part] = classes
        start = part.stop
    return inputs, targets


def _place(source: Source) -> Place:
    place = locate(source)
    if place is None:
        raise InputError(f"The files of '{source.name}' have vanished from {target(source)}.")
    return place
