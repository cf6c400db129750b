"""Problems that differ in one option: which group each is of, and at which x."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reports.results.load import Run


@dataclass(frozen=True)
class Spot:
    """Where a problem stands in a sweep: its group, what is swept, and its value."""

    group: str
    axis: str
    x: float


def spots_of(run: Run) -> dict[str, Spot]:
    """Return the swept problems of a run's suite, in its order."""
    suite: Any = run.info.get("suite") or {}
    return {
        str(item["name"]): Spot(str(item.get("group") or ""), str(item.get("axis") or "x"), float(item["x"]))
        for item in suite.get("problems") or []
        if item.get("x") is not None
    }  # fmt: skip
