"""The tables about vdbench itself, and how its rows are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.document import Table
from reports.results.groups import estimate_of
from reports.results.instrument import claimed, rows_of
from reports.sections.table_parts import drop_empty
from reports.words.glossary import role_name
from reports.words.numbers import MISSING, percent, show, span

if TYPE_CHECKING:
    import pandas as pd


def of(row: Any) -> str:
    """Say what a row is of."""
    metric = row.metric.partition(".")[2].removeprefix("pooled.")
    layer = "all layers" if row.layer == "all" else row.layer
    parts = [whose(row), role_name(row.role) if row.role != "all" else "", layer]
    where = ", ".join(part for part in parts if part)
    return f"{metric} ({where}{f', to {row.against}' if is_label(row.against) else ''})"


def is_label(against: str) -> bool:
    """Whether a row is against an estimator, and not against runs at a precision."""
    return bool(against) and not against.startswith("precision=")


def whose(row: Any) -> str:
    """Name the estimator of a row, or all of them where it is pooled."""
    return "every estimator" if ".pooled." in row.metric or not row.label else str(row.label)


def share(row: Any) -> str:
    """Write a share with its interval, as a percentage."""
    return f"{show(estimate_of(row).scaled(100), 100)} %"


def coverage_table(rows: pd.DataFrame) -> Table:
    """Build the table of coverage by metric: the smallest share, and what the tests said."""
    cells = []
    found = rows_of(rows, "coverage.")
    for metric in dict.fromkeys(row.metric for row in found):
        mine = [row for row in found if row.metric == metric]
        least = min(mine, key=lambda row: row.value)
        mean = sum(row.value for row in mine) / len(mine)
        counts = [str(sum(row.status == x for row in mine)) for x in ("rejected", "coarse")]
        cells.append([metric.removeprefix("coverage."), percent(claimed(least, 0.95)),
                      str(len(mine)), f"{100 * mean:.2f} %", share(least),
                      of(least).partition("(")[2].rstrip(")"), *counts])  # fmt: skip
    columns = [
        "interval of",
        "claimed",
        "rates",
        "mean",
        "lowest",
        "lowest for",
        "rejected",
        "undecided",
    ]
    said = f"Coverage by metric; {span(int(row.n) for row in found)} repetitions per rate. " * bool(
        cells
    )
    note = "Rejected: the hypothesis that coverage is at least the claimed level, adjusted for multiple comparisons."
    return Table(columns, cells, f"{said}{note}")


def table_of(rows: list[Any], caption: str, heading: str = "share") -> Table:
    """Build a table of some rows as they are: what, of what, share, n, and what was said."""
    cells = [
        [
            row.metric.partition(".")[2], whose(row), role_name(row.role), row.layer,
            row.against or MISSING,
            share(row) if heading == "share" else show(estimate_of(row), 1),
            f"{int(row.n):,}", row.message or MISSING,
        ]
        for row in rows
    ]  # fmt: skip
    columns = ["metric", "estimator", "parameter", "layer", "compared with", heading, "n", "test"]
    return drop_empty(Table(columns, cells, caption, folded=len(cells) > 12))


def all_coverage(rows: pd.DataFrame, level: float) -> Table:
    """Build the table of every figure of coverage."""
    return table_of(rows_of(rows, "coverage."),
                    f"Coverage in full; intervals at {percent(level)}.")  # fmt: skip


def stops_table(rows: pd.DataFrame, level: float) -> Table:
    """Build the table of where runs stopped: an estimator a row, a look a column."""
    found = rows[rows["metric"].isin(["coverage.stopped_at", "coverage.converged"])]
    looks = sorted(found["step"].dropna().unique())
    cells = []
    for label in dict.fromkeys(found["label"]):
        mine = found[found["label"] == label]
        at = {row.step: share(row) for row in mine.itertuples(index=False)}
        reached = [share(r) for r in mine[mine["step"].isna()].itertuples(index=False)]
        cells.append([label, *(at.get(look, "0 %") for look in looks), *(reached or [MISSING])[:1]])
    columns = ["estimator", *(f"stopped at {look:,.0f}" for look in looks), "precision reached"]
    return Table(
        columns,
        cells,
        f"Number of units at which runs stopped, as shares; intervals at {percent(level)}.",
    )


def widths_table(rows: pd.DataFrame, level: float) -> Table:
    """Build the table of how wide intervals are against those of one look at the same n."""
    said = (
        "Width of the intervals relative to fixed-sample intervals at the same n; "
        f"intervals at {percent(level)}."
    )
    return table_of(rows_of(rows, "width."), said, "width ×")


def alarms_table(rows: pd.DataFrame, level: float) -> Table:
    """Build the table of false alarms, those over all estimators first."""
    found = sorted(rows_of(rows, "false_alarms."), key=lambda row: ".pooled." not in row.metric)
    said = (
        "False alarms: comparisons of an estimator with itself under another seed that find a significant "
        f"difference; intervals at {percent(level)}."
    )
    return table_of(found, said)


def power_table(rows: pd.DataFrame, level: float) -> Table:
    """Build the table of power: a comparison a row, a planted difference a column."""
    found = rows_of(rows, "power.")
    steps = sorted({row.step for row in found if row.step == row.step})
    cells: dict[tuple[str, ...], dict[float, str]] = {}
    for row in found:
        key = (row.metric.partition(".")[2], row.label, role_name(row.role), row.layer, row.against)
        cells.setdefault(key, {})[row.step] = share(row)
    said = (
        f"Power: share of planted differences that are found significant in the right direction; "
        f"intervals at {percent(level)}."
    )
    columns = [
        "metric",
        "estimator",
        "parameter",
        "layer",
        "runs at",
        *(f"+{percent(x)}" for x in steps),
    ]
    table = [[*key, *(at.get(step, MISSING) for step in steps)] for key, at in cells.items()]
    return Table(columns, table, said, folded=len(table) > 12)


TABLES = (all_coverage, stops_table, widths_table, alarms_table, power_table)
"""The tables of the section, after that of coverage by metric."""
