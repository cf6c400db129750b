"""A report as one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports.document import Document

TIMES = ("s", "ms", "µs")
TEMPLATES = Path(__file__).parent / "templates"


def page(document: Document, drawings: Mapping[str, str]) -> str:
    """Write a report as HTML that needs nothing beside itself.

    Args:
        document: The report.
        drawings: SVG text of each of its pictures, by name.

    Returns:
        The page: styles inline, figures as data, all text escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["is_figure"] = is_figure
    environment.filters["split"] = split
    return environment.get_template("index.html.j2").render(document=document, drawings=drawings)


def data_uri(svg: str) -> str:
    """Pack an SVG into the page; as an image of its own, its names cannot clash with others'."""
    packed = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return f"data:image/svg+xml;base64,{packed}"


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
