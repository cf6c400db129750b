"""Write the page of every committed run anew: ``make results``, after a change of how reports are written.

A committed run is ``run.json`` with its Parquet files, from which ``vdbench report`` makes everything else. Its page
``report.md`` is kept beside them for reading here, with the pictures of its first sections only.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from reports.document import Document, Heading, Paragraph, Picture
from reports.output.markdown import markdown
from reports.output.pictures import draw_pictures
from reports.results.load import load
from reports.sections.report import document
from reports.sections.section import Findings

HERE = Path(__file__).parent
FIRST = ("answer", "results", "published")
"""Sections whose pictures are kept."""


def runs() -> list[Path]:
    """All committed runs."""
    return sorted(path.parent for path in HERE.rglob("results.parquet"))


def light(report: Document, run: str) -> Document:
    """The report with the pictures of its first sections; with the first picture of all where these have none."""
    pictures = [b for s in report.sections for b in s.blocks if isinstance(b, Picture)]
    first = [b for s in report.sections if s.anchor in FIRST for b in s.blocks]
    kept = {b.name for b in first if isinstance(b, Picture)} or {p.name for p in pictures[:1]}
    sections = [
        replace(s, blocks=[b for b in s.blocks if not isinstance(b, Picture) or b.name in kept])
        for s in report.sections
    ]
    sections = [s for s in sections if any(not isinstance(b, Heading) for b in s.blocks)]
    told = Paragraph(
        f"vdbench report docs/results/{run} writes the HTML page, with all tables and pictures."
    )
    sections[0] = replace(sections[0], blocks=[told, *sections[0].blocks])
    return replace(report, sections=sections)


def render(folder: Path) -> None:
    """Write the page of one run, and take away what an earlier one left."""
    report = light(document(Findings(load([folder]))), str(folder.relative_to(HERE)))
    for name in ("figures", "tables"):
        shutil.rmtree(folder / name, ignore_errors=True)
    draw_pictures(report, folder / "figures", ("png",))
    (folder / "report.md").write_text(markdown(report), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    wanted = [HERE / name for name in sys.argv[1:]] or runs()
    for one in wanted:
        print(one.relative_to(HERE), flush=True)
        render(one)
