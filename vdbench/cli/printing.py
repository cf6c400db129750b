"""How verbs print what they found: JSON, rows as columns, nested keys."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import Any

from vdbench.cli.streams import say
from vdbench.errors import printable

GAP = 2
"""Between two columns of a table."""

WORD, SHORT = 12, 5
"""Letters of the longest words that are not broken, where there is room, and where there is little."""


def print_json(value: Any) -> None:
    """Print plain data; what JSON lacks, as its text."""
    say(json.dumps(value, indent=1, default=str))


def print_table(rows: list[dict[str, Any]], err: bool = False) -> None:
    """Print rows of the same keys as columns; on a terminal that is too narrow, their text is wrapped.

    Args:
        rows: What to print.
        err: On stderr.
    """
    if not rows:
        return
    text = [{key: str(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row[key]) for row in text)) for key in text[0]}
    stream = sys.stderr if err else sys.stdout
    whole = sum(widths.values()) + 2 * (len(widths) - 1)
    if stream.isatty() and whole > shutil.get_terminal_size().columns:
        _print_wrapped(text, err)
        return
    *_, last = widths
    widths[last] = 0
    for row in [{key: key for key in widths}, *text]:
        say("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip(), err)


def print_text(text: str) -> None:
    """Print text; on a terminal, lines that are longer than it is wide are broken between words."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        lines = (textwrap.wrap(line, width, break_on_hyphens=False) for line in text.split("\n"))
        text = "\n".join("\n".join(wrapped) for wrapped in lines)
    say(text)


def _print_wrapped(rows: list[dict[str, str]], err: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="")
    heads = {key: key.replace("_", " ") for key in rows[0]}
    columns = {head: [row[key] for row in rows] for key, head in heads.items()}
    for head, width in _widths(columns, shutil.get_terminal_size().columns).items():
        table.add_column(head, overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(printable(value)) for value in row.values()))
    Console(stderr=err).print(table)


def _widths(columns: dict[str, list[str]], whole: int) -> dict[str, int | None]:
    """Widths of columns in a table: words are broken as little as may be, and the rest goes where most is missing.

    Where there is no room for words of `SHORT` letters, the table's own widths are taken: None.
    """
    most = {head: max(map(len, (head, *values))) for head, values in columns.items()}
    whole -= GAP * (len(columns) - 1)
    for letters in range(WORD, SHORT - 1, -1):
        found = {
            head: max(min(letters, len(w)) for v in (head, *values) for w in v.split() or [""])
            for head, values in columns.items()
        }
        spare = whole - sum(found.values())
        if spare >= 0:
            break
    else:
        return dict.fromkeys(columns)
    waiting = sorted(columns, key=lambda head: most[head] - found[head])
    for place, head in enumerate(waiting):  # those that lack little get all of it
        given = min(most[head] - found[head], spare // (len(waiting) - place))
        found[head], spare = found[head] + given, spare - given
    return {**found}


def indented(value: Any, depth: int = 0) -> str:
    """Nested mappings as lines, each level further in."""
    pad = "  " * depth
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += [f"{pad}{key}", indented(item, depth + 1)]
        else:
            lines.append(f"{pad}{key}: {'none' if item is None or item == {} else item}")
    return "\n".join(lines)
