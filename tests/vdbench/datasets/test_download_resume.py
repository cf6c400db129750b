"""Downloads that break off, are interrupted or killed: no byte that is here is asked for again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fetching import BIG, BIG_PACKED, CHUNK, Mirror, alone, big, kill_when, run_victim, serving

from vdbench.datasets import download, files, mirrors
from vdbench.errors import InputError


@pytest.fixture(autouse=True)
def goal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, no package clients and no proxy; returns where the files are to be."""
    return alone(monkeypatch, tmp_path)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A mirror on this machine."""
    with serving() as running:
        yield running


def test_a_broken_download_goes_on(mirror: Mirror, goal: Path) -> None:
    """Within one fetch, as long as each try brings something; no byte is asked for twice."""
    mirror.cut = 2 * CHUNK
    download.fetch(big(mirror.url), progress=False)
    assert (goal / "big").read_bytes() == BIG
    assert mirror.asked == [0, 2 * CHUNK, 4 * CHUNK]
    assert [path.name for path in goal.iterdir()] == ["big"]


def test_the_next_fetch_goes_on(
    mirror: Mirror, goal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a broken fetch got is kept for the next one, and thrown away when that has succeeded."""
    mirror.cut = CHUNK
    with pytest.raises(InputError, match=r"big\.gz broke off \(ChunkedEncodingError\)"):
        download.fetch(big(mirror.url), progress=False)
    assert [path.name for path in goal.iterdir()] == [mirrors.KEPT]
    assert files.locate(big(mirror.url)) is None
    mirror.cut = None
    download.fetch(big(mirror.url))
    assert "big.gz: going on after 0.2 MB" in capsys.readouterr().err
    assert mirror.asked == [0, CHUNK, 2 * CHUNK, 3 * CHUNK]
    assert (goal / "big").read_bytes() == BIG
    assert [path.name for path in goal.iterdir()] == ["big"]


def test_another_mirror_goes_on(mirror: Mirror, goal: Path) -> None:
    """The file is the same everywhere: its checksum says so."""
    with serving() as other:
        other.cut = CHUNK
        download.fetch(big(other.url, mirror.url), progress=False)
        assert (other.asked, mirror.asked) == ([0, CHUNK, 2 * CHUNK], [3 * CHUNK])
    assert (goal / "big").read_bytes() == BIG


def test_a_mirror_that_brings_nothing_is_given_up(mirror: Mirror) -> None:
    """No endless asking."""
    mirror.cut = 0
    with pytest.raises(InputError, match=r"big\.gz broke off"):
        download.fetch(big(mirror.url), progress=False)
    assert mirror.asked == [0]


def kept(goal: Path, data: bytes) -> None:
    """Leave a part of the big file, as a broken fetch would."""
    (goal / mirrors.KEPT).mkdir(parents=True)
    (goal / mirrors.KEPT / "big.gz.part").write_bytes(data)


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (BIG_PACKED[:1000], [1000]),
        (BIG_PACKED, []),
        (b"something else", [14, 0]),
        (BIG_PACKED + b"more", [len(BIG_PACKED) + 4, 0]),
    ],
    ids=["a beginning", "all", "something else", "too much"],
)
def test_whatever_was_kept_ends_well(
    data: bytes, asked: list[int], mirror: Mirror, goal: Path
) -> None:
    """The checksum decides: a part that is no part of the file costs a download, and no more."""
    kept(goal, data)
    download.fetch(big(mirror.url), progress=False)
    assert mirror.asked == asked
    assert (goal / "big").read_bytes() == BIG


def test_a_mirror_that_cannot_go_on_sends_the_whole(mirror: Mirror, goal: Path) -> None:
    """It ignores where it was asked to start."""
    kept(goal, BIG_PACKED[:1000])
    mirror.ranges = False
    download.fetch(big(mirror.url), progress=False)
    assert mirror.asked == [0]
    assert (goal / "big").read_bytes() == BIG


def test_interrupting_keeps_what_came(
    mirror: Mirror, goal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is no reason to download it all again."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mirrors, "_is", interrupt)
    with pytest.raises(KeyboardInterrupt):
        download.fetch(big(mirror.url), progress=False)
    assert (goal / mirrors.KEPT / "big.gz.part").read_bytes() == BIG_PACKED


def test_a_part_in_use_is_left_alone(mirror: Mirror, goal: Path) -> None:
    """Another process may be writing to it: it is taken up only after a while of silence."""
    (goal / ".fetch-other").mkdir(parents=True)
    part = goal / ".fetch-other" / "big.gz.part"
    part.write_bytes(BIG_PACKED[:1000])
    download.fetch(big(mirror.url), progress=False)
    assert mirror.asked == [0]
    assert part.exists()


def test_what_a_killed_download_got_is_taken_up(
    mirror: Mirror, goal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL in the middle of a download; the next fetch goes on where it was."""
    mirror.cut, mirror.stall = 2 * CHUNK, threading.Event()

    def size() -> int:
        return sum(path.stat().st_size for path in goal.glob(".fetch-*/big.gz.part"))

    kill_when(run_victim(big(mirror.url)), lambda: size() == 2 * CHUNK)
    mirror.stall.set()
    assert files.locate(big(mirror.url)) is None
    mirror.cut = None
    monkeypatch.setattr(mirrors, "_QUIET_SECONDS", -1.0)
    download.fetch(big(mirror.url), progress=False)
    assert mirror.asked == [0, 2 * CHUNK]
    assert (goal / "big").read_bytes() == BIG
