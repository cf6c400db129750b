"""Pickles as Python 2 wrote them: CIFAR-10 in torchvision's form is one."""

from __future__ import annotations

import struct

import numpy as np

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"


def text(data: bytes) -> bytes:
    """A str of Python 2."""
    return b"T" + struct.pack("<i", len(data)) + data


def number(value: int) -> bytes:
    """An int."""
    return b"J" + struct.pack("<i", value)


def python2_pickle(
    pixels: np.ndarray, labels: list[int], kind: bytes = b"u1", fortran: bool = False
) -> bytes:
    """A batch of CIFAR-10: the pixels as an array, the classes as a list, and what else is in the dictionary."""
    raw = pixels.tobytes(order="F" if fortran else "C")
    shape = b"(" + b"".join(map(number, pixels.shape)) + b"t"
    dtype = (
        b"cnumpy\ndtype\n("
        + text(kind)
        + b"K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    state = b"(K\x01" + shape + dtype + (b"\x88" if fortran else b"\x89") + text(raw) + b"t"
    return (
        b"\x80\x02}("
        + (text(b"batch_label") + text(b"training batch 1 of 5"))
        + (text(b"labels") + b"](" + b"".join(map(number, labels)) + b"e")
        + (text(b"data") + ARRAY + state + b"b")
        + (text(b"filenames") + b"](" + text(b"leptodactylus_pentadactylus_s_000004.png") + b"e")
        + b"u."
    )
