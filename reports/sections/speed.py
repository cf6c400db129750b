"""How time and memory go with the minibatch size."""

from __future__ import annotations

from functools import partial

from reports.document import Block, Heading, Picture, Table
from reports.figures import draw
from reports.results.size_lines import MEMORY, TIME, cost_frames
from reports.results.sweeps import MINIBATCH, Sweep
from reports.sections.section import Findings
from reports.sections.table_parts import drop_empty
from reports.sections.tables import EPOCH
from reports.words.numbers import MISSING, percent, show, show_bytes, show_seconds, slug


class Speed:
    """Time and memory against the minibatch size."""

    anchor = "speed"
    title = "Time and memory against minibatch size"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section; nothing where time was measured at one size alone."""
        return speed_blocks(found.sweeps)


def speed_blocks(sweeps: list[Sweep]) -> list[Block]:
    """Show time and memory against the minibatch size."""
    blocks: list[Block] = []
    for sweep in sweeps:
        if sweep.axis == MINIBATCH and sweep.has(TIME, least=2):
            blocks.append(Heading(sweep.title, slug(f"speed {sweep.title}")))
            blocks += [speed_picture(sweep), speed_table(sweep)]
    return blocks


def speed_picture(sweep: Sweep) -> Picture:
    """Make the picture of time and memory against the minibatch size."""
    what = f"Time per gradient against {sweep.over}"
    said = (
        f"{what}. The axes are logarithmic. Medians with intervals at {percent(sweep.first.run.level)}, "
        "for this machine only."
    )
    name, alt = slug(f"speed {sweep.title}"), f"{what}, {sweep.title}"
    return Picture(name, said, alt, partial(draw.lines, sweep, cost_frames(sweep)))


def speed_table(sweep: Sweep) -> Table:
    """Build the table of what a gradient and an epoch cost at each minibatch size."""
    base = sweep.first.baseline
    columns = {
        TIME: ("time per gradient", show_seconds),
        f"ratio.{TIME}": (f"ratio to {base}", lambda e: show(e, 1)),
        "time.seconds_per_epoch": ("time per epoch", show_seconds),
        MEMORY: ("peak memory", show_bytes),
    }
    rows = []
    for size in sweep.sizes:
        for label, places in sweep.places.items():
            if size in places:
                group, name = places[size]
                cells = [write(group.get(name, metric)) for metric, (_, write) in columns.items()]
                if set(cells) != {MISSING}:
                    rows.append([f"{size:,}", label, *cells])
    said = f"Intervals at {percent(sweep.first.run.level)}. {EPOCH}"
    names = ["minibatch size M", "estimator", *(name for name, _ in columns.values())]
    return drop_empty(Table(names, rows, said, folded=len(rows) > 30))
