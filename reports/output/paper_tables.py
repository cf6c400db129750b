"""The tables of a paper: what each shows, with captions that stand by themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from reports.document import Table
from reports.output.html import is_figure
from reports.output.latex import NARROW, latex, wrap
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.load import Run
from reports.results.published import matches_of
from reports.results.size_lines import TIME
from reports.results.sweeps import MINIBATCH, Sweep
from reports.sections.environment import FACTS, fact
from reports.sections.published_tables import figure_table, order_tables
from reports.sections.scaling import slope_table
from reports.sections.speed import speed_table
from reports.sections.tables import EPOCH, PARTS, RATIOS, layer_table
from reports.words.glossary import COORDINATES, ROLES, role_name, with_respect
from reports.words.numbers import MISSING, percent, show, slug, time_unit

LONGEST = 54
"""Lines that a page holds besides its caption; longer tables are split."""


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper.

    Attributes:
        stem: Name of its file without ending, unique in the report.
        table: The table, its caption complete.
        blocks: How many leading columns are said once for the rows that share them.
    """

    stem: str
    table: Table
    blocks: int = 0


def write_tex(groups: list[Group], sweeps: list[Sweep], folder: Path) -> None:
    """Write each table as a LaTeX float of its own, beside the CSV files.

    Args:
        groups: The groups of the report.
        sweeps: What was measured at several sizes.
        folder: Where the files go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: Counter[str] = Counter()
    for item in paper_tables(groups, sweeps):
        suite = next(iter(groups)).run.info.get("suite") or {}
        taken[item.stem] += 1
        # names that differ in punctuation give the same one
        stem = item.stem if taken[item.stem] == 1 else f"{item.stem}-again-{taken[item.stem]}"
        label = slug(f"{suite.get('name') or ''} {stem}")
        text = latex(item.table, label, item.blocks)
        (folder / f"{stem}.tex").write_text(text, encoding="utf-8", newline="\n")


def paper_tables(groups: list[Group], sweeps: list[Sweep]) -> Iterator[PaperTable]:
    """Make the tables; those of several groups have the group's name in theirs."""
    for group in groups:
        end = f" {group.title}" if len(groups) > 1 else ""
        for part in (variance, ratios, costs, published):
            yield from split(part(group), end)
    minibatches = [sweep for sweep in sweeps if sweep.axis == MINIBATCH]
    for sweep in sweeps:
        alone = len(minibatches if sweep.axis == MINIBATCH else sweeps) == 1
        yield from split(slopes(sweep), "" if alone else f" {sweep.axis} {sweep.title}")
    for sweep in minibatches:
        if sweep.has(TIME, least=2):
            end = "" if len(minibatches) == 1 else f" {sweep.title}"
            yield from split(iter([PaperTable("speed", speed(sweep), 1)]), end)


def split(tables: Iterator[PaperTable], end: str) -> Iterator[PaperTable]:
    """Leave out empty tables, cut long ones, and complete the names."""
    for item in tables:
        pages = cut(item.table.rows)
        for page, rows in enumerate(pages, 1):
            number = f" {page}" if len(pages) > 1 else ""
            part = replace(item.table, rows=rows)
            said = f"{part.caption} (Part{number}.)" if number else part.caption
            stem = slug(f"{item.stem}{end}{number}").replace(".", "-")  # TeX ends names at dots
            yield PaperTable(stem, replace(part, caption=said), item.blocks)


def cut(rows: list[list[str]]) -> list[list[list[str]]]:
    """Cut rows into pages, counting the lines that their longest names may take."""
    pages: list[list[list[str]]] = []
    room = 0
    for row in rows:
        lines = max(len(wrap(x, NARROW)) for x in row if not is_figure(x))
        if room < lines:
            pages.append([])
            room = LONGEST
        pages[-1].append(row)
        room -= lines
    return pages


def variance(group: Group) -> Iterator[PaperTable]:
    """Total, noise and data variance, a table a role."""
    for role, table in by_role(layer_table(group, PARTS, "")):
        what = (
            f"Variance of the minibatch gradient {with_respect(role)}: total, noise part, data part"
        )
        yield PaperTable(f"variance {role_name(role)}", finished(group, what, table), 1)


def ratios(group: Group) -> Iterator[PaperTable]:
    """Paired ratios to the baseline, a table a role."""
    for role, table in by_role(layer_table(group, RATIOS, "", apart=1)):
        what = (
            f"Variance of the minibatch gradient {with_respect(role)}, relative to that of "
            f"{group.baseline}, paired on the same minibatches"
        )
        yield PaperTable(f"ratio {role_name(role)}", finished(group, what, table), 1)


def by_role(table: Table) -> Iterator[tuple[str, Table]]:
    """Part a table by its first column, the role, which then is in the caption."""
    for name in dict.fromkeys(row[0] for row in table.rows):
        rows = [row[1:] for row in table.rows if row[0] == name]
        role = next((role for role in ROLES if role_name(role) == name), name)
        yield role, replace(table, columns=table.columns[1:], rows=rows)


