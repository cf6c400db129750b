"""Draw a report's pictures and save them, each in the formats asked for."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from reports.document import Document, Picture

PAGE, PAPER = ("svg", "png"), "pdf"
"""Formats of a page, drawn once for both; and of paper, which has a width of its own and so a drawing."""
FORMATS = (*PAGE, PAPER)


def draw_pictures(document: Document, folder: Path, formats: Collection[str]) -> dict[str, str]:
    """Draw every picture of a report once for each medium, and save it.

    Args:
        document: The report.
        folder: Where the files go; it is made.
        formats: Which of ``svg``, ``png`` and ``pdf``.

    Returns:
        The SVG text of each picture, by its name, for a page to hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [block for section in document.sections for block in section.blocks]
    pictures = {block.name: block for block in blocks if isinstance(block, Picture)}
    if PAPER in formats:
        for picture in pictures.values():
            draw_for_paper(picture, folder)
    return {name: draw_for_page(picture, folder, formats) for name, picture in pictures.items()}


def draw_for_page(picture: Picture, folder: Path, formats: Collection[str]) -> str:
    """Draw a picture for a page, save it as SVG and PNG where these are asked for, and return the SVG's text."""
    from reports.figures.medium import styled
    from reports.figures.style import save_png, svg_text

    with styled():
        (figure,) = picture.draw()
        text = svg_text(figure)
        if "svg" in formats:
            (folder / f"{picture.name}.svg").write_text(text, encoding="utf-8", newline="\n")
        if "png" in formats:
            save_png(figure, folder / f"{picture.name}.png")
        figure.clear()
    return text


def drawn(picture: Picture) -> str:
    """Draw a picture for a page, and return the SVG's text."""
    return draw_for_page(picture, Path(), ())


def draw_for_paper(picture: Picture, folder: Path) -> None:
    """Draw a picture at the width of a paper's text, and save it as PDF, its sheets numbered where it has several."""
    from reports.figures.medium import PAPER as MEDIUM
    from reports.figures.medium import styled
    from reports.figures.style import save_pdf

    with styled(MEDIUM):
        sheets = picture.draw()
        for number, figure in enumerate(sheets, 1):
            part = f"-{number}" if len(sheets) > 1 else ""
            save_pdf(figure, folder / f"{picture.name}{part}.pdf")
            figure.clear()
