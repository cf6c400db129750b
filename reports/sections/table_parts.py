"""What tables share: columns left out where they are empty, and the marks of their cells explained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from reports.document import Table
from reports.results.groups import SCALED_MARK, FewExamples
from reports.words.glossary import scaled_words
from reports.words.numbers import MISSING

BOUNDED = "† stopped at its limit (such as max_units) before the requested precision."


def drop_empty(table: Table) -> Table:
    """Leave out the columns in which there is nothing."""
    blank = {MISSING, "1 (baseline)", ""}
    kept = [
        i
        for i, name in enumerate(table.columns)
        if name in ("estimator", "run") or any(row[i] not in blank for row in table.rows)
    ]
    return replace(
        table,
        columns=[table.columns[i] for i in kept],
        rows=[[row[i] for i in kept] for row in table.rows],
    )


def notes(groups: Iterable[Marking], rows: list[list[str]]) -> tuple[str, ...]:
    """Explain the marks that the cells of a table bear; nothing where they bear none.

    Args:
        groups: Whose figures they are.
        rows: The table's cells.
    """
    cells = [cell for row in rows for cell in row]
    said = [BOUNDED] if any("†" in cell for cell in cells) else []
    if any(SCALED_MARK in cell for cell in cells):
        said += [
            f"{SCALED_MARK} {label}: {scaled_words(how)}."
            for group in groups
            for label in group.labels
            if (how := group.few_examples(label))
        ]
    return tuple(dict.fromkeys(said))


class Marking(Protocol):
    """What knows of its estimators how their noise parts were scaled: a group, or a sweep."""

    @property
    def labels(self) -> list[str]:
        """The estimators."""

    def few_examples(self, label: str) -> list[FewExamples]:
        """Return on how many examples; nothing where on all."""
