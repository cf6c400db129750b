"""The document of a comparison: verdicts, what would settle those that are open, and what was not compared."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from reports.document import Block, Bullets, Code, Document, Paragraph, Section, Table
from reports.words import comparison as words

if TYPE_CHECKING:
    from vdbench.comparison import Comparison, Row

FEW = 12
"""Rows up to which a table of equal figures is shown open."""


def document(found: Comparison) -> Document:
    """Compose the page of a comparison."""
    sections = [Section("verdicts", "Verdicts", _verdicts(found))]
    if found.needed:
        sections.append(Section("settle", "What would settle it", _settle(found)))
    if found.refused:
        sections.append(Section("refused", "Not compared", [_refused(found)]))
    if found.differing:
        items = [
            (f"{name}:", rest) for name, _, rest in (x.partition(": ") for x in found.differing)
        ]
        sections.append(Section("differing", "What else differs", [Bullets(items)]))
    return Document(f"{found.new} compared with {found.base}", words.headline(found), sections)


def _verdicts(found: Comparison) -> list[Block]:
    rows = [row for row in found.rows if row.verdict != "SAME"]
    same = [row for row in found.rows if row.verdict == "SAME"]
    blocks: list[Block] = [Paragraph(words.basis(found))]
    places = list(dict.fromkeys(map(words.place, found.rows)))
    if len(places) == 1:
        blocks.append(Paragraph(f"All figures are of {places[0]}."))
    if rows:
        blocks.append(table(found, rows, "Figures that are not known to be the same"))
    if same:
        folded = bool(rows) or len(same) > FEW
        blocks.append(table(found, same, "Figures that are the same", folded))
    return blocks


def table(found: Comparison, rows: list[Row], caption: str = "", folded: bool = False) -> Table:
    """Set rows in a table; columns that say the same of all rows of the comparison are left out."""
    columns = {
        "verdict": lambda row: row.verdict,
        "figure": words.figure,
        "estimator": words.estimators,
        "where": words.place,
        "base": lambda row: words.value(row, row.base_value),
        "new": lambda row: words.value(row, row.new_value),
        "change": words.change,
        "p": words.p_value,
        "note": _note,
    }
    for name in ("estimator", "where"):
        if len({columns[name](row) for row in found.rows}) == 1:
            del columns[name]
    if not any(_note(row) for row in rows):
        del columns["note"]
    cells = [[cell(row) for cell in columns.values()] for row in rows]
    return Table(list(columns), cells, caption, folded)


def _note(row: Row) -> str:
    wanted = f"{words.counts(dict(row.needed))} would settle it" if row.needed else ""
    return "; ".join(text for text in (row.why, wanted) if text)


def _settle(found: Comparison) -> list[Block]:
    settings = " ".join(f"--set {key}={n}" for key, n in found.needed.items())
    return [
        Paragraph(
            "Run the suite again for both, in new folders, with these numbers. They are enough whatever the difference "
            "is, as far as the spread of a unit is known from these runs."
        ),
        Code(f"vdbench run SUITE {settings}"),
    ]


def _refused(found: Comparison) -> Table:
    """List what was not compared, alike reasons together."""
    counted = Counter((x.measure, x.estimator, x.problem, x.why) for x in found.refused)
    rows = [[*key, str(n)] for key, n in counted.items()]
    return Table(["measure", "estimator", "problem", "why", "places"], rows)
