"""Write the page of every committed run anew: ``make results``, after a change of how reports are written.

A committed run is ``run.json`` with its Parquet files, from which ``vdbench report`` makes everything else. Its page
``report.md`` is kept beside them for reading here, with the pictures of its first sections only.
"""

from __future__ import annotations

import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from reports.document import Document, Heading, Paragraph, Picture
from reports.output.markdown import markdown
from reports.output.pictures import draw_pictures
from reports.results.load import load
from reports.results.ranking import EFFICIENCY, order, ratio
from reports.sections.report import document
from reports.sections.section import Findings
from reports.sections.summary_table import ratio_text

HERE = Path(__file__).parent
FIRST = ("answer", "results", "published")
"""Sections whose pictures are kept; of a run that judges claims, the picture of these alone."""


def runs() -> list[Path]:
    """All committed runs."""
    return sorted(path.parent for path in HERE.rglob("results.parquet"))


def light(report: Document, run: str) -> Document:
    """The report with the pictures of its first sections; with the first picture of all where these have none."""
    pictures = [b for s in report.sections for b in s.blocks if isinstance(b, Picture)]
    claims = [b for s in report.sections if s.anchor == "claims" for b in s.blocks]
    first = claims or [b for s in report.sections if s.anchor in FIRST for b in s.blocks]
    kept = {b.name for b in first if isinstance(b, Picture)} or {p.name for p in pictures[:1]}
    kept |= {p.name for p in pictures if p.name.startswith("time-to-target-")}
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


README = HERE.parents[1] / "README.md"
MARK = "<!-- chart: written by docs/results/render.py -->\n```text\n"
WIDTH = 44
"""Characters of the chart's axis."""
ENDS = (0.03, 10000.0)
"""Of its logarithmic axis."""


def chart() -> str:
    """The README's picture, in characters: it shows wherever the text is read, and needs no file beside it."""
    found = Findings(load([HERE / "quick"]))
    (group,) = [g for g in found.groups if g.checkpoint != "training"]
    names = [label for label in order(group) if group.ranked(label)]
    room = max(map(len, names))
    lines = []
    for role, title in (("mean", "means"), ("scale", "scales")):
        lines.append(f"variance × time of the {title}, as a multiple of naive's (log axis)")
        for label in names:
            e = ratio(group, EFFICIENCY, label, role)  # with the interval that is written beside
            ends = (e.low, e.value, e.high) if e else (1.0, 1.0, 1.0)
            said = ratio_text(group, EFFICIENCY, label, role)
            lines.append(f"{label:<{room}}  {bar(*ends)}  {said}")
        lines.append(" " * (room + 2) + axis())
    return "\n".join(lines) + "\n"


def place(x: float) -> int:
    """Column of a value."""
    low, high = map(math.log, ENDS)
    return round((math.log(x) - low) / (high - low) * (WIDTH - 1))


def bar(low: float, value: float, high: float) -> str:
    """An estimate with its interval, and where 1 is."""
    cells = [" "] * WIDTH
    cells[place(1)] = "│"
    for column in range(place(low), place(high) + 1):
        cells[column] = "─"
    cells[place(value)] = "●"
    return "".join(cells)


def axis() -> str:
    """Names of the powers of ten."""
    cells = [" "] * (WIDTH + 4)
    for power in range(-1, 5):
        text = f"{10.0**power:,g}"
        start = place(10.0**power)
        cells[start : start + len(text)] = text
    return "".join(cells).rstrip()


def drawn(text: str) -> str:
    """The README with its chart."""
    start = text.index(MARK) + len(MARK)
    return text[:start] + chart() + text[text.index("```", start) :]


if __name__ == "__main__":
    wanted = [HERE / name for name in sys.argv[1:]] or runs()
    for one in wanted:
        print(one.relative_to(HERE), flush=True)
        render(one)
    README.write_text(drawn(README.read_text(encoding="utf-8")), encoding="utf-8")
