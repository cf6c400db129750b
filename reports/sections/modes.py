"""What a gradient costs in each execution mode, and where the device waits for Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.document import Block, Heading, Paragraph, Table
from reports.results.groups import estimate_of
from reports.results.load import EAGER, ranked
from reports.sections.section import Findings
from reports.sections.table_parts import drop_empty
from reports.words.numbers import MISSING, show, show_seconds, slug

if TYPE_CHECKING:
    import pandas as pd

TIME, BUSY, RATIO = "time.seconds_per_gradient", "time.busy_share", "mode.seconds_per_gradient"
FAILED = "throughput"
"""Metric of the row that a failed cell leaves."""

EXPLAINED = (
    "eager: every operation is called from Python, as by a plain training loop. graph: the same operations recorded as "
    "a CUDA graph and replayed, which is what the device needs. compile: torch.compile. The ratio is to eager, paired "
    "round by round. Busy is the share of the time in which the device computes; where it is below one half, the cell "
    "is launch-bound: its time is that of calls from Python, and says little of the estimator."
)

PLACE = ["run", "problem", "checkpoint", "batch_size", "precision", "device"]


class Modes:
    """Seconds in every mode, where there are several or it is known how busy the device was."""

    anchor = "modes"
    title = "Execution modes"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section."""
        frame = found.results.modes
        if frame is None or not told(frame):
            return []
        by = {name: ranked(run.info) for name, run in found.results.runs.items()}
        chosen = ", ".join(dict.fromkeys(by.values()))
        blocks: list[Block] = [Paragraph(f"{EXPLAINED} Rankings are by {chosen}.")]
        places = list(frame.groupby(PLACE, sort=False))
        for key, rows in places:
            if len(places) > 1:
                run, problem, checkpoint, size, *_ = map(str, key)
                title = f"{problem} · checkpoint {checkpoint} · batch {float(size):.0f}"
                blocks.append(Heading(title, slug(f"modes {run} {title}")))
            blocks.append(table(rows))
        return blocks


def told(frame: pd.DataFrame) -> bool:
    """Whether there is more to say than the seconds of one mode."""
    return bool(frame["mode"].nunique() > 1 or (frame["mode"] != EAGER).any() or
                (frame["metric"] == BUSY).any())  # fmt: skip


def table(rows: pd.DataFrame) -> Table:
    """Build the table of a place: an estimator and a mode a row."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in rows.itertuples(index=False):
        row: Any = each
        if row.metric in (TIME, BUSY, RATIO, FAILED):
            found.setdefault((row.label, row.mode), {})[row.metric] = row
    lines = [[label, mode, *cells(mine)] for (label, mode), mine in found.items()]
    lines.sort(key=lambda line: list(dict.fromkeys(rows["label"])).index(line[0]))
    level = next((row[TIME].level for row in found.values() if TIME in row), 0.95)
    caption = f"Time per gradient by execution mode; medians with intervals at {100 * level:g} %."
    columns = ["estimator", "mode", "time per gradient", "ratio to eager", "busy", "remark"]
    return drop_empty(Table(columns, lines, caption))


def cells(mine: dict[str, Any]) -> list[str]:
    """Write what is known of an estimator in a mode."""
    if FAILED in mine:
        return ["failed", MISSING, MISSING, str(mine[FAILED].message)]
    time, ratio, share = (estimate_of(mine[x]) if x in mine else None for x in (TIME, RATIO, BUSY))
    bound = share is not None and share.detail.get("launch_bound")
    remark = "launch-bound" if bound else MISSING
    return [show_seconds(time), show(ratio, 1), show(share), remark]
