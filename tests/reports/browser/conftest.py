"""A browser, and pages for it to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import Browser, installed

from reports.charts.columns import chart_data
from reports.document import Picture
from reports.output.html import page
from reports.results.load import load
from reports.sections.report import document
from reports.sections.section import Findings

DRAWN = '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="120"><rect width="9" height="9"/></svg>'
"""What stands for every picture: these tests look at the page, not at drawings."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium with one page."""
    if installed() is None:
        pytest.skip("Chromium is not installed")
    with Browser() as running:
        yield running


@pytest.fixture(scope="session")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the page of run folders, without drawing its pictures."""

    def write(*folders: Path) -> Path:
        found = Findings(load(folders))
        report = document(found)
        names = [b.name for s in report.sections for b in s.blocks if isinstance(b, Picture)]
        text = page(report, dict.fromkeys(names, DRAWN), chart_data(found.groups, found.sweeps))
        path = tmp_path_factory.mktemp("page") / "index.html"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def whole_page(run_folder: Path, page_of: Callable[..., Path]) -> Path:
    """The page of a run with two places, a failed cell and a bounded one."""
    return page_of(run_folder)


@pytest.fixture
def opened(browser: Browser, whole_page: Path) -> Browser:
    """The browser on that page, its chart drawn."""
    return browser.show(whole_page)
