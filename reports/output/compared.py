"""A comparison as text, Markdown or a page."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reports.document import Code, Paragraph, Table
from reports.output.fragment import table_html
from reports.output.html import page
from reports.output.markdown import markdown
from reports.sections.comparison import document
from reports.words.comparison import headline
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
    forms = {
        "headline": lambda: headline(found),
        "text": lambda: _text(found, width, False),
        "colour": lambda: _text(found, width, True),
        "markdown": lambda: markdown(document(found)),
        "html": lambda: page(document(found), {}, {}),
        "fragment": lambda: _fragment(found),
    }
    said = forms[form]()
    return said if form == "colour" else printable(said, "\n\t")


def _text(found: Comparison, width: int, colour: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, highlight=False)
    shown = document(found)
    console.print(Text(printable(shown.subtitle)))
    for section in shown.sections:
        for item in section.blocks:
            if isinstance(item, Table) and item.folded:
                console.print(Text(f"{item.folded_name}; --json and --html list them"))
            elif isinstance(item, Table):
                console.print(_table(item))
            elif isinstance(item, Paragraph | Code):
                console.print(Text(printable(item.text)))
        for lead, text in (pair for item in section.blocks for pair in getattr(item, "items", [])):
            console.print(Text(printable(f"{lead} {text}")))
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


def _fragment(found: Comparison) -> str:
    """The headline and the tables as HTML without a page around them."""
    parts = [f"<p><strong>{escape(headline(found))}</strong></p>"]
    for section in document(found).sections:
        for item in section.blocks:
            if isinstance(item, Table):
                parts.append(table_html(item))
    return "\n".join(parts)
