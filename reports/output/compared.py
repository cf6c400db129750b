"""A comparison, or another short document, as text, Markdown or a page."""

from __future__ import annotations

import io
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reports.document import Code, Document, Paragraph, Picture, Table
from reports.output.fragment import table_html
from reports.output.html import page
from reports.output.markdown import markdown
from reports.output.pictures import drawn
from reports.sections.comparison import document
from vdbench.errors import printable

if TYPE_CHECKING:
    from vdbench.comparison import Comparison

COLOURS = {"WORSE": "red", "BETTER": "green", "INCONCLUSIVE": "yellow"}


def written(found: Comparison, form: str, width: int = 120) -> str:
    """Write a comparison.

    Args:
        found: What was found.
        form: ``headline``, ``text``, ``colour`` (text for a terminal that has some), ``markdown``, ``html`` or
            ``fragment`` (a table for a notebook).
        width: Columns of text.
    """
    return said(document(found), form, width)


def said(shown: Document, form: str, width: int) -> str:
    """Write a short document whose subtitle is its headline; arguments as of `written`."""
    forms = {
        "headline": lambda: shown.subtitle,
        "text": lambda: _text(shown, width, False),
        "colour": lambda: _text(shown, width, True),
        "markdown": lambda: markdown(_without_pictures(shown)),
        "html": lambda: page(shown, _drawings(shown), {}),
        "fragment": lambda: _fragment(shown),
    }
    made = forms[form]()
    return made if form == "colour" else printable(made, "\n\t")


def _without_pictures(shown: Document) -> Document:
    """The document in a form that has no files beside it."""
    sections = [
        replace(section, blocks=[b for b in section.blocks if not isinstance(b, Picture)])
        for section in shown.sections
    ]
    return replace(shown, sections=sections)


def _drawings(shown: Document) -> dict[str, str]:
    """Each picture as SVG, by its name."""
    blocks = [block for section in shown.sections for block in section.blocks]
    return {b.name: drawn(b) for b in blocks if isinstance(b, Picture)}


def _text(shown: Document, width: int, colour: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, highlight=False)
    console.print(Text(printable(shown.subtitle)))
    for section in shown.sections:
        for item in section.blocks:
            if isinstance(item, Table) and item.folded:
                console.print(Text(f"{item.folded_name}; --json and --html list them"))
            elif isinstance(item, Table):
                console.print(_table(item))
            elif isinstance(item, Paragraph | Code):
                console.print(Text(printable(item.text, "\n").rstrip()))
        for lead, text in (pair for item in section.blocks for pair in getattr(item, "items", [])):
            console.print(Text(printable(f"{lead} {text}".strip())))
    return out.getvalue()


def _table(item: Table) -> RichTable:
    made = RichTable(title=Text(item.caption) if item.caption else None, title_justify="left")
    for name in item.columns:
        made.add_column(name, overflow="fold")
    for row in item.rows:
        style = COLOURS.get(row[0], "")
        made.add_row(
            *(Text(printable(cell), style if n == 0 else "") for n, cell in enumerate(row))
        )
    return made


def _fragment(shown: Document) -> str:
    """The headline and the tables as HTML without a page around them."""
    parts = [f"<p><strong>{escape(shown.subtitle)}</strong></p>"]
    for section in shown.sections:
        for item in section.blocks:
            if isinstance(item, Table):
                parts.append(table_html(item))
    return "\n".join(parts)
