"""What ``vdbench compare`` prints and writes."""

from __future__ import annotations

import json
import os
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


def need_page(path: Path | None) -> None:
    """Refuse a page that could not be written, before anything is measured for it.

    Raises:
        InputError: It is a folder, or is below a file or below a folder that cannot be written.
    """
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"--html {path}: it is a folder, expected a file.")
    above = next((p for p in path.absolute().parents if p.exists()), path)
    if not above.is_dir():
        raise InputError(f"--html {path}: '{above}' is a file, expected a folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"--html {path}: '{above}' cannot be written to.")


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
