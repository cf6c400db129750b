"""How the command line shows where a run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from vdbench.cli.pace import Pace
from vdbench.cli.streams import say
from vdbench.errors import InputError, printable
from vdbench.measures.progress import Planned, Progress, Quiet

EVERY = 1.0
"""Seconds between two estimates of the time left: each looks at all that is planned."""


class Lines(Quiet):
    """One plain line a finished cell, on stderr; one more for each step of a cell, if that is asked for."""

    def __init__(self, steps: bool = False) -> None:
        """Nothing is printed yet."""
        self._steps, self._name = steps, ""

    def start(self, cells: int) -> None:
        """Count from zero."""
        self._cells, self._done, self._began = cells, 0, time.perf_counter()

    def cell(self, name: str) -> None:
        """Remember it."""
        self._name = name

    def detail(self, text: str) -> None:
        """Print how far the cell is, where steps are asked for."""
        if self._steps:
            self.note(f"{self._head()} {self._name}: {text}")

    def note(self, text: str) -> None:
        """Print it."""
        say(text, err=True)

    def done(self, name: str, status: str, reason: str) -> None:
        """Print number, seconds since the start, cell, and how it ended."""
        self._done += 1
        self.note(f"{self._head()} {name}: {status}, {reason}")

    def _head(self) -> str:
        return f"[{self._done}/{self._cells} {time.perf_counter() - self._began:6.1f}s]"


class Bar(Quiet):
    """A bar with cells, time and time left, and a line on the cell at work; failed and bounded cells leave a line."""

    def __init__(self, every: bool = False) -> None:
        """Prepare; nothing is shown before `start`.

        Args:
            every: Whether all finished cells leave a line.
        """
        self._every = every
        self._bar = _display()
        self._task: Any = None
        self._name, self._said = "", ""
        self._cells = self._done = 0
        self._pace = Pace()
        self._left, self._when = "", 0.0

    def start(self, cells: int) -> None:
        """Show the bar."""
        self._cells = cells
        self._task = self._bar.add_task("", total=cells, left="", cells=f"0/{cells} cells")
        self._bar.start()

    def plan(self, work: Sequence[Planned]) -> None:
        """Know what is left."""
        self._pace = Pace(work)

    def cell(self, name: str) -> None:
        """Show the cell at work."""
        if name != self._name:
            self._name, self._said = name, ""
        self._pace.begin(name, time.perf_counter())
        self._show()

    def detail(self, text: str) -> None:
        """Show it behind the cell's name."""
        self._said = f" · {text}"
        self._show()

    def share(self, share: float) -> None:
        """Move the bar within the cell."""
        self._pace.share(self._name, share)
        self._show()

    def note(self, text: str) -> None:
        """Leave a line above the bar."""
        self._bar.console.print(printable(text, "\n"), markup=False, highlight=False)

    def done(self, name: str, status: str, reason: str) -> None:
        """Advance; what failed or was bounded stays on the screen."""
        if self._every or status in ("failed", "bounded"):
            self.note(f"{status}: {name}: {reason}")
        self._pace.end(name, time.perf_counter())
        self._done += 1
        self._show()

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _show(self) -> None:
        now = time.perf_counter()
        if now - self._when > EVERY or self._done == self._cells:
            left = None if self._done == self._cells else self._pace.left(now)
            self._left, self._when = "" if left is None else str(left), now
        self._bar.line = printable(self._name + self._said)
        self._bar.update(
            self._task,
            completed=min(self._cells, self._done + self._pace.at_work),
            cells=f"{self._done}/{self._cells} cells",
            left=self._left,
        )


def _display() -> Any:
    """A bar of rich's, and below it one line, cut at the terminal's width."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Display(RichProgress):
        line = ""

        def get_renderables(self) -> Any:
            yield self.make_tasks_table(self.tasks)
            if self.line:
                yield Text(self.line, no_wrap=True, overflow="ellipsis")

    return Display(
        BarColumn(bar_width=24),
        TextColumn("{task.fields[cells]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=Console(stderr=True),
        refresh_per_second=4,
        transient=True,
    )


def automatic(quiet: bool = False, verbose: bool = False) -> Progress:
    """A bar where stderr is a terminal, lines elsewhere; nothing if quiet.

    Raises:
        InputError: It is to be both quiet and verbose.
    """
    if quiet and verbose:
        raise InputError("expected one of --quiet and --verbose.")
    if quiet:
        return Quiet()
    return Bar(verbose) if sys.stderr.isatty() else Lines(verbose)


def at_work(what: str) -> AbstractContextManager[Any]:
    """Within, a terminal shows what is done."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)


@contextmanager
def checks(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A bar of an estimator's checks, on a terminal: told the name of each, its number and how many there are."""
    if quiet or not sys.stderr.isatty():
        yield lambda name, number, count: None
        return
    bar = _display()
    task = bar.add_task("", total=None, cells="", left="")
    bar.line = "problems are made"

    def told(name: str, number: int, count: int) -> None:
        bar.line = name
        bar.update(task, total=count, completed=number, cells=f"{number}/{count} checks")

    with bar:
        yield told
