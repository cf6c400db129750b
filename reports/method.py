"""How it was measured, what became of each cell, and on what machine."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from reports.document import Block, Bullets, Code, Heading, Paragraph, Table
from reports.groups import Group
from reports.load import Results, Run, one_line
from reports.numbers import MISSING, percent
from reports.terms import definitions

CELL = ("problem", "checkpoint", "batch", "estimator", "measure")
GOOD = ("ok", "converged")


def outcome_blocks(results: Results) -> list[Block]:
    """Say what failed, was bounded or stopped early, and why; and why the others stopped."""
    blocks: list[Block] = []
    for run in results.runs.values():
        if results.several:
            blocks.append(Heading(run.name))
        rows = outcome_rows(results, run)
        if rows:
            columns = [*CELL, "status", "why", "n", "seconds"]
            note = (
                "'bounded': reached its bound of draws before the requested precision; no failure."
            )
            blocks.append(Table(columns, rows, f"Cells that did not simply converge; {note}"))
        else:
            blocks.append(Paragraph("Nothing failed, was bounded or stopped early."))
        if run.cells:
            blocks.append(Paragraph(tally(run), lead="All cells: "))
    return blocks


def outcome_rows(results: Results, run: Run) -> list[list[str]]:
    """List the cells with an outcome other than converged, and why."""
    causes = failed_rows(results, run)
    rows = []
    for cell in run.cells:
        key = tuple(str(cell.get(k, "")) for k in ("problem", "checkpoint", "batch_size"))
        key = (*key, str(cell.get("estimator", "")), str(cell.get("measure", "")))
        cause = causes.pop(key, "")
        if str(cell.get("status")) not in GOOD or cause or stopped_early(cell):
            why = " – ".join(dict.fromkeys(x for x in (str(cell.get("reason") or ""), cause) if x))
            status = str(cell.get("status") or "failed")
            rows.append(
                [*key, status, one_line(why) or MISSING, number(cell, "n"), number(cell, "seconds")]
            )
    rows += [
        [*key, "failed", one_line(cause) or MISSING, MISSING, MISSING]
        for key, cause in causes.items()
    ]
    return sorted(rows, key=lambda row: ("failed", "bounded").index(row[5]) if row[5] in
                  ("failed", "bounded") else 2)  # fmt: skip


def failed_rows(results: Results, run: Run) -> dict[tuple[str, ...], str]:
    """Return the causes that the results give for failed cells, by cell."""
    frame = results.frame
    rows = frame[(frame["run"] == run.name) & (frame["status"] == "failed")]
    found: dict[tuple[str, ...], str] = {}
    for row in rows.itertuples(index=False):
        got: Any = row
        key = (got.problem, got.checkpoint, str(int(got.batch_size)), got.label, got.metric)
        found.setdefault(key, got.message)
    return found


def stopped_early(cell: dict[str, Any]) -> bool:
    """Whether a cell that is done says that it stopped before its schedule was through."""
    reason = str(cell.get("reason") or "").lower()
    return any(word in reason for word in ("early", "zero", "interrupt", "diverge"))


def number(cell: dict[str, Any], key: str) -> str:
    """Write a number of a cell, or that there is none."""
    value = cell.get(key)
    return f"{value:.4g}" if isinstance(value, (int, float)) and value == value else MISSING


def tally(run: Run) -> str:
    """Count the cells by status and reason."""
    counts = Counter((str(c.get("status")), one_line(c.get("reason") or "")) for c in run.cells)
    said = [
        f"{count} {status}{f' ({reason})' if reason and status in GOOD else ''}"
        for (status, reason), count in merge(counts).items()
    ]
    return f"{'; '.join(said)}."


def merge(counts: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Put the cells without a figure together whatever their reason, which the table gives."""
    merged: Counter[tuple[str, str]] = Counter()
    for (status, reason), count in counts.items():
        merged[status, reason if status in GOOD else ""] += count
    return merged


def method_blocks(results: Results, groups: list[Group]) -> list[Block]:
    """Say in plain words what the figures mean and how they were got."""
    runs = list(results.runs.values())
    levels = " and ".join(dict.fromkeys(percent(run.level) for run in runs))
    bases = ", ".join(dict.fromkeys(run.baseline for run in runs if run.baseline)) or "none"
    blocks: list[Block] = [Bullets(definitions(results.frame, levels, bases))]
    rows = [declaration(label, said) for label, said in declared(runs).items()]
    if rows:
        columns = [
            "estimator",
            "objective",
            "unbiased",
            "examples independent",
            "version",
            "what it is",
        ]
        blocks.append(Table(columns, rows, "The estimators, as each declares itself."))
    blocks += problem_table(runs)
    return blocks


def declaration(label: str, said: dict[str, Any]) -> list[str]:
    """Write what one estimator declares of itself."""
    yes = {True: "yes", False: "no"}
    return [
        label,
        str(said.get("objective") or MISSING),
        yes[bool(said.get("unbiased"))],
        yes[bool(said.get("independent_examples"))],
        str(said.get("version") or MISSING),
        str(said.get("summary") or MISSING),
    ]


def declared(runs: list[Run]) -> dict[str, dict[str, Any]]:
    """Collect the declarations of all runs' estimators; those of the first run that has one."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        for label, declaration in run.estimators.items():
            found.setdefault(label, declaration)
    return found


def problem_table(runs: list[Run]) -> list[Block]:
    """Describe the problems."""
    keys = ("description", "dataset", "examples", "parameters", "parameterization", "prior")
    rows: dict[str, list[str]] = {}
    for run in runs:
        for name, problem in (run.info.get("problems") or {}).items():
            rows.setdefault(name, [name, *(str(problem.get(key) or MISSING) for key in keys)])
    return [Table(["problem", *keys], list(rows.values()), "The problems.")] if rows else []


def environment_blocks(results: Results) -> list[Block]:
    """Give the command, the environment, the versions and the state of the source."""
    blocks: list[Block] = []
    for run in results.runs.values():
        if results.several:
            blocks.append(Heading(run.name))
        if run.info.get("command"):
            blocks += [Paragraph("To run it again:"), Code(str(run.info["command"]))]
        rows = [["seed", str(run.info.get("seed", MISSING))]]
        for key in ("started", "finished", "wall_seconds", "device", "threads"):
            if run.info.get(key) is not None:
                rows.append([key.replace("_", " "), plain(run.info[key])])
        for key in ("git", "versions", "environment"):
            rows += flat(run.info.get(key) or {}, "" if key == "environment" else f"{key} ")
        blocks.append(Table(["what", "value"], rows, "The environment, as recorded with the run."))
    return blocks


def flat(tree: Any, prefix: str) -> list[list[str]]:
    """Flatten nested records to rows of name and value."""
    if not isinstance(tree, dict):
        return [[prefix.strip(), plain(tree)]]
    rows = []
    for key, value in tree.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        rows += flat(value, f"{name} ") if isinstance(value, dict) else [[name, plain(value)]]
    return rows


def plain(value: Any) -> str:
    """Write a recorded value."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: MISSING}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
