"""Standard streams that never raise: closed ones, full ones, pipes that nobody reads, encodings that lack a letter.

What cannot be written is dropped, and the exit code is that of the work. Control characters in what is printed are
shown as escapes: a name in a suite does not command the terminal.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, TextIO

from vdbench.errors import printable


class _Steady(io.RawIOBase):
    """A file descriptor that takes all that is written to it, until it fails, and nothing after that."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._lost = descriptor, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        """All of it; a signal or a full pipe may split it."""
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view) and not self._lost:
            try:
                written += os.write(self._descriptor, view[written:])
            except BlockingIOError:  # a terminal or pipe that another process made so
                select.select([], [self._descriptor], [])
            except OSError:
                self._lost = True
        return len(view)


def steady() -> None:
    """Replace standard output and error by streams that never raise; those of a test or a notebook are left alone."""
    for _ in range(3):  # a closed one would be taken by the next file that is opened
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            break
    for number, name in ((1, "stdout"), (2, "stderr")):
        now: TextIO | None = getattr(sys, name)
        if now is not None and now is not getattr(sys, f"__{name}__"):
            continue
        encoding = getattr(now, "encoding", None) or "utf-8"
        raw = _Steady(number)
        made = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=encoding,
            errors="backslashreplace",
            line_buffering=name == "stderr" or raw.isatty(),
        )
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)


def say(text: str, err: bool = False) -> None:
    """Print text, its control characters as escapes, line ends kept."""
    print(printable(text, "\n"), file=sys.stderr if err else sys.stdout)
