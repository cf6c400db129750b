"""The place of the table of all figures."""

from __future__ import annotations

from reports.document import Block, Everything
from reports.sections.section import Findings


class Figures:
    """All figures, to be searched; on a page alone, since Markdown has the CSV files."""

    anchor = "figures"
    title = "All figures"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section; nothing where no place has figures."""
        return [Everything()] if any(group.figures for group in found.groups) else []
