"""How verbs print what they found: JSON, rows as columns, nested keys."""

from __future__ import annotations

import json
from typing import Any

from vdbench.cli.streams import say


def print_json(value: Any) -> None:
    """Print plain data; what JSON lacks, as its text."""
    say(json.dumps(value, indent=1, default=str))


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows of the same keys as aligned columns."""
    if not rows:
        return
    text = [{key: str(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row[key]) for row in text)) for key in text[0]}
    *_, last = widths
    widths[last] = 0
    for row in [{key: key for key in widths}, *text]:
        say("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())


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
