"""What ``vdbench compare`` prints and writes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from vdbench.cli.streams import say
from vdbench.comparison import Comparison
from vdbench.errors import InputError
from vdbench.siblings import import_own
from vdbench.store import atomic

WIDTH = 160
"""Columns where the output is no terminal: wide enough for the table."""


def form(markdown: bool, json: bool) -> str:
    """The form that is asked for.

    Raises:
        InputError: Two are.
    """
    if markdown and json:
        raise InputError("expected one of --markdown and --json.")
    return "markdown" if markdown else "json" if json else "text"


def show(found: Comparison, form: str, html: Path | None) -> None:
    """Print a comparison, and write its page where that is asked for.

    Raises:
        InputError: The page cannot be written.
    """
    if html is not None:
        write_page(html, found.html())
    if form == "json":
        say(json.dumps(found.json(), indent=1))
    elif form == "markdown":
        say(found.markdown())
    elif sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        print(import_own("reports").compared(found, "colour", width))
    else:
        say(found.text(WIDTH))
    if html is not None and form == "text":
        say(f"page: {html}")


def write_page(path: Path, text: str) -> None:
    """Write a page.

    Raises:
        InputError: It cannot be written.
    """
    try:
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--html {path}: it cannot be written, {error.strerror}.") from error
