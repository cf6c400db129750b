"""The place of the table of all figures."""

from __future__ import annotations

from reports.document import Block, Everything, Explore
from reports.sections.glance import picture_of
from reports.sections.section import Findings


class Figures:
    """All figures, to be searched, and the chart where the first section has another picture; on a page alone."""

    anchor = "figures"
    title = "All figures"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section; nothing where no place has figures."""
        if not any(group.figures for group in found.groups):
            return []
        first = any(isinstance(block, Explore) for block in picture_of(found))
        return [Everything()] if first else [Explore({}), Everything()]
