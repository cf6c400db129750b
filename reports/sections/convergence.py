"""Convergence of short trainings: the ELBO by step and by second, and where training ended."""

from __future__ import annotations

from reports.document import Block, Heading
from reports.figures import draw
from reports.results.elbo import is_cut, scales_of
from reports.results.groups import Group
from reports.sections.pictures import Caption, picture
from reports.sections.tables import training_table
from reports.words.numbers import slug

CAPTION = Caption(
    "training",
    "ELBO during training",
    "ELBO of the training set, evaluated in the same way for all estimators, by step and by seconds of training. "
    "Lines are means over training seeds, bands their intervals. The panel by seconds begins at the first evaluation "
    "after step 0.",
    "convergence.final_elbo",
    "training",
)
CUT = " The first, steep steps are outside the axis range."


def convergence_blocks(groups: list[Group]) -> list[Block]:
    """Show ELBO curves, and where training ended; once for groups that share their training."""
    blocks: list[Block] = []
    seen: set[tuple[object, ...]] = set()
    for group in groups:
        key = (group.run.name, group.problem, *group.curves.index)
        table = training_table(group)
        if key in seen or not (table.rows or len(group.curves)):
            continue
        seen.add(key)
        run = f"{group.run.name} · " if group.without_run != group.title else ""
        title = f"{run}{group.problem}"
        more = CUT if is_cut(group) else ""
        shown = [picture(CAPTION, group, draw.curves, more)] if scales_of(group) else []
        blocks += [Heading(title, slug(f"training {title}")), *shown]
        blocks += [table] if table.rows else []
    return blocks
