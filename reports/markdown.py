"""A report as Markdown."""

from __future__ import annotations

import re

from reports.document import Block, Bullets, Code, Document, Heading, Paragraph, Picture, Table


def markdown(document: Document) -> str:
    """Write a report as GitHub-flavoured Markdown, with its figures as relative links.

    Args:
        document: The report.

    Returns:
        The text; equal for equal results.
    """
    parts = [f"# {escape(document.title)}", escape(document.subtitle)]
    for section in document.sections:
        parts.append(f"## {escape(section.title)}")
        parts += [block(item) for item in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def block(item: Block) -> str:
    """Write one block."""
    match item:
        case Heading(text=text):
            return f"### {escape(text)}"
        case Paragraph(text=text, lead=lead):
            return f"**{escape(lead.strip())}** {escape(text)}" if lead else escape(text)
        case Bullets(items=items):
            return "\n".join(f"- **{escape(lead)}** {escape(text)}" for lead, text in items)
        case Code(text=text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Picture(name=name, alt=alt, caption=caption):
            return f"![{escape(alt)}](figures/{name}.png)\n\n*{escape(caption)}*"
        case Table():
            return table(item)


def table(item: Table) -> str:
    """Write a table, its caption under it."""
    lines = [
        "| " + " | ".join(escape(name) for name in item.columns) + " |",
        "|" + "---|" * len(item.columns),
        *("| " + " | ".join(escape(cell) for cell in row) + " |" for row in item.rows),
    ]
    caption = f"\n\n*{escape(item.caption)}*" if item.caption else ""
    return "\n".join(lines) + caption


def escape(text: str) -> str:
    """Make text safe in Markdown: no HTML, no links, no cell or line breaks, no emphasis."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*|]|\](?=\())|(?<!\w)_|_(?!\w)", lambda hit: "\\" + hit[0], text)
