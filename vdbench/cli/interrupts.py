"""What an interrupted command says: how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from vdbench.cli.streams import say


@contextmanager
def resumable(command: str) -> Iterator[None]:
    """Within, an interrupt ends with exit code 130 and the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        say(
            f"Interrupted. Completed measurements are saved; resume with:\n  {command}",
            err=True,
        )
        raise typer.Exit(130) from None


@contextmanager
def repeatable(kept: str) -> Iterator[None]:
    """Within, an interrupt ends with exit code 130 and a sentence on what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"Interrupted. {kept}", err=True)
        raise typer.Exit(130) from None
