"""Wanted files out of a tarball that somebody else packed."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from vdbench.datasets.files import File, RouteError, checked, unpacked

PART_LIMIT = 64 * 2**20
"""The most that is read of a file whose size is not known beforehand, in bytes."""


def data_files(path: Path, files: tuple[File, ...], label: str) -> dict[str, bytes]:
    """Read a data set's own files, each plain or as ``.gz``, wherever they are in the tarball.

    Args:
        path: The tarball.
        files: What is wanted.
        label: What to call the tarball in an error.

    Returns:
        Unpacked and checked contents by name.

    Raises:
        RouteError: The tarball is damaged or unsafe, or a file is missing or not what it should be.
    """
    limits = {n: 2 * f.size + 1024 for f in files for n in (f.name, f"{f.name}.gz")}
    found = read(path, limits, label)
    contents = {}
    for file in files:
        if file.name in found:
            contents[file.name] = checked(found.pop(file.name), file)
        elif f"{file.name}.gz" in found:
            contents[file.name] = checked(unpacked(found.pop(f"{file.name}.gz"), file), file)
    absent = [file.name for file in files if file.name not in contents]
    if absent:
        raise RouteError(f"{label} lacks {', '.join(absent)}")
    return contents


def parts(path: Path, names: tuple[str, ...], label: str) -> dict[str, bytes]:
    """Read the named files, wherever they are in the tarball.

    Raises:
        RouteError: The tarball is damaged or unsafe, or lacks one.
    """
    found = read(path, dict.fromkeys(names, PART_LIMIT), label)
    absent = [name for name in names if name not in found]
    if absent:
        raise RouteError(f"{label} lacks {', '.join(absent)}")
    return found


def read(path: Path, limits: dict[str, int], label: str) -> dict[str, bytes]:
    """Read what of the wanted files is there, by name, each up to its limit in bytes.

    Nothing is written under a name that the tarball chose (stricter than ``filter="data"``, which
    the first Pythons 3.11 lack); one that tries to leave its folder is refused as a whole anyway.
    """
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as tarball:
            for member in tarball:
                name = _safe(member, label)
                if name in limits and member.isreg() and name not in contents:
                    stream = tarball.extractfile(member)
                    contents[name] = stream.read(limits[name]) if stream else b""
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise RouteError(f"{label} is not a whole tarball") from error
    return contents


def _safe(member: tarfile.TarInfo, label: str) -> str:
    path = PurePosixPath(member.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
        raise RouteError(f"{label} has the unsafe entry '{member.name}'")
    return path.name
