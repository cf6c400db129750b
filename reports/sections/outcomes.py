"""What became of each cell."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from reports.document import Block, Heading, Paragraph, Table
from reports.results.load import EAGER, Results, Run, one_line
from reports.sections.section import Findings
from reports.sections.settle import again, more_units
from reports.words.numbers import MISSING, format_number

CELL = ("problem", "checkpoint", "M", "estimator", "measure")
GOOD = ("ok", "converged")


class Outcomes:
    """Which cells did not simply converge, and why."""

    anchor = "outcome"
    title = "Failed and incomplete measurements"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section."""
        return outcome_blocks(found.results)


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
                "'bounded' stopped at its limit (of units, rounds or seconds) before the requested precision, which is "
                "not a failure."
            )
            blocks.append(Table(columns, rows, f"Failed and incomplete measurements. {note}"))
            blocks += again(run) if any(row[5] == "failed" for row in rows) else []
            blocks += more_units("To reach the precision asked for: ", bounded(run), run, False)
        else:
            said = "Every measurement succeeded, and reached the precision where one was asked for."
            blocks.append(Paragraph(said))
        if run.cells:
            blocks.append(Paragraph(tally(run), lead="All measurements: "))
        blocks += damage(run)
        blocks += apart(run)
    return blocks


def apart(run: Run) -> list[Block]:
    """Say where cells were not isolated from each other, and where trainings ran beside other cells."""
    blocks: list[Block] = []
    isolation = run.info.get("isolation")
    if isinstance(isolation, dict) and not isolation.get("processes"):
        said = (
            f"All cells were measured in one process: {isolation.get('why')}. What an estimator is handed was "
            "checked before anything was stored."
        )
        blocks.append(Paragraph(said, lead="Not isolated: "))
    jobs = run.info.get("jobs")
    trained = any(cell.get("measure") == "training" for cell in run.cells)
    if isinstance(jobs, int) and jobs > 1 and trained:
        said = (
            f"Up to {jobs} cells were measured at a time, so that trainings took longer than alone."
        )
        blocks.append(Paragraph(said, lead="Seconds of trainings: "))
    return blocks


def bounded(run: Run) -> list[tuple[int, int]]:
    """Return for each variance that stopped at max_units the units that its precision takes, and those it had."""
    measures: dict[str, Any] = (run.info.get("suite") or {}).get("measures") or {}
    known = measures.get("variance")
    precision = known.get("precision") if isinstance(known, dict) else None
    found = []
    for cell in run.cells:
        width, units = (cell["detail"].get(key) for key in ("width", "units"))
        stopped = cell.get("measure") == "variance" and cell["detail"].get("stop") == "max_units"
        aim = cell["detail"].get("aim", precision)
        if stopped and aim and width and units:
            found.append((math.ceil(units * (width / aim) ** 2), int(units)))
    return found


def damage(run: Run) -> list[Block]:
    """List the files that were damaged and set aside, and count those that could not be checked in full."""
    blocks: list[Block] = []
    found = [entry for entry in run.info.get("damaged") or [] if isinstance(entry, dict)]
    if found:
        rows = [[str(entry.get(key, "")) for key in ("file", "why", "kept")] for entry in found]
        files = "1 file was" if len(rows) == 1 else f"{len(rows)} files were"
        said = f"{files} damaged and set aside. No figure comes from them: what was needed was made again."
        blocks.append(Table(["file", "why", "kept as"], rows, said))
    if unsealed := run.info.get("unsealed"):
        files = "1 file has" if unsealed == 1 else f"{unsealed} files have"
        blocks.append(
            Paragraph(
                f"{files} no checksum: an earlier version of vdbench wrote them. Their addresses were checked.",
                lead="Not checked in full: ",
            )
        )
    return blocks


def outcome_rows(results: Results, run: Run) -> list[list[str]]:
    """List the cells with an outcome other than converged, and why."""
    causes = failed_rows(results, run)
    rows = []
    for cell in run.cells:
        key = tuple(str(cell.get(k, "")) for k in ("problem", "checkpoint", "batch_size"))
        mode = f" ({cell['mode']})" if cell.get("mode") else ""
        key = (*key, str(cell.get("estimator", "")), str(cell.get("measure", "")) + mode)
        cause = causes.pop(key, "")
        if str(cell.get("status")) not in GOOD or cause or early(cell) or cell.get("kept"):
            why = " – ".join(dict.fromkeys(x for x in (why_stopped(cell), cause) if x))
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
        mode = f" ({got.mode})" if got.mode not in ("", EAGER) else ""
        where = (got.problem, got.checkpoint, str(int(got.batch_size)))
        key = (*where, got.label, f"{got.metric}{mode}")
        found.setdefault(key, got.message)
    return found


def early(cell: dict[str, Any]) -> dict[int, int]:
    """Return the last epoch of each seed whose training stopped early, by seed."""
    epochs = cell["detail"].get("stopped_early") or []
    return {seed: epoch for seed, epoch in enumerate(epochs) if epoch is not None}


def why_stopped(cell: dict[str, Any]) -> str:
    """Say why a cell stopped: from its facts where it has them, else as the run put it."""
    detail, early_ones = cell["detail"], early(cell)
    if cell.get("kept"):
        return (
            f"figures of an earlier session are kept; the last one failed: {one_line(cell['kept'])}"
        )
    if early_ones:
        seeds = ", ".join(f"seed {seed} at epoch {epoch}" for seed, epoch in early_ones.items())
        best = detail.get("best")
        kept = f"; best epochs: {', '.join(map(str, best))}" if best else ""
        return f"training stopped early: {seeds}{kept}"
    if detail.get("stop") == "precision":
        return "requested precision reached"
    if detail.get("stop") == "max_units":
        width = ""
        if "width" in detail and "widest" in detail:
            half = format_number(100 * detail["width"], 2)
            width = f"; widest interval ±{half} %, {detail['widest']}"
            if "aim" in detail:  # of those that are to be narrow: others may be wider
                aim = format_number(100 * detail["aim"], 2)
                width = f"; {detail['widest']} has ±{half} %, ±{aim} % asked"
        if "needed" in detail:
            widest, needed = detail.get("widest", ""), format_number(detail["needed"])
            width = f"; too few units for these tails, {widest}; about {needed} would do"
        return f"max_units ({detail['units']:,}) reached{width}"
    return one_line(cell.get("reason") or "")


def number(cell: dict[str, Any], key: str) -> str:
    """Write a number of a cell, or that there is none."""
    value = cell.get(key)
    return format_number(value) if isinstance(value, (int, float)) else MISSING


def tally(run: Run) -> str:
    """Count the cells of each measure by status, and by why they stopped where they have values."""
    counts: dict[str, Counter[str]] = {}
    for cell in run.cells:
        status, why = str(cell.get("status")), why_stopped(cell)
        said = f"{status} ({why})" if why and status in GOOD else status
        counts.setdefault(str(cell.get("measure", "")), Counter())[said] += 1
    parts = (f"{measure}: {', '.join(f'{n} {said}' for said, n in found.items())}"
             for measure, found in counts.items())  # fmt: skip
    return f"{'; '.join(parts)}."
