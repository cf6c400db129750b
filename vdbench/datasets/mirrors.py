"""Data sets from public mirrors: all asked at once, downloads that go on where they broke off.

A download grows in a file ``NAME.part``. What a broken or killed fetch left of it is taken up by the next one;
whether the whole is right, its checksum tells.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vdbench.datasets import archives
from vdbench.datasets.files import RouteError, Source, checked, unpacked
from vdbench.datasets.progress import Show

PROBE_SECONDS = 3.0
"""The most that is spent on finding out that no mirror answers (they are asked all at once)."""
STALL_SECONDS = 4.0
"""A mirror that answered and then sends nothing for so long is given up."""
TRIES = 3
"""So often a mirror that breaks off is asked to go on, as long as each try brings something."""
KEPT = ".fetch-parts"
"""The folder beside a data set's files in which broken downloads wait."""
_QUIET_SECONDS = 15.0  # a part that did not grow for so long is nobody's: who downloads gives up after STALL_SECONDS


def from_mirrors(source: Source, work: Path, show: Show) -> dict[str, bytes]:
    """Download a data set's files from the first mirror that gives them all.

    Args:
        source: The data set.
        work: A folder to work in, within the one that the files are for.
        show: Where progress is said.

    Returns:
        Checked contents by name.

    Raises:
        RouteError: No mirror did; the phrase says of each why.
    """
    show.line(f"{source.name}: asking {len(source.mirrors)} public mirrors")
    first = source.archive.name if source.archive else f"{source.files[0].name}.gz"
    answers = probe([f"{mirror}{first}" for mirror in source.mirrors])
    causes = {urlsplit(url).netloc: cause for url, cause in answers.items() if cause}
    live = [m for m in source.mirrors if urlsplit(m).netloc not in causes]
    for mirror in live:
        try:
            return _from_mirror(mirror, source, work, show)
        except RouteError as cause:
            causes[urlsplit(mirror).netloc] = str(cause)
    said = ", ".join(f"{host}: {cause}" for host, cause in causes.items())
    raise RouteError(f"no public mirror gave the files ({said})")


def _from_mirror(mirror: str, source: Source, work: Path, show: Show) -> dict[str, bytes]:
    if source.archive:
        archive = download(f"{mirror}{source.archive.name}", source.archive.md5, work, show)
        return archives.data_files(archive, source.files, source.archive.name)
    contents = {}
    for file in source.files:
        packed = download(f"{mirror}{file.name}.gz", file.packed_md5, work, show)
        contents[file.name] = checked(unpacked(packed.read_bytes(), file), file)
    return contents


def probe(urls: list[str]) -> dict[str, str]:
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


def download(url: str, md5: str, work: Path, show: Show) -> Path:
    """Download one file, going on where an earlier try broke off.

    Args:
        url: Where it is.
        md5: Its MD5.
        work: The folder to put it into; a part of it that was left beside this folder is taken up.
        show: Where progress is said.

    Returns:
        Its path.

    Raises:
        RouteError: It broke off, or is not the file it should be.
    """
    name = url.rpartition("/")[2]
    whole, part = work / name, work / f"{name}.part"
    if whole.exists():  # from a mirror before this one
        return whole
    if not _size(part):
        _take_up(part)
    if _size(part):
        show.line(f"{name}: going on after {_size(part) / 1e6:.1f} MB")
        if not _is(part, md5):
            _complete(url, part, show)
        if not _is(part, md5):  # it was the beginning of something else
            part.unlink()
    if not _size(part):
        _complete(url, part, show)
    if not _is(part, md5):
        part.unlink()
        raise RouteError(f"{name} has a wrong checksum")
    os.replace(part, whole)
    return whole


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is(path: Path, md5: str) -> bool:
    import pooch

    return bool(pooch.hashes.hash_matches(str(path), f"md5:{md5}"))


def _complete(url: str, part: Path, show: Show) -> None:
    """Let ``part`` grow until the server has no more; raises `RouteError` where it stays incomplete."""
    import requests

    for tries_left in reversed(range(TRIES)):
        before = _size(part)
        try:
            return _grow(url, part, show)
        except requests.RequestException as error:
            status = getattr(error.response, "status_code", None)
            if status == 416:  # there is nothing after what is here: the checksum decides
                return None
            if status or _size(part) <= before or not tries_left:
                name = part.name.removesuffix(".part")
                raise RouteError(f"{name} broke off ({type(error).__name__})") from error
    return None


def _grow(url: str, part: Path, show: Show) -> None:
    """Ask once for what ``part`` lacks, and append it."""
    import pooch

    with part.open("ab") as out, show.bar(part.name.removesuffix(".part")) as bar:
        start = out.tell()

        def begin(answer: Any, **_: Any) -> None:
            if answer.status_code == 206:
                bar.begin(start)
            elif answer.status_code == 200:  # it cannot go on in the middle, and sends the whole
                out.truncate(0)

        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        get = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=65_536,
            timeout=(PROBE_SECONDS, STALL_SECONDS),
            headers=headers,
            hooks={"response": begin},
        )
        get(url, out, None)


def _take_up(part: Path) -> None:
    """Move the longest part of this file that nobody is working on to ``part``."""
    home = part.parent.parent
    left = []
    for found in home.glob(f".fetch-*/{part.name}"):
        try:
            state = found.stat()
        except OSError:  # another process was quicker
            continue
        quiet = time.time() - state.st_mtime > _QUIET_SECONDS
        if found != part and state.st_size and (quiet or found.parent.name == KEPT):
            left.append((state.st_size, found))
    for _, found in sorted(left, reverse=True):
        try:
            os.replace(found, part)
        except OSError:
            continue
        return
