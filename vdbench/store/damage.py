"""Files that do not fit: named, set aside, counted; never deleted, never overwritten, never used."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vdbench.errors import CellError
from vdbench.store import shares
from vdbench.store.files import now, sync_folder

FOLDER = "damaged"
"""Where files that do not fit are kept, in a run folder and in the cache."""


class Damaged(CellError):
    """A file is not what it should be; the message is a part of a sentence that says how.

    Attributes:
        kind: ``damaged``, ``misplaced`` (whole, but another's) or ``unsealed`` (where it should have a seal).
    """

    def __init__(self, why: str, kind: str = "damaged") -> None:
        """Say how it does not fit."""
        super().__init__(why)
        self.kind = kind


class News(NamedTuple):
    """What a ledger has to say to another: see `Ledger`."""

    found: list[dict[str, str]]
    used: set[str]
    unsealed: set[str]


@dataclass
class Ledger:
    """What of a run folder was used, what did not fit, and what had no seal.

    Attributes:
        folder: The run folder.
        say: Told of every file that is set aside, in one sentence.
        strict: Whether all files of the folder must have a seal, as this version began it.
        found: What was set aside, for ``run.json``: ``file``, ``kept``, ``why`` and ``when``.
        unsealed: Files that were read and had no seal.
        used: Files that were read and fit.
    """

    folder: Path
    say: Callable[[str], None] = lambda text: None
    strict: bool = False
    found: list[dict[str, str]] = field(default_factory=list)
    unsealed: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)
    _told: int = 0

    def name(self, path: Path) -> str:
        """A file as ``run.json`` calls it; no path of this machine is in it."""
        if path.parent == self.folder:
            return path.name
        inside = path.parent.parent == self.folder
        return f"{'' if inside else 'cache/'}{path.parent.name}/{path.name}"

    def accept(self, path: Path, sealed: bool) -> None:
        """Note a file that was read and fits.

        Raises:
            Damaged: It has no seal, and must have one.
        """
        name = self.name(path)
        if not sealed and self.strict and not name.startswith("cache/"):
            raise Damaged("it has no seal, and all files of this run have one", "unsealed")
        if not sealed:
            self.unsealed.add(name)
        self.used.add(name)

    def set_aside(self, path: Path, why: str) -> None:
        """Move a file that does not fit into the folder ``damaged``, and say so.

        Raises:
            OSError: It cannot be moved.
        """
        root = path.parent if path.parent == self.folder else path.parent.parent
        target = root / FOLDER / f"{path.stem}-{secrets.token_hex(4)}{path.suffix}"
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            raise FileExistsError(f"{FOLDER}/{target.name} exists")
        try:
            os.rename(path, target)
        except FileNotFoundError:
            return  # another process was faster
        sync_folder(path.parent)
        share = shares.of(path)
        if share is not None:
            share.aside(path, target)
        name = self.name(path)
        self.used.discard(name)
        self.unsealed.discard(name)
        kept = f"{'cache/' if name.startswith('cache/') else ''}{FOLDER}/{target.name}"
        self.found.append({"file": name, "kept": kept, "why": why, "when": now()})
        self.say(f"{name}: {why}; it is set aside as {kept}, and made again where it is needed.")

    def news(self) -> News:
        """What was found, used and had no seal since this was last asked; for the run's own ledger."""
        news = News(self.found[self._told :], set(self.used), set(self.unsealed))
        self._told = len(self.found)
        return news

    def learn(self, news: News) -> None:
        """Take in what another process found in the same folder."""
        self.found += news.found
        gone = {entry["file"] for entry in news.found} - news.used
        self.used |= news.used  # in place: a run may have used very many files
        self.used -= gone
        self.unsealed |= news.unsealed
        self.unsealed -= gone

    def once(self, text: str) -> None:
        """Say something once a run."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)
