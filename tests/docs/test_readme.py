"""The README shows wherever it is read: no picture needs a file beside it; its chart is that of the committed run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def test_no_picture_needs_a_file() -> None:
    text = README.read_text(encoding="utf-8")
    assert not re.findall(r"!\[|<img", text)
    assert "┤" not in text


def test_the_chart_is_that_of_the_committed_run() -> None:
    """``make results`` writes it."""
    spec = importlib.util.spec_from_file_location("render", ROOT / "docs" / "results" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    text = README.read_text(encoding="utf-8")
    assert render.drawn(text) == text
    assert max(map(len, render.chart().splitlines())) <= 120


def test_links_of_the_pages_lead_somewhere() -> None:
    """Files, and headings of pages that people write."""
    pages = [README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"),
             *(ROOT / "docs" / "notebooks").glob("*.md")]  # fmt: skip
    lost = []
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if link.startswith(("http:", "https:")):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            named = not anchor or target.suffix != ".md"
            if not target.exists() or not (named or anchor in anchors(target)):
                lost.append(f"{page.name}: {link}")
    assert not lost


def anchors(page: Path) -> set[str]:
    """As GitHub names headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(name)
    return found
