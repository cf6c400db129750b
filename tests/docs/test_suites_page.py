"""docs/suites.md says what the committed runs say, of every bundled suite, with pictures that are there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from reports.results.claims import Answer, Claim, Held
from vdbench.suite import yaml_file

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "suites_page", DOCS / "results" / "suites_page.py"
    )
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_page_is_current(script: ModuleType) -> None:
    text = (DOCS / "suites.md").read_text(encoding="utf-8")
    assert text == script.page(), "docs/suites.md is out of date: make suites"
    for name in yaml_file.names():
        assert f"## {name}\n" in text or f"- `{name}`:" in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (DOCS / link).is_file(), link


def test_what_does_not_hold_is_named(script: ModuleType) -> None:
    said = [("a", Held.YES), ("b", Held.NO), ("c", Held.OPEN), ("d", Held.NO)]
    every = [Answer(Claim(words, "m", "local"), None, held) for words, held in said]
    assert script.judged(every) == "1 of 4 claims hold. Does not hold: b; d. Inconclusive: c."
