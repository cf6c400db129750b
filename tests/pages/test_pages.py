"""Whole pages of committed runs in a browser: ``make browser``, some minutes. Pictures of them are kept.

They are in ``build/browser/shots``: first screens and whole pages at 1280 and 400 px, light and dark, and prints.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from chromium import Browser
from page_scripts import AXE, EVERY_OPTION, OVERFLOWING, VIOLATIONS

import reports

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
SHOTS = ROOT / "build" / "browser" / "shots"
RUNS = {
    "quick": "quick", "kingma2015-table1": "kingma2015-table1", "batch-scaling": "batch-scaling",
    "cifar-estimators": "small/cifar-estimators", "estimators": "small/estimators",
}  # fmt: skip
"""Runs by name; the last one has 24 estimators."""
MEGABYTE = 1_000_000
FIRST_CHART_MS = 1500
PAGES = 4

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium with one page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    with Browser() as running:
        yield running


@cache
def written(name: str) -> Path:
    """Write the page of a run, with its pictures."""
    out = ROOT / "build" / "browser" / name
    folder = RESULTS / RUNS[name] if name in RUNS else large_run()
    return reports.write([folder], out, ("svg",))


def large_run() -> Path:
    """Make a run of 10,000 rows out of the smallest committed one: its places under other names."""
    folder = ROOT / "build" / "browser" / "large-run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    frame = pd.read_parquet(RESULTS / "quick" / "results.parquet")
    info = json.loads((RESULTS / "quick" / "run.json").read_text(encoding="utf-8"))
    copies = -(-10_000 // len(frame))
    parts = [frame.assign(problem=frame["problem"] + f"-{k}") for k in range(copies)]
    pd.concat(parts, ignore_index=True).iloc[:10_000].to_parquet(folder / "results.parquet")
    info["problems"] = {f"digits-{k}": info["problems"]["digits"] for k in range(copies)}
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", [*RUNS, "large"])
def test_a_page_is_small_enough_and_needs_nothing(browser: Browser, name: str) -> None:
    path = written(name)
    size = path.stat().st_size / MEGABYTE
    print(f"{name}: {size:.2f} MB")
    assert size <= (3 if name == "quick" else 5)
    browser.show(path)
    assert browser.run(EVERY_OPTION) > 0
    assert (browser.console, browser.requests) == ([], [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", RUNS)
def test_axe_finds_nothing_and_nothing_is_cut(
    browser: Browser, name: str, width: int, scheme: str
) -> None:
    browser.show(written(name), width=width)
    browser.scheme(scheme)
    browser.shot(SHOTS / f"{name}-{width}-{scheme}.png")
    browser.shot(SHOTS / f"{name}-{width}-{scheme}-whole.png", whole=True)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(OVERFLOWING) == []
    browser.run(AXE.read_text(encoding="utf-8") + ";0")
    found = browser.run(VIOLATIONS)
    assert found == []


@pytest.mark.parametrize("name", RUNS)
def test_a_page_can_be_printed(browser: Browser, name: str) -> None:
    browser.show(written(name))
    paper = browser.printed()
    (SHOTS / f"{name}.pdf").write_bytes(paper)
    count = len(re.findall(rb"/Type\s*/Page\b(?!s)", paper))
    print(f"{name}: {count} printed pages")
    assert count >= 1
    if name == "quick":
        assert count <= PAGES


def test_the_first_chart_of_ten_thousand_rows_is_soon_there() -> None:
    path = written("large")
    times = []
    for _ in range(5):
        with Browser() as running:
            running.show(path)
            times.append(int(running.run("document.getElementById('vd-plot').dataset.first")))
    print(f"first chart after {sorted(times)} ms, median {statistics.median(times)} ms")
    assert statistics.median(times) < FIRST_CHART_MS
