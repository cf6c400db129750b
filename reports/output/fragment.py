"""What a notebook shows of a run: its answer, tables and first figure, without a page around them; and as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reports.document import Block, Document, Paragraph, Picture, Table
from reports.output.terminal import terminal_tables
from reports.results.groups import Group
from reports.results.load import load
from reports.sections.headline import headline
from reports.sections.report import document
from reports.sections.section import Findings
from reports.sections.summary import single
from reports.sections.summary_table import headline_table
from reports.sections.tables import PARTS, layer_table
from reports.words.numbers import percent
from vdbench.errors import InputError, nearest, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def shown(folders: list[Path], form: str, width: int = 120) -> str:
    """Write what a run found, short.

    Args:
        folders: Run folders.
        form: ``text`` or ``html``.
        width: Columns of text.
    """
    found = Findings(load(folders))
    written = "\n".join(_html(found)) if form == "html" else _text(found, width)
    return printable(written, "\n\t")


def names(folders: list[Path]) -> list[str]:
    """Return the names of the report's figures, in its order."""
    return [picture.name for picture in _pictures(_report(folders))]


def figure(folders: list[Path], name: str = "") -> Figure:
    """Draw a figure of the report.

    Args:
        folders: Run folders.
        name: Which; the first by default.

    Raises:
        InputError: There is none of that name, or none at all.
    """
    pictures = {picture.name: picture for picture in _pictures(_report(folders))}
    if not pictures:
        raise InputError("the run has no figures: nothing was measured that is drawn.")
    if name and name not in pictures:
        raise InputError(f"the report has no figure '{name}'.{nearest(name, pictures)}")
    return _drawn(pictures[name] if name else next(iter(pictures.values())))


def table_html(item: Table) -> str:
    """Write a table; one that is shown closed at first is opened by its name."""
    head = "".join(f"<th>{escape(name)}</th>" for name in item.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in item.rows
    )
    made = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    if not item.folded:
        return made
    return f"<details><summary>{escape(item.folded_name)}</summary>{made}</details>"


def _report(folders: list[Path]) -> Document:
    return document(Findings(load(folders)))


def _pictures(report: Document) -> Iterator[Picture]:
    for section in report.sections:
        for block in section.blocks:
            if isinstance(block, Picture):
                yield block


def _drawn(picture: Picture) -> Figure:
    from reports.figures.medium import styled

    with styled():
        made: Figure = next(iter(picture.draw()))
    return made


def _blocks(found: Findings) -> Iterator[Block]:
    """The answer, what failed, and the figures of each group."""
    for text in headline(found):
        yield Paragraph(text)
    for text in _failed(found):
        yield Paragraph(text, lead="Failed: ")
    for group in found.groups:
        if not single(group):
            yield headline_table([group])
        yield _variances(group)


def _variances(group: Group) -> Table:
    """The variances themselves; at first closed where there are ratios to read."""
    caption = f"Variance of {group.title}, in gradient²; intervals at {percent(group.run.level)}"
    made = layer_table(group, PARTS, caption)
    return Table(made.columns, made.rows, caption, folded=not single(group), notes=made.notes)


def _failed(found: Findings) -> Iterator[str]:
    """Cells that failed, with the cause."""
    for run in found.results.runs.values():
        for cell in run.info.get("cells") or []:
            if cell.get("status") == "failed":
                yield (
                    f"{cell.get('measure')} of {cell.get('estimator')} on {cell.get('problem')}: "
                    f"{cell.get('reason')}"
                )


def _html(found: Findings) -> Iterator[str]:
    for block in _blocks(found):
        if isinstance(block, Table):
            yield table_html(block) if block.rows else ""
            yield f"<p><small>{escape(block.below)}</small></p>" if not block.folded else ""
        elif isinstance(block, Paragraph):
            yield f"<p><strong>{escape(block.lead)}</strong>{escape(block.text)}</p>"
    first = next(_pictures(document(found)), None)
    if first is not None:
        yield svg_image(_drawn(first), first.alt)


def svg_image(figure: Figure, alt: str) -> str:
    """Write a figure as an image that needs no other file."""
    from reports.figures.medium import styled
    from reports.figures.style import svg_text

    with styled():
        text = svg_text(figure)
    data = base64.b64encode(text.encode()).decode()
    style = "max-width: 100%; background: white"
    return f'<img alt="{escape(alt)}" style="{style}" src="data:image/svg+xml;base64,{data}">'


def _text(found: Findings, width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    for block in _blocks(found):
        if isinstance(block, Paragraph):
            console.print(f"{block.lead}{block.text}", markup=False)
    console.print(terminal_tables([group for group in found.groups if not single(group)]))
    for group in found.groups:
        if single(group):
            console.print(_terminal(_variances(group)))
    return out.getvalue()


def _terminal(item: Table) -> RichTable:
    made = RichTable(title=Text(item.caption), title_justify="left")
    for name in item.columns:
        made.add_column(Text(name), overflow="fold")
    for row in item.rows:
        made.add_row(*(Text(cell, overflow="fold") for cell in row))
    return made
