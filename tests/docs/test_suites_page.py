"""docs/suites.md and docs/results/estimators.md say what the committed runs say, and their links lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from reports.results.claims import Answer, Claim, Held
from reports.results.estimate import Estimate
from vdbench.suite import yaml_file

DOCS = Path(__file__).parents[2] / "docs"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "results" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("name", ["suites_page", "estimators_page"])
def test_a_page_is_current(name: str) -> None:
    made = script(name)
    text = made.PAGE.read_text(encoding="utf-8")
    assert text == made.page(), f"{made.PAGE.name} is out of date: make suites"
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (made.PAGE.parent / link).is_file(), link


def test_what_the_estimators_pages_say_of_the_runs_is_current() -> None:
    made = script("estimators_page")
    assert json.loads(made.FRONTS.read_text(encoding="utf-8")) == made.fronts(), "make suites docs"


def test_every_suite_is_on_the_page() -> None:
    text = (DOCS / "suites.md").read_text(encoding="utf-8")
    for name in yaml_file.names():
        assert f"## {name}\n" in text or f"- `{name}`:" in text


def test_what_does_not_hold_is_named() -> None:
    said = [("a", Held.YES), ("b", Held.NO), ("c", Held.OPEN), ("d", Held.NO)]
    ours = Estimate(2.0, 1.0, 3.0)
    every = [Answer(Claim(words, "m", "local"), ours, held) for words, held in said]
    told = script("suites_page").judged(every)
    assert (
        told
        == "1 of 4 claims hold: 'a': ours is 2.0 [1.0, 3.0]. Does not hold: b; d. Inconclusive: c."
    )
