"""Progress of a fetch on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any


class Bar:
    """A task of a rich progress display, behind the tqdm interface that pooch asks for."""

    def __init__(self, display: Any, text: str) -> None:
        self._display = display
        self._total: int | None = None
        self._start = 0
        self._task = display.add_task(text, total=None)

    def begin(self, start: int) -> None:
        """So many bytes are here already; `total` and `update` count the rest."""
        self._start = start
        self._display.update(self._task, completed=start)

    @property
    def total(self) -> int | None:
        """How much there is to come, in bytes; None if unknown."""
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        self._total = value or None  # 0: the server did not say
        whole = None if self._total is None else self._start + self._total
        self._display.update(self._task, total=whole)

    def update(self, step: int) -> None:
        """So many bytes more are here."""
        self._display.advance(self._task, step)

    def reset(self) -> None:
        """Begin again."""
        self._display.update(self._task, completed=self._start)

    def close(self) -> None:
        """Take the bar away."""
        if self._task in self._display.task_ids:
            self._display.remove_task(self._task)


class Show:
    """Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing where not wanted."""

    def __init__(self, wanted: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeElapsedColumn

        self._wanted = wanted
        self._display = Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not (wanted and sys.stderr.isatty()),
        )

    def __enter__(self) -> Show:
        self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._display.stop()

    def line(self, text: str) -> None:
        """Say one finished step."""
        if not self._display.disable:
            self._display.console.print(text, highlight=False, markup=False)
        elif self._wanted:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, text: str) -> Iterator[Bar]:
        """Show something that takes a while; ``total`` and ``update`` say how far it is."""
        bar = Bar(self._display, text)
        try:
            yield bar
        finally:
            bar.close()
