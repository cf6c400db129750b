"""What a report says where figures of a test set are missing because there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def without_test(info: Mapping[str, Any], problems: Iterable[str]) -> str:
    """Say which problems have no test set; nothing where all have one, or the run does not say.

    Args:
        info: The content of ``run.json``.
        problems: Names of the problems that are reported on.
    """
    known = info.get("problems") or {}
    named = dict.fromkeys(problems)
    lacking = [name for name in named if (known.get(name) or {}).get("test_examples") == 0]
    if not lacking:
        return ""
    if len(lacking) == len(named):
        return " The data set has no test split: there are no figures of a test set."
    return f" No figures of a test set, as the data set has no test split: {', '.join(lacking)}."
