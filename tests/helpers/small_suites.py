"""A suite that is good, changed and written for a test."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Refused = Callable[..., str]

GOOD: dict[str, Any] = {
    "name": "tiny",
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "checkpoints": [{"epochs": 1, "batch_size": 256}],
    "batch_sizes": [16],
    "estimators": ["naive", "local", {"name": "score", "options": {"samples": 2}}],
    "baseline": "naive",
    "measures": {"variance": {"first_units": 8, "max_units": 8}, "bias": {"units": 8}},
}


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The good suite with values set at dotted paths; a value of ... deletes the key."""
    made = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *above, last = path.split(".")
        place: Any = made
        for part in above:
            place = place[int(part) if part.isdigit() else part]
        if value is ...:
            del place[last]
        else:
            place[int(last) if last.isdigit() else last] = value
    return made


def written(content: dict[str, Any] | str | bytes) -> str:
    """The name of a file with a suite in it."""
    file = Path("suite.yaml")
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(file)
