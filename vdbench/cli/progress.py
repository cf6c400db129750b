"""How the command line shows where a run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from vdbench.cli.streams import say
from vdbench.errors import printable
from vdbench.measures.progress import Progress, Quiet


class Lines(Quiet):
    """One plain line a finished cell, on stderr."""

    def start(self, cells: int) -> None:
        """Count from zero."""
        self._cells, self._done, self._began = cells, 0, time.perf_counter()

    def note(self, text: str) -> None:
        """Print it."""
        say(text, err=True)

    def done(self, name: str, status: str, reason: str) -> None:
        """Print number, seconds since the start, cell, and how it ended."""
        self._done += 1
        seconds = time.perf_counter() - self._began
        self.note(f"[{self._done}/{self._cells} {seconds:6.1f}s] {name}: {status}, {reason}")


class Bar(Quiet):
    """A progress bar with the cell at work; failed and bounded cells leave a line."""

    def __init__(self) -> None:
        """Prepare; nothing is shown before `start`."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Any = None
        self._name = ""

    def start(self, cells: int) -> None:
        """Show the bar."""
        self._task = self._bar.add_task("", total=cells)
        self._bar.start()

    def cell(self, name: str) -> None:
        """Show the cell at work."""
        self._name = printable(name)
        self._bar.update(self._task, description=printable(name))

    def detail(self, text: str) -> None:
        """Show it behind the cell's name."""
        self._bar.update(self._task, description=f"{self._name} · {printable(text)}")

    def note(self, text: str) -> None:
        """Leave a line above the bar."""
        self._bar.console.print(printable(text, "\n"), markup=False, highlight=False)

    def done(self, name: str, status: str, reason: str) -> None:
        """Advance; what failed or was bounded stays on the screen."""
        if status in ("failed", "bounded"):
            self.note(f"{status}: {name}: {reason}")
        self._bar.advance(self._task)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()


def automatic() -> Progress:
    """A bar where stderr is a terminal, lines elsewhere."""
    return Bar() if sys.stderr.isatty() else Lines()
