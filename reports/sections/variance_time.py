"""Variance against time, with the Pareto front."""

from __future__ import annotations

from reports.document import Block
from reports.figures import draw
from reports.results.pareto import roles_of
from reports.sections.pictures import Caption, picture
from reports.sections.section import Findings, heading

CAPTION = Caption(
    "plane",
    "Variance against time per gradient",
    "Total variance over all layers against time per gradient. Lower left is better. The dashed line is the Pareto "
    "front of the ranked estimators: an estimator is on it unless another one is significantly faster and "
    "significantly less noisy. Hollow markers are not ranked. On a dotted line variance × time is the same.",
    "variance.total",
    "plane",
)


class VarianceAndTime:
    """The plane of variance against time."""

    anchor = "plane"
    title = "Variance against time per gradient"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section: a picture a group."""
        blocks: list[Block] = []
        for group in found.groups:
            if roles_of(group):
                blocks += [heading(self.anchor, group), picture(CAPTION, group, draw.plane)]
        return blocks
