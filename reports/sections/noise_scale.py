"""The gradient noise scale: up to which minibatch size larger minibatches pay."""

from __future__ import annotations

from reports.document import Block, Paragraph, Table
from reports.results.groups import Group
from reports.sections.section import Findings, heading
from reports.sections.table_parts import drop_empty, notes
from reports.words.glossary import role_name
from reports.words.numbers import percent, show

METRIC = "noise_scale"

EXPLAINED = (
    "The gradient noise scale is the minibatch size at which the variance of the gradient equals its squared length, "
    "if the variance falls as 1/M. Below it, a larger minibatch saves almost as many steps as it costs examples. "
    "Above it, a larger minibatch saves few. The variance contains the choice of the examples and the noise in the "
    "weights. An interval without an upper end says that the gradient cannot be distinguished from zero."
)


class NoiseScale:
    """The noise scale of every estimator by role, over all layers and by layer."""

    anchor = "noise-scale"
    title = "Gradient noise scale"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section: nothing where no run measured it."""
        blocks: list[Block] = []
        for group in found.groups:
            if group.has(METRIC):
                blocks += [heading(self.anchor, group), noise_scale_table(group)]
        return [Paragraph(EXPLAINED), *blocks] if blocks else []


def noise_scale_table(group: Group) -> Table:
    """Build the table: a role and an estimator a row, a layer a column."""
    layers = ["all", *(layer for layer in group.layers(METRIC) if layer != "all")]
    rows = []
    for role in group.roles(METRIC):
        for label in group.labels:
            cells = [group.get(label, METRIC, layer, role) for layer in layers]
            if any(cells):
                rows.append([role_name(role), group.name(label), *map(show, cells)])
    caption = f"Gradient noise scale in examples; intervals at {percent(group.run.level)}."
    columns = ["parameter", "estimator", "all layers", *layers[1:]]
    return drop_empty(Table(columns, rows, caption, notes=notes([group], rows)))
