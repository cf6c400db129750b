"""A report as Markdown."""

from __future__ import annotations

import re

from reports.document import (
    Block,
    Bullets,
    Code,
    Document,
    Everything,
    Explore,
    Facts,
    Heading,
    Links,
    Paragraph,
    Picture,
    SeeAlso,
    Table,
)


def markdown(document: Document, ending: str = "png") -> str:
    """Write a report as GitHub-flavoured Markdown, with its figures as relative links.

    Args:
        document: The report.
        ending: Of the figures' files.

    Returns:
        The text; equal for equal results.
    """
    parts = [f"# {escape(document.title)}", escape(document.subtitle)]
    for section in document.sections:
        if all(isinstance(item, Explore | Everything) for item in section.blocks):
            continue
        parts.append(f"## {escape(section.title)}")
        parts += [block(item, ending) for item in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def block(item: Block, ending: str = "png") -> str:
    """Write one block."""
    match item:
        case Heading(text=text):
            return f"### {escape(text)}"
        case Links(items=items, row=row):
            said = (f"- [{escape(text)}](#{place(to)}): {escape(after)}"
                    for text, _, to, after in items)  # fmt: skip
            return "" if row else "\n".join(said)
        case Paragraph(text=text, lead=lead):
            return f"**{escape(lead.strip())}** {escape(text)}".strip() if lead else escape(text)
        case Bullets(items=items):
            return "\n".join(f"- **{escape(lead)}** {escape(text)}" for lead, text in items)
        case Code(text=text):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{fence}sh\n{text}\n{fence}"
        case Picture(name=name, alt=alt, caption=caption):
            return f"![{escape(alt)}](figures/{name}.{ending})\n\n*{escape(caption)}*"
        case Table(folded=True):
            folded = f"<summary>{escape(item.folded_name)}</summary>"
            return f"<details>\n{folded}\n\n{table(item)}\n\n</details>"
        case Table():
            return table(item)
        case Facts(items=items):
            return "\n".join(f"- **{escape(name)}:** {escape(text)}" for name, text in items)
        case SeeAlso() | Explore() | Everything():
            return ""


def place(heading: str) -> str:
    """Return the anchor that code hosts give the first heading of a text."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def table(item: Table) -> str:
    """Write a table, its caption under it."""
    lines = [
        "| " + " | ".join(escape(name) for name in item.columns) + " |",
        "|" + "---|" * len(item.columns),
        *("| " + " | ".join(cells) + " |" for cells in linked(item)),
    ]
    caption = f"\n\n*{escape(item.below)}*" if item.below else ""
    return "\n".join(lines) + caption


def linked(item: Table) -> list[list[str]]:
    """Write the cells of a table, the first one of each row as a link where it has one."""
    rows = [[escape(cell) for cell in row] for row in item.rows]
    for row, (_, heading) in zip(rows, item.links, strict=False):
        row[0] = f"[{row[0]}](#{place(heading)})"
    return rows


def escape(text: str) -> str:
    """Make text safe in Markdown: no HTML, no links, no cell or line breaks, no emphasis."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*|$]|\](?=\())|(?<!\w)_|_(?!\w)", lambda hit: "\\" + hit[0], text)
