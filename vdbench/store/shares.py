"""Run folders whose blocks, checkpoints and trainings are also at an fsspec URL: ``s3://…``, ``gs://…``, ``sftp://…``.

Each process works in a folder of its own. A file that it looks for and does not have is fetched; one that it has
written is sent. Both sides hold whole, sealed files: what arrives is checked like any other file that is read. Only
files are shared this way whose name says what they hold; the record and the tables are of the folder alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vdbench.errors import InputError, one_line

OURS = ("blocks", "checkpoints", "training")
"""Folders of a run that hold what it measures and trains."""

WHOLE = frozenset(("s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "memory"))
"""Protocols where an upload is there at once or not at all; elsewhere a file is sent under another name first."""

_shares: dict[Path, Share] = {}


@dataclass(frozen=True)
class Share:
    """A run folder with a URL.

    Attributes:
        folder: The folder, absolute.
        url: Of the same files.
    """

    folder: Path
    url: str

    def _files(self) -> tuple[Any, str]:
        """The file system of the URL, and the path there; made anew in each process."""
        import fsspec

        found = fsspec.core.url_to_fs(self.url)
        return found[0], str(found[1]).rstrip("/")

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def fetch(self, path: Path) -> bool:
        """Fetch a file; whether there is one.

        Raises:
            OSError: The URL cannot be read.
        """
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            system, root = self._files()
            system.get_file(f"{root}/{self._name(path)}", str(temporary))
            os.replace(temporary, path)
        except FileNotFoundError:
            return False
        except Exception as error:
            raise _failed(self.url, "read", error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return True

    def fetch_all(self, names: Iterable[str]) -> None:
        """Fetch several files at once, as ``blocks/NAME``; those that are here, or not there, are left out.

        Raises:
            OSError: The URL cannot be read.
        """
        wanted = [self.folder / name for name in dict.fromkeys(names)]
        wanted = [path for path in wanted if not path.exists()]
        if not wanted:
            return
        system, root = self._files()
        if not system.async_impl:  # nothing is gained by asking for several
            for path in wanted:
                self.fetch(path)
            return
        temporary = [path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp") for path in wanted]
        for folder in {path.parent for path in wanted}:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            there = [f"{root}/{self._name(path)}" for path in wanted]
            system.get(there, [str(path) for path in temporary], on_error="omit")
            for path, made in zip(wanted, temporary, strict=True):
                if made.exists():
                    os.replace(made, path)
        except Exception as error:
            raise _failed(self.url, "read", error) from error
        finally:
            for made in temporary:
                with contextlib.suppress(OSError):
                    made.unlink(missing_ok=True)

    def send(self, path: Path) -> None:
        """Send a file that was written.

        Raises:
            OSError: The URL cannot be written to.
        """
        try:
            system, root = self._files()
            target = f"{root}/{self._name(path)}"
            protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
            if protocol in WHOLE:
                system.put_file(str(path), target)
                return
            parent, _, name = target.rpartition("/")
            system.makedirs(parent, exist_ok=True)
            temporary = f"{parent}/.{name}.{secrets.token_hex(8)}.tmp"
            system.put_file(str(path), temporary)
            system.mv(temporary, target)
        except Exception as error:
            raise _failed(self.url, "written to", error) from error

    def aside(self, path: Path, target: Path) -> None:
        """Set aside there what was set aside here; a file that is whole there, or gone, stays.

        Raises:
            OSError: The URL cannot be written to.
        """
        try:
            system, root = self._files()
            here, there = target.read_bytes(), f"{root}/{self._name(path)}"
            if system.cat_file(there) == here:
                parent = f"{root}/{self._name(target.parent)}"
                system.makedirs(parent, exist_ok=True)
                system.mv(there, f"{parent}/{target.name}")
        except (FileNotFoundError, IsADirectoryError):
            return
        except Exception as error:
            raise _failed(self.url, "written to", error) from error

    def probe(self) -> None:
        """See that the URL can be written to and read.

        Raises:
            InputError: It cannot be.
        """
        try:
            system, root = self._files()
            name, content = f"{root}/.probe-{secrets.token_hex(8)}", b"vdbench"
            system.makedirs(root, exist_ok=True)
            system.pipe_file(name, content)
            same = system.cat_file(name) == content
            system.rm_file(name)
        except Exception as error:
            said = one_line(error)[:160] or type(error).__name__
            raise InputError(f"--share {self.url}: it cannot be used, {said}.") from error
        if not same:
            raise InputError(
                f"--share {self.url}: what is written there is read as something else."
            )


def _failed(url: str, what: str, error: Exception) -> OSError:
    said = one_line(error)[:160] or type(error).__name__
    return OSError(errno.EIO, f"{url} cannot be {what}, {said}")


def use(folder: Path, url: str) -> Share:
    """From now on, in this process and its forks, a run folder has a URL."""
    made = _shares[folder.resolve()] = Share(folder.resolve(), url)
    return made


def leave(folder: Path) -> None:
    """From now on it has none."""
    _shares.pop(folder.resolve(), None)


def url_of(folder: Path) -> str:
    """The URL of a run folder; '' for none."""
    share = _shares.get(folder.resolve())
    return share.url if share else ""


def of(path: Path) -> Share | None:
    """The share that a file belongs to; None for any other file."""
    if not _shares or path.parent.name not in OURS:
        return None
    return _shares.get(path.parent.parent.resolve())


def there(path: Path) -> bool:
    """Whether there is a file; one that only its URL has is fetched.

    Raises:
        OSError: The URL cannot be read.
    """
    if path.exists():
        return True
    share = of(path)
    return share is not None and share.fetch(path)


def written(path: Path) -> None:
    """Send a file that has got its name, where its folder has a URL.

    Raises:
        OSError: The URL cannot be written to.
    """
    share = of(path)
    if share is not None:
        share.send(path)
