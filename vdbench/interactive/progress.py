"""How a call from Python shows where it is: one line that changes in a notebook, a bar on a terminal."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any

from vdbench.errors import printable
from vdbench.measures.progress import Progress, Quiet

EVERY = 0.2
"""Seconds between two changes of the line: a notebook takes each over a network."""


class Line(Quiet):
    """One line in a notebook's output, which is written anew; failed and bounded cells, and notes, leave theirs."""

    def __init__(self) -> None:
        """Prepare; nothing is shown before `start`."""
        self._handle: Any = None
        self._kept: list[str] = []
        self._cells, self._done, self._name, self._shown = 0, 0, "", 0.0
        self._began = time.perf_counter()

    def start(self, cells: int) -> None:
        """Show the line."""
        self._cells, self._began = cells, time.perf_counter()
        self._show("", now=True)

    def cell(self, name: str) -> None:
        """Show the cell at work."""
        self._name = name
        self._show(name)

    def detail(self, text: str) -> None:
        """Show it behind the cell's name."""
        self._show(f"{self._name} · {text}")

    def note(self, text: str) -> None:
        """Leave a line."""
        self._kept.append(text)
        self._show(self._name, now=True)

    def done(self, name: str, status: str, reason: str) -> None:
        """Count; what failed or was bounded stays."""
        self._done += 1
        if status in ("failed", "bounded"):
            self._kept.append(f"{status}: {name}: {reason}")
        self._show(name, now=self._done == self._cells)

    def close(self) -> None:
        """Say how long it took."""
        self._show("", now=True)

    def _show(self, text: str, now: bool = False) -> None:
        if not now and time.perf_counter() - self._shown < EVERY:
            return
        self._shown = time.perf_counter()
        share = f"{self._done}/{self._cells}" if self._cells else "…"
        line = f"vdbench {share} · {self._shown - self._began:.0f} s" + (text and f" · {text}")
        said = "<br>".join(escape(printable(one)) for one in (*self._kept, line))
        shown = {"text/html": f"<small>{said}</small>", "text/plain": printable(line)}
        if self._handle is None:
            from IPython.display import display

            show: Any = display
            self._handle = show(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows HTML."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def automatic() -> Progress:
    """A line in a notebook, a bar on a terminal, nothing elsewhere."""
    if in_notebook():
        return Line()
    if sys.stderr.isatty():
        from vdbench.cli.progress import Bar

        return Bar()
    return Quiet()
