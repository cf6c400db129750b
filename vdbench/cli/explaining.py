"""``vdbench run --explain``: the way in which the draws of each cell were taken, why, and the memory expected of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vdbench.cli.printing import print_table
from vdbench.cli.streams import say

STORED = "none: all its figures were there already"
FAILED = "none: the cell failed"


def show(folder: Path) -> None:
    """Print a row for each cell of the variance measure, as the run's record has it.

    Args:
        folder: Of the run.
    """
    found = rows(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    print_table(found)
    if not found:
        say("No cell of this run is one of variances, whose draws alone are taken in several ways.")


def rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows, from ``run.json``."""
    from vdbench.measures.expected import in_words

    found = []
    for cell in record["cells"]:
        if cell["measure"] != "variance":
            continue
        detail = cell["detail"]
        nothing = FAILED if cell["status"] == "failed" else STORED
        names = {key: cell[key] for key in ("problem", "checkpoint", "batch_size", "estimator")}
        why = detail.get("way_why", "" if "way" in detail else nothing)
        size = detail.get("memory_expected")
        found.append(
            {
                **names,
                "way": detail.get("way", "–"),
                "why": why or "gradients are products",
                "memory": "–" if size is None else in_words(size),
            }
        )
    return found