def finished(group: Group, what: str, table: Table) -> Table:
    """Complete a table of variances: caption, n, and who is not ranked."""
    counts = dict.fromkeys(row[-1] for row in table.rows)
    same = len(counts) == 1 and table.columns[-1] == "n"
    units = f"n{f' = {next(iter(counts))}' if same else ':'} units of four gradients each"
    caption = (
        f"{what}; averaged over a layer's parameters, with {percent(group.run.level)} intervals. "
        f"{setting(group)}; {units}."
    )
    if same:
        table = replace(table, columns=table.columns[:-1], rows=[row[:-1] for row in table.rows])
    said = [f"{x}: {why}." for x in group.labels if (why := group.why_not_ranked(x))]
    cells = "".join(cell for row in table.rows for cell in row)
    marks = [note for note in table.notes if note[0] in cells]
    return replace(table, caption=caption, notes=(*marks, *said))


def setting(group: Group, sized: bool = True) -> str:
    """Say what network, where in training, which minibatches, which gradient and coordinates."""
    suite = group.run.info.get("suite") or {}
    known = (group.run.info.get("problems") or {}).get(group.problem) or {}
    name = str(known.get("parameterization") or "")
    coordinates = COORDINATES.get(name, name).partition(", with")[0]
    objective = "ELBO" if suite.get("objective") == "elbo" else "N/M-scaled log-likelihood"
    parts = [
        f"Problem {group.problem}",
        f"checkpoint {group.checkpoint}",
        f"minibatches of {group.batch_size:,}" if sized else "",
        f"gradient of the {objective}",
        f"coordinates {coordinates}" if coordinates else "",
    ]
    return ", ".join(part for part in parts if part)


def machine(run: Run) -> str:
    """Say on what machine times were taken."""
    threads = fact(run, FACTS["threads"])
    said = [fact(run, FACTS["device"]), f"{threads} thread{'s' * (threads != '1')}",
            f"torch {fact(run, FACTS['torch'])}"]  # fmt: skip
    return ", ".join(text for text in said if MISSING not in text) or "machine not recorded"


def costs(group: Group) -> Iterator[PaperTable]:
    """Seconds, epochs and memory, each column in one unit."""
    times = [group.get(label, TIME) for label in group.labels]
    factor, unit = time_unit(e for e in times if e)
    columns: dict[str, tuple[str, Callable[[Estimate | None], str]]] = {
        TIME: (f"time per gradient ({unit})", lambda e: show_in(e, factor)),
        f"ratio.{TIME}": (f"ratio to {group.baseline}", lambda e: show(e, 1)),
        "time.seconds_per_epoch": ("time per epoch (s)", show),
        "memory.peak_bytes": ("peak memory (MiB)", lambda e: show_in(e, 2**-20)),
    }
    kept = {metric: told for metric, told in columns.items() if group.has(metric)}
    rows = [[x, *(write(group.get(x, m)) for m, (_, write) in kept.items())] for x in group.labels]
    said = (
        f"Cost of one minibatch gradient, with {percent(group.run.level)} intervals. "
        f"{setting(group)}. Machine: {machine(group.run)}."
    )
    if "time.seconds_per_epoch" in kept:
        said += f" {EPOCH}"
    if kept:
        names = ["estimator", *(name for name, _ in kept.values())]
        yield PaperTable("cost", Table(names, rows, said))


def show_in(estimate: Estimate | None, factor: float) -> str:
    """Write an estimate in a unit of which it has ``factor`` times as many."""
    return show(estimate.scaled(factor) if estimate and estimate.measured else estimate)


def published(group: Group) -> Iterator[PaperTable]:
    """Published values and ours, and the order of the estimators."""
    matches = matches_of(group)
    if not matches:
        return
    where, on = f" {setting(group)}.", f" Machine: {machine(group.run)}."
    timed = any(match.metric.startswith("time.") for match in matches)
    sources = "; ".join(dict.fromkeys(x.source for m in matches for x in m.theirs.values()))
    figures = figure_table(matches)
    said = f"{figures.caption} Published: {sources}.{where}{on * timed}"
    yield PaperTable("published", replace(figures, caption=said), 1)
    for name, table in order_tables(matches).items():
        said = f"{table.caption}{where}{on * (' time.' in name)}"
        yield PaperTable(f"published {name}", replace(table, caption=said), 1)


def slopes(sweep: Sweep) -> Iterator[PaperTable]:
    """Slopes and floors, a table a role."""
    for role, table in by_role(without(slope_table(sweep), "noise ∝ ")):
        said = f"Gradient {with_respect(role)}. {table.caption} {setting(sweep.first, sweep.axis != MINIBATCH)}."
        yield PaperTable(f"slopes {role_name(role)}", replace(table, caption=said), 1)


def without(table: Table, start: str) -> Table:
    """Leave out the columns whose name begins so, for width: what they say can be seen."""
    kept = [i for i, name in enumerate(table.columns) if not name.startswith(start)]
    rows = [[row[i] for i in kept] for row in table.rows]
    return replace(table, columns=[table.columns[i] for i in kept], rows=rows)


def speed(sweep: Sweep) -> Table:
    """Time and memory at each minibatch size."""
    table = speed_table(sweep)
    said = f"Cost of one gradient against the minibatch size M. {table.caption} "
    said += f"{setting(sweep.first, sized=False)}. Machine: {machine(sweep.first.run)}."
    return replace(table, caption=said)
