"""The forms of CIFAR-10's files: the publisher's binary version, torchvision's pickles, sheets of pixels.

A batch in the binary version is a row of records: one byte for the class, then the image's 3 x 32 x 32 bytes,
red before green before blue, each row by row. The other forms are turned into exactly these bytes, so that
one checksum serves all.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vdbench.datasets.files import RouteError
from vdbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS
"""Bytes of one example in the binary version."""

_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_SHEETS = {
    "train_lables.json": _TRAIN,
    "test_lables.json": ("test_batch",),
}
PARTS = (*_SHEETS, *(f"{batch}.png" for names in _SHEETS.values() for batch in names))
"""The files of the package of sheets that `from_sheets` reads (labels are spelt as they are there)."""


def parse_batch(data: bytes, where: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Read one batch of the binary version.

    Args:
        data: The whole file.
        where: What to call it in an error.

    Returns:
        Pixels, uint8 of shape (n, 3, 32, 32), and classes, uint8 of shape (n,); read-only views of ``data``.

    Raises:
        InputError: It is no whole number of records, or a class is not one of 0 to 9.
    """
    import numpy as np

    if len(data) % RECORD:
        raise InputError(
            f"{where} has {len(data)} bytes, expected a multiple of {RECORD}, one record an image."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max(initial=0) > 9:
        raise InputError(f"{where} has the class {records[:, 0].max()}, expected 0 to 9.")
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _records(pixels: np.ndarray[Any, Any], classes: list[int]) -> bytes:
    """Pixels (n, 3072) and n classes as a batch of the binary version."""
    import numpy as np

    if len(pixels) != len(classes):
        raise RouteError(f"there are {len(pixels)} images and {len(classes)} classes")
    column = np.asarray(classes, np.uint8).reshape(-1, 1)
    return np.concatenate([column, pixels], axis=1).tobytes()


# --- torchvision's pickles --------------------------------------------------------------------


class _Array:
    """Stands in for a pickled array: keeps what it was pickled with, and computes nothing."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Type(_Array):
    def __init__(self, name: object = None, *_: object) -> None:
        self.name = name


class _Reader(pickle.Unpickler):
    """An unpickler that knows an array of numbers and nothing else, so that no file can make it run code."""

    def find_class(self, module: str, name: str) -> type[_Array]:
        if (module, name) == ("numpy", "dtype"):
            return _Type
        if module.startswith("numpy") and name in ("ndarray", "_reconstruct"):
            return _Array
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def from_pickle(data: bytes) -> bytes:
    """Turn a batch as torchvision keeps it (a Python 2 pickle) into the binary version, without running any of it.

    Raises:
        RouteError: It is no such pickle, or asks for anything but an array of bytes and a list of classes.
    """
    import numpy as np

    try:
        batch = _Reader(io.BytesIO(data), encoding="bytes").load()
        _, shape, kind, fortran, raw = batch[b"data"].state
        if kind.name not in (b"u1", "u1"):
            raise ValueError(f"its array is of type {kind.name!r}")
        pixels = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")
        return _records(pixels, batch[b"labels"])
    except Exception as error:  # a damaged pickle can raise anything
        raise RouteError(f"it is no batch of CIFAR-10 as a Python pickle ({error})") from error


# --- sheets of pixels -------------------------------------------------------------------------


def from_sheets(parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Turn sheets of pixels into the binary version.

    A sheet is a PNG whose every row is one image, 1,024 RGB pixels row by row; the classes of all training sheets are
    one JSON list, those of the test sheet another.

    Args:
        parts: Contents by name, of all `PARTS`.

    Returns:
        The files of the binary version by name.

    Raises:
        RouteError: A part is not what it should be.
    """
    files: dict[str, bytes] = {}
    for labels, batches in _SHEETS.items():
        classes = _classes(parts[labels], labels)
        for batch in batches:
            pixels = _sheet(parts[f"{batch}.png"], f"{batch}.png")
            files[f"{batch}.bin"] = _records(pixels, classes[: len(pixels)])
            del classes[: len(pixels)]
        if classes:
            raise RouteError(f"{labels} has {len(classes)} classes more than there are images")
    return files


def _classes(data: bytes, name: str) -> list[int]:
    try:
        classes = json.loads(data)
    except ValueError as error:
        raise RouteError(f"{name} is no JSON") from error
    if not isinstance(classes, list) or any(c not in range(10) for c in classes):
        raise RouteError(f"{name} is no list of classes from 0 to 9")
    return classes


def _sheet(data: bytes, name: str) -> np.ndarray[Any, Any]:
    """Pixels (n, 3072) of a sheet of n images, colour by colour."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.mode != "RGB" or image.width != 1024:
                raise RouteError(
                    f"{name} is {image.width} pixels wide in mode {image.mode}, expected 1024 in RGB"
                )
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RouteError(f"{name} is no whole PNG") from error
    return pixels.transpose(0, 2, 1).reshape(len(pixels), PIXELS)
