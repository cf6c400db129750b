"""Files that are whole or not there, and on the disk before they have their name."""

from __future__ import annotations

import contextlib
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from vdbench.store import shares


class atomic:
    """Write a file under a temporary name in its folder and rename it when all went well.

    The file is on the disk before it is renamed, and the folder after: what has its final name is whole, also after
    a loss of power.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "file.txt"
        >>> with atomic(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """

    def __init__(self, path: Path) -> None:
        """Prepare to write ``path``; its folder is made."""
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")

    def __enter__(self) -> Path:
        """The temporary name."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Rename, or take away what was begun."""
        try:
            if kind is None:
                sync(self.temporary)
                os.replace(self.temporary, self.path)
                sync_folder(self.path.parent)
                shares.written(self.path)
        finally:
            with contextlib.suppress(OSError):
                self.temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the system write a file to the disk.

    Raises:
        OSError: It cannot.
    """
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_folder(folder: Path) -> None:
    """Have the system write the names in a folder to the disk; not every file system can."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
