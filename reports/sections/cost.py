"""What a gradient costs: time, throughput and memory."""

from __future__ import annotations

from reports.document import Block, Paragraph
from reports.figures import draw
from reports.results.panels import cost_metrics
from reports.results.size_lines import TIME
from reports.sections.environment import busy, by_counter
from reports.sections.pictures import Caption, picture
from reports.sections.section import Findings, heading
from reports.sections.tables import cost_table

CAPTION = Caption(
    "cost",
    "Cost per gradient",
    "Cost of one minibatch gradient on this machine. The axes are logarithmic.",
    TIME,
)


class Cost:
    """Seconds, throughput and memory."""

    anchor = "cost"
    title = "Cost per gradient"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section: a picture and a table a group, after what is to be known of the machine."""
        tables = {group.title: cost_table(group) for group in found.groups}
        timed = [group for group in found.groups if tables[group.title].rows]
        if not timed:
            return []
        runs = {group.run.name: group.run for group in timed}
        warnings = [warn(run) for run in runs.values() for warn in (busy, by_counter)]
        blocks: list[Block] = [Paragraph(said) for said in warnings if said]
        for group in timed:
            shown = [picture(CAPTION, group, draw.cost)] if cost_metrics(group) else []
            blocks += [heading(self.anchor, group), *shown, tables[group.title]]
        if not any(group.has("memory.") for group in found.groups):
            blocks.append(Paragraph("Peak memory was not measured."))
        return blocks
