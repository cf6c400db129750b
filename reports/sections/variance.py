"""Variance by layer and role: total, noise part and data part."""

from __future__ import annotations

from reports.document import Block
from reports.figures import draw
from reports.results.panels import layer_parts
from reports.sections.pictures import Caption, layer_pictures
from reports.sections.section import Findings, heading
from reports.sections.tables import PARTS, layer_table
from reports.words.numbers import percent

CAPTION = Caption(
    "variance",
    "Variance by layer and estimator",
    "Variance of the minibatch gradient, averaged over the parameters of a layer: total, noise part and data part. "
    "The axis is logarithmic. Arrows mark intervals that go on to 0. Bars shorter than their "
    "marker are hidden by it.",
    "variance.total",
)


class Variance:
    """Total, noise and data variance by layer, role and estimator."""

    anchor = "variance"
    title = "Variance by layer"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section: a picture and a table a group."""
        blocks: list[Block] = []
        for group in found.groups:
            if group.has("variance."):
                level = percent(group.run.level)
                caption = f"Variance in gradient², averaged over the parameters of a layer; intervals at {level}."
                parts = layer_parts(group, "variance.total")
                blocks += [heading(self.anchor, group),
                           *layer_pictures(CAPTION, group, draw.variance, parts),
                           layer_table(group, PARTS, caption)]  # fmt: skip
        return blocks
