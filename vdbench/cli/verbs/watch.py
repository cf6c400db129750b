"""``vdbench watch``: a run that goes on elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from vdbench.cli.interrupts import repeatable
from vdbench.cli.options import Plugins, load_plugins
from vdbench.cli.streams import say

if TYPE_CHECKING:
    from vdbench.cli.watching import Watched

EVERY = 2.0
"""Seconds between looks."""


def watch_verb(
    folder: Annotated[Path, Argument(help="The folder of a run.")],
    once: Annotated[bool, Option("--once", help="Look once, and do not wait for its end.")] = False,
    plugin: Plugins = None,
) -> None:
    """Follow a run that goes on elsewhere, from what is in its folder, until it has finished."""
    load_plugins(plugin)
    from vdbench.cli.watching import Watched

    watched = Watched(folder)
    if once:
        say(str(watched.look()))
        return
    with repeatable("The run is left alone."):
        if sys.stdout.isatty():
            _live(watched)
        else:
            _lines(watched)


def _lines(watched: Watched) -> None:
    """A line whenever there is something new."""
    before = None
    while True:
        look = watched.look()
        if look.finished or (look.blocks, look.ended) != before:
            say(str(look))
            sys.stdout.flush()
        if look.finished:
            return
        before = (look.blocks, look.ended)
        time.sleep(EVERY)


def _live(watched: Watched) -> None:
    """One line that is kept up to date."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from vdbench.errors import printable

    look = watched.look()
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        while not look.finished:
            live.update(Text(printable(str(look))), refresh=True)
            time.sleep(EVERY)
            look = watched.look()
    say(str(look))
