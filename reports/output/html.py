"""A report as one self-contained page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.charts.metrics import METRICS
from reports.document import Block, Document, Heading, Section, Table
from reports.output.drawings import SHADES, embedded
from reports.words.numbers import slug

TIMES = ("s", "ms", "µs")
TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = Path(__file__).parent / "scripts"
LIBRARY = ("bokeh.min.js", "bokeh-api.min.js")
"""The files of Bokeh's package that charts need."""
CHARTS = ("data.js", "axes.js", "choice.js", "charts.js", "explore.js", "tables.js", "page.js")
"""The page's own scripts, in their order."""
UNFOLDED = 2
"""Headings of a section from which on each part is shown closed at first."""


@dataclass(frozen=True)
class Part:
    """What stands under one heading of a section, or before the first."""

    heading: Heading | None
    blocks: list[Block]


def page(document: Document, drawings: Mapping[str, str], data: Mapping[str, Any]) -> str:
    """Write a report as HTML that needs nothing beside itself.

    Args:
        document: The report.
        drawings: SVG text of each of its pictures, by name.
        data: What the charts are drawn from; empty for a page without charts.

    Returns:
        The page: styles, scripts, figures and data inline, all text escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "is_figure": is_figure, "split": split, "parts": parts, "attribute": attribute,
    }  # fmt: skip
    ids = Ids()
    environment.globals |= {"row_ids": ids.rows, "region": ids.region}
    shown = {**data, "order": {name: i for i, name in enumerate(METRICS)}} if data else {}
    return environment.get_template("index.html.j2").render(
        document=document,
        drawings=embedded(drawings),
        shades=SHADES,
        data=script_data(shown) if shown else "",
        library=[script(library() / name) for name in LIBRARY] if shown else [],
        scripts=[script(SCRIPTS / name) for name in CHARTS],
    )


def library() -> Path:
    """Return the folder of Bokeh's JavaScript, which its package contains."""
    from bokeh.util.paths import bokehjs_path

    return Path(bokehjs_path()) / "js"


def script(path: Path) -> Markup:
    """Read a script so that it can stand in a page: nothing in it ends its element or begins a comment."""
    text = path.read_text(encoding="utf-8")
    return Markup(text.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def script_data(data: Mapping[str, Any]) -> Markup:
    """Write data as JSON that no text in it can end: every ``<``, ``>`` and ``&`` as an escape."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(re.sub("[<>&\u2028\u2029]", lambda hit: f"\\u{ord(hit[0]):04x}", text))


def attribute(data: Mapping[str, Any]) -> str:
    """Write data as JSON for an attribute, which is escaped where it is put."""
    return json.dumps(dict(data), ensure_ascii=False)


def parts(section: Section) -> list[Part]:
    """Part a section at its headings."""
    found = [Part(None, [])]
    for block in section.blocks:
        if isinstance(block, Heading):
            found.append(Part(block, []))
        else:
            found[-1].blocks.append(block)
    return [part for part in found if part.heading or part.blocks]


class Ids:
    """Anchors of rows and names of regions, each once in the page."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def region(self, name: str, section: Section, heading: Heading | None) -> str:
        """Name a part that scrolls: what it is, and of what."""
        where = heading.text if heading else section.title
        return self._own(name if where in name else f"{name}, {where}", " ")

    def rows(self, section: Section, heading: Heading | None, table: Table) -> list[str]:
        """Name the rows of a table: after the cells before its first figure."""
        base = heading.anchor if heading and heading.anchor else section.anchor
        return [self._own(f"row-{base}-{slug(' '.join(words(row)))}") for row in table.rows]

    def _own(self, name: str, joint: str = "-") -> str:
        found, count = name, 1
        while found in self._taken:
            count += 1
            found = f"{name}{joint}{count}"
        self._taken.add(found)
        return found


def words(row: list[str]) -> list[str]:
    """Return the cells of a row before its first figure; the first one at least."""
    count = next((i for i, cell in enumerate(row) if is_figure(cell)), 1)
    return row[: max(count, 1)]


def split(cell: str) -> tuple[str, str]:
    """Part a figure from its interval, which is empty where there is none; a time's unit on both."""
    value, bracket, rest = cell.partition(" [")
    if not is_figure(cell):
        return cell, ""
    unit = rest.rpartition("] ")[2]
    return (f"{value} {unit}" if unit in TIMES else value), bracket.strip() + rest


def is_figure(cell: str) -> bool:
    """Whether a cell holds a figure, to be set in digits of equal width and not broken."""
    return bool(cell) and (cell[0].isdigit() or cell[0] in "−∞")
