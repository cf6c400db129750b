"""The section on method: how random numbers were made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.document import Bullets
from reports.results.groups import groups_of
from reports.results.load import load
from reports.sections.method import method_blocks

Row = dict[str, Any]
WORDS = {"torch": "by torch's generator", "philox": "by counter (Philox-4x32-10)"}


@pytest.mark.parametrize(
    ("suites", "said"),
    [
        ([{"noise": "philox"}], ["philox"]),
        ([{"noise": "torch"}], ["torch"]),
        ([{}], ["torch"]),
        ([{"noise": "torch"}, {"noise": "philox"}, {}], ["torch", "philox"]),
    ],
)
def test_it_says_how_random_numbers_were_made(
    suites: list[dict[str, Any]],
    said: list[str],
    make_run: Callable[..., Path],
    first_rows: list[Row],
) -> None:
    results = load(
        [make_run(first_rows, suite=suite, name=f"run-{i}") for i, suite in enumerate(suites)]
    )
    (bullets, *_) = method_blocks(results, groups_of(results))
    assert isinstance(bullets, Bullets)
    found = [text for lead, text in bullets.items if lead == "Random numbers."]
    assert len(found) == len(said)
    assert all(WORDS[way] in text for way, text in zip(said, found, strict=True))
