"""The headline table for a terminal."""

from __future__ import annotations

from rich.console import Group as RichGroup
from rich.table import Table
from rich.text import Text

from reports.results.groups import Group
from reports.results.ranking import EFFICIENCY, VARIANCE, order
from reports.sections.headline import PLACES
from reports.sections.summary_table import ratio_text
from reports.sections.table_parts import notes
from reports.words.numbers import MISSING, show_seconds


def terminal_tables(groups: list[Group]) -> RichGroup:
    """Build one table for each group; none where they are more than a reader would scroll through."""
    if len(groups) > PLACES:
        return RichGroup(Text(f"The tables of {len(groups)} places are in the report."))
    return RichGroup(*(terminal_table(group) for group in groups))


def terminal_table(group: Group) -> Table:
    """Build the table of one group: a row an estimator, intervals on a second line; without what nobody measured.

    Marks of its cells are explained below it.
    """
    roles = group.headline_roles()
    heads = [
        *(f"variance {role}\n× {group.baseline}" for role in roles),
        "time per\ngradient",
        *(f"variance\n× time, {role}\n× {group.baseline}" for role in roles),
    ]
    rows = [terminal_row(group, label, roles) for label in order(group)]
    kept = [n for n in range(len(heads)) if any(row[n + 1] != MISSING for row in rows)]
    said = notes([group], [[row[0], *(row[n + 1] for n in kept)] for row in rows])
    table = Table(
        title=Text(group.title),
        title_justify="left",
        caption=Text("\n".join(said)) if said else None,
        caption_justify="left",
    )
    table.add_column("estimator", overflow="fold")
    for n in kept:
        table.add_column(Text(heads[n]))
    for name, *cells in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in (name, *(cells[n] for n in kept))))
    return table


def terminal_row(group: Group, label: str, roles: list[str]) -> list[str]:
    """Write the cells of one estimator, its name first."""
    why = "biased, not ranked" if group.biases(label) else "not ranked"
    return [
        label if group.ranked(label) else f"{label} ({why})",
        *(ratio_cell(group, VARIANCE, label, role) for role in roles),
        time_cell(group, label),
        *(ratio_cell(group, EFFICIENCY, label, role) for role in roles),
    ]


def ratio_cell(group: Group, metric: str, label: str, role: str) -> str:
    """Write a ratio to the baseline in two lines; 1 for the baseline itself."""
    return two_lines(ratio_text(group, metric, label, role))


def time_cell(group: Group, label: str) -> str:
    """Write the time of a gradient in two lines, the unit on both."""
    text = show_seconds(group.get(label, "time.seconds_per_gradient"))
    value, bracket, interval = text.partition(" [")
    return f"{value} {text.rpartition(' ')[2]}\n[{interval}" if bracket else text


def two_lines(text: str) -> str:
    """Put an interval under its figure."""
    return text.replace(" [", "\n[", 1)
