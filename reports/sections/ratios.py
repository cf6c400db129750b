"""Ratios of variance to the baseline, by layer and role."""

from __future__ import annotations

from reports.document import Block
from reports.figures import draw
from reports.results.panels import RATIO, layer_parts
from reports.sections.pictures import Caption, layer_pictures
from reports.sections.section import Findings, heading
from reports.sections.tables import RATIOS, layer_table
from reports.words.numbers import percent

CAPTION = Caption(
    "ratio",
    "Variance relative to the baseline",
    "Variance as a multiple of that of BASELINE, paired on the same minibatches. Values left of 1 are better.",
    RATIO,
)


class Ratios:
    """Paired ratios of variance to the baseline's."""

    anchor = "ratio"
    title = "Variance relative to the baseline"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section: a picture and a table a group."""
        blocks: list[Block] = []
        for group in found.groups:
            if group.has("ratio.variance."):
                level = percent(group.run.level)
                caption = f"Relative to {group.baseline}, paired on the same minibatches; intervals at {level}."
                parts = layer_parts(group, RATIO)
                blocks += [heading(self.anchor, group),
                           *layer_pictures(CAPTION, group, draw.ratio, parts),
                           layer_table(group, RATIOS, caption, apart=1)]  # fmt: skip
        return blocks
