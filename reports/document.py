"""What a report is made of, before it is a page: sections of paragraphs, tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; ``lead`` is set in bold before it."""

    text: str
    lead: str = ""
    kind: str = "paragraph"


@dataclass(frozen=True)
class Heading:
    """A heading within a section, with the anchor by which a page links to it."""

    text: str
    anchor: str = ""
    kind: str = "heading"


@dataclass(frozen=True)
class Links:
    """Links to headings, each with what to say after it.

    Attributes:
        items: Text of the link, anchor of the heading, its text, and what follows.
        row: Whether they stand in one row, for moving about a page; Markdown leaves such out.
    """

    items: list[tuple[str, str, str, str]]
    row: bool = False
    kind: str = "links"


@dataclass(frozen=True)
class Facts:
    """What a reader must know first: (name, text) in two columns."""

    items: list[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Explore:
    """The place of the interactive chart; a page without scripts, and Markdown, have the pictures instead.

    Attributes:
        show: What is chosen first: ``chart``, ``place`` or ``sweep``, ``metric``, ``role``.
    """

    show: Mapping[str, str]
    kind: str = "explore"


@dataclass(frozen=True)
class Everything:
    """The place of the table of all figures, which a page builds from the chart's data."""

    kind: str = "everything"


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Bullets:
    """A list of (lead, text)."""

    items: list[tuple[str, str]]
    kind: str = "bullets"


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        columns: Headings.
        rows: Cells, as many in each row as there are headings.
        caption: What it shows.
        folded: Whether it is shown closed at first.
        apart: Numbers of the rows to set apart, being shown but not ranked.
        stacked: Whether a page sets intervals under their figures, to save width.
        notes: What the marks in it mean, said below it.
        links: Where the first cell of each row leads: the anchor of a heading and its text.
    """

    columns: list[str]
    rows: list[list[str]]
    caption: str = ""
    folded: bool = False
    apart: frozenset[int] = frozenset()
    stacked: bool = False
    notes: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    kind: str = "table"

    @property
    def folded_name(self) -> str:
        """What a table that is shown closed is opened by."""
        name = self.caption.partition(";")[0].partition(". ")[0].rstrip(".")
        return f"Table: {name} ({len(self.rows)} rows)"

    @property
    def below(self) -> str:
        """The caption and the notes."""
        return " ".join(text for text in (self.caption, *self.notes) if text)


@dataclass(frozen=True)
class Picture:
    """A figure, which is drawn only when the report is written.

    Attributes:
        name: Name of its files without ending, unique in the report.
        caption: What it shows.
        alt: What it is, in a few words.
        draw: Makes the figure, for the medium it is called in; several sheets where paper is too short for it.
        show: What the interactive chart has to show for the same figures; empty where it cannot.
    """

    name: str
    caption: str
    alt: str
    draw: Callable[[], Sequence[Any]] = field(repr=False, compare=False)
    show: Mapping[str, str] = field(default_factory=dict, repr=False)
    kind: str = "picture"


@dataclass(frozen=True)
class SeeAlso:
    """Where later sections have more on something: replaced by links when all sections are composed.

    Attributes:
        titles: Texts of the headings to link to.
    """

    titles: frozenset[str]
    kind: str = "see also"


Block = (
    Paragraph
    | Heading
    | Links
    | Facts
    | Explore
    | Everything
    | Code
    | Bullets
    | Table
    | Picture
    | SeeAlso
)


@dataclass(frozen=True)
class Section:
    """A section: its anchor, title and blocks."""

    anchor: str
    title: str
    blocks: list[Block]


@dataclass(frozen=True)
class Document:
    """A report: title, one line under it, sections."""

    title: str
    subtitle: str
    sections: list[Section]
