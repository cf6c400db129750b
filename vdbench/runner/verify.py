"""A whole run folder, checked: every block, checkpoint and training, the tables and the record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vdbench.errors import InputError
from vdbench.runner.checkpoints import PART
from vdbench.runner.results import FILE, KIND
from vdbench.store import Damaged, arrays, records, shares, tables
from vdbench.store.seals import Content

STATES = {
    "damaged": "its content is not what was written",
    "misplaced": "it is whole, but another's",
    "missing": "results came from it, and it is gone",
    "unsealed": "an earlier version wrote it; only its address and that it can be read were checked",
    "superfluous": "no result comes from it",
    "set aside": "a run found it damaged; it is kept, and not used",
}
"""What is said of a file, and what each says."""

BAD = ("damaged", "misplaced", "missing")
"""States that the exit code tells."""


class Finding(NamedTuple):
    """What is to be said of a file.

    Attributes:
        file: Its name in the run folder.
        state: One of `STATES`.
        why: More about it.
    """

    file: str
    state: str
    why: str


class Checked(NamedTuple):
    """What became of a check.

    Attributes:
        files: How many files were checked.
        findings: What is to be said of them.
    """

    files: int
    findings: list[Finding]

    @property
    def bad(self) -> int:
        """How many are damaged, misplaced or missing."""
        return sum(found.state in BAD for found in self.findings)


def verify(folder: Path) -> Checked:
    """Check a run folder; nothing is changed.

    Raises:
        InputError: It is no run folder, or cannot be read.
    """
    if not folder.is_dir() or not (
        (folder / "run.json").exists() or any((folder / name).is_dir() for name in shares.OURS)
    ):
        raise records.no_run(folder, "it has neither run.json nor blocks")
    try:
        return Folder(folder).check()
    except OSError as error:
        raise InputError(f"'{folder}' cannot be read, {error.strerror or error}.") from error


class Folder:
    """A run folder under check."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self.folder = folder
        self.files = 0
        self.findings: list[Finding] = []
        self.strict = False

    def check(self) -> Checked:
        """Check all of it."""
        about = self._record()
        self.strict = bool(about.get("sealed"))
        came_from = self._tables(about)
        there = {name for part in shares.OURS for name in self._part(part)}
        if came_from is not None:
            for name in sorted(came_from - there):
                self._say(name, "missing", "results came from it")
            known = {found.file for found in self.findings}
            for name in sorted(there - came_from - known):
                self._say(name, "superfluous", "no result comes from it")
        for path in sorted((self.folder / "damaged").glob("*")):
            self._say(f"damaged/{path.name}", "set aside", _reason(about, path.name))
        order = list(STATES)
        self.findings.sort(key=lambda found: (order.index(found.state), found.file))
        return Checked(self.files, self.findings)

    def _say(self, file: str, state: str, why: str) -> None:
        self.findings.append(Finding(file, state, why))

    def _record(self) -> dict[str, Any]:
        self.files += 1
        try:
            found = records.read(self.folder / "run.json")
        except FileNotFoundError:
            self._say("run.json", "missing", "the folder has no record")
            return {}
        except Damaged as error:
            self._say("run.json", "damaged", str(error))
            return {}
        if records.SEAL not in found:
            self._say("run.json", "unsealed", "an earlier version wrote it")
        return found

    def _tables(self, about: dict[str, Any]) -> set[str] | None:
        """The files that results came from; None where that is not known."""
        came_from = None
        for name in (FILE, "training.parquet"):
            path = self.folder / name
            if not path.exists():
                if name == FILE and "finished" in about:
                    self._say(name, "missing", "the run was finished, and its table is gone")
                continue
            found = self._read(path, name)
            if found is None:
                continue
            said, run = found.address or {}, about.get("identity")
            if found.sealed and (said["kind"] != KIND[name] or run not in (None, said["run"])):
                self._say(name, "misplaced", "it is another run's")
            elif found.sealed and name == FILE:
                came_from = set(said["files"])
        return came_from

    def _part(self, part: str) -> Iterator[str]:
        """Check the files of a folder; gives the names of those that belong there."""
        suffix = ".parquet" if part == "blocks" else ".npz"
        for path in sorted((self.folder / part).glob("*")):
            name = f"{part}/{path.name}"
            if path.name.startswith(".") or path.suffix != suffix:
                self._say(name, "superfluous", "a run does not read it")
                continue
            yield name
            found = self._read(path, name)
            if found is None or found.address is None:
                continue
            if path.name.removesuffix(PART).removesuffix(suffix) not in found.names:
                self._say(name, "misplaced", f"it is that of {found.names[-1]}{suffix}")

    def _read(self, path: Path, name: str) -> Content | None:
        self.files += 1
        try:
            found = tables.read(path) if path.suffix == ".parquet" else arrays.read(path)
        except Damaged as error:
            self._say(name, "damaged", str(error))
            return None
        if not found.sealed and self.strict:
            self._say(name, "damaged", "it has no seal, and all files of this run have one")
        elif not found.sealed:
            self._say(name, "unsealed", "an earlier version wrote it")
        if path.parent.name == "blocks" and found.address is None:
            self._say(name, "damaged", "it does not say what it holds")
        return found


def _reason(about: dict[str, Any], name: str) -> str:
    for entry in about.get("damaged") or []:
        if entry.get("kept") == f"damaged/{name}":
            return f"{entry.get('file')}: {entry.get('why')}"
    return "its reason is not recorded"
