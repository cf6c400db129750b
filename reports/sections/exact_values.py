"""Exact values next to ours: how many of our intervals contain the value that is known."""

from __future__ import annotations

import math

from reports.document import Block, Bullets, Heading, Paragraph, Table
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.published import EXACT, Published, published_of
from reports.sections.section import Findings
from reports.words.glossary import role_name
from reports.words.numbers import format_number, percent, show, slug

Pair = tuple[Published, Estimate]


class ExactValues:
    """Known values compared with ours, where a suite gives any."""

    anchor = "exact"
    title = "Comparison with exact values"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section; nothing where no suite has exact values."""
        return exact_blocks(found.groups)


def exact_blocks(groups: list[Group]) -> list[Block]:
    """Show exact values next to ours; nothing where no suite has any.

    Args:
        groups: The groups of the report.
    """
    found = [(group, pairs) for group in groups if (pairs := pairs_of(group))]
    if not found:
        return []
    every = [(group, pair) for group, pairs in found for pair in pairs]
    known = [(group, pair) for group, pair in every if ended(pair[1])]
    held = sum(holds(group, *pair) for group, pair in known)
    level = percent(found[0][0].run.level)
    notes = dict.fromkeys(f"{figure.note}." for _, (figure, _) in every if figure.note)
    said = (
        f"Our intervals at {level} contain {held} of {len(known)} exact values. A variance that is exactly 0 counts "
        "as contained if it was measured as 0 up to rounding error."
    )
    if len(known) < len(every):
        said += f" {len(every) - len(known)} have no interval: too few units for their tails."
    blocks: list[Block] = [Paragraph(said), Bullets([("Exact:", note) for note in notes])]
    for group, pairs in found:
        blocks += [Heading(group.title, slug(f"exact {group.title}")), exact_table(group, pairs)]
    return blocks


def pairs_of(group: Group) -> list[Pair]:
    """Return the exact figures of a group's place that it has figures of, with ours."""
    found = []
    for figure in published_of(group.run):
        if figure.source == EXACT and figure.of(group):
            ours = group.get(figure.estimator, figure.metric, figure.layer, figure.role)
            found += [(figure, ours)] if ours is not None and ours.measured else []
    return found


def holds(group: Group, figure: Published, ours: Estimate) -> bool:
    """Whether our interval holds the exact value."""
    nothing = figure.value == 0 and group.dust(figure.estimator, figure.role)
    return nothing or ours.low <= figure.value <= ours.high


def ended(ours: Estimate) -> bool:
    """Whether there is an interval that says something."""
    return math.isfinite(ours.low) and math.isfinite(ours.high)


def exact_table(group: Group, pairs: list[Pair]) -> Table:
    """Build the table of exact figures and ours, role by role."""
    rows = [
        [role_name(figure.role), figure.estimator, format_number(figure.value), show(ours),
         ("yes" if holds(group, figure, ours) else "no") if ended(ours) else "no interval"]
        for figure, ours in sorted(pairs, key=lambda pair: pair[0].role)
    ]  # fmt: skip
    said = f"Variance (gradient²); our intervals at {percent(group.run.level)}."
    columns = ["parameter", "estimator", "exact", "ours", "contained"]
    return Table(columns, rows, said, folded=len(rows) > 12)
