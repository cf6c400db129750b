"""How variance, time and memory go with the minibatch size, and variance with the samples."""

from __future__ import annotations

import re
from pathlib import Path

from reports.document import Block, Heading, Paragraph, Picture, Table
from reports.figures.draw import drawn
from reports.figures.line_plot import cost_frames, line_figure, variance_frames, zeros
from reports.results.sweeps import FITS, MINIBATCH, OPTION, SAMPLES, SYMBOL, Sweep
from reports.sections.tables import EPOCH, drop_empty, notes
from reports.words.glossary import role_name
from reports.words.numbers import MISSING, Estimate, percent, show, show_bytes, show_seconds, slug
from reports.words.verdicts import both

LAW = {
    MINIBATCH: "Noise that is independent from example to example falls as 1/M: a slope of −1, and "
    "a floor of 0. A weight sample that a minibatch shares makes its examples' noise covary, "
    "which leaves a floor that no minibatch size removes.",
    SAMPLES: "The noise part of a mean of S independent draws falls as 1/S: a slope of −1, steeper "
    "where more samples improve a baseline as well. The data part does not fall, so that the "
    "total levels off.",
    OPTION: "Each line is an estimator on problems that differ in one option alone.",
}
TIME = "time.seconds_per_gradient"


def scaling_blocks(sweeps: list[Sweep], figures: Path) -> list[Block]:
    """Show variance against M and S, with the fitted slopes and floors; nothing without them.

    Args:
        sweeps: What was measured at several sizes.
        figures: Folder for the figures' files.
    """
    blocks: list[Block] = []
    for sweep in sweeps:
        table = slope_table(sweep)
        drawing = variance_pictures(sweep, figures)
        if table.rows or drawing:
            title = f"{sweep.title}, over {sweep.over}"
            blocks += [Heading(title, slug(f"scaling {title}")), Paragraph(LAW[sweep.axis])]
            blocks += [*drawing, *([table] if table.rows else [])]
    return blocks


def variance_pictures(sweep: Sweep, figures: Path) -> list[Picture]:
    """Draw noise part and total against the size; nothing with too few sizes."""
    rows = variance_frames(sweep)
    if not rows:
        return []
    what = f"Variance against {sweep.over}"
    guide = "" if sweep.axis == OPTION else "The dotted line falls as one over the size. "
    said = (
        f"{what}, over all layers, logarithmic{' upright' * (sweep.axis == OPTION)} axes; bars are intervals at "
        f"{percent(sweep.first.run.level)}. Estimators stand a little apart at each size. "
        f"{guide}An arrow names an estimator above the axis."
    )
    small = zeros(sweep, rows)
    said += (
        f" Zero to rounding, in part or all, and then not drawn: {both(small)}." if small else ""
    )
    said += " Crosses are exact." if any(frame.exact for row in rows for frame in row) else ""
    name = slug(f"scaling {sweep.axis} {sweep.title}")
    return drawn(lambda: [line_figure(sweep, variance_frames(sweep))], figures, name, said,
                 f"{what}, {sweep.title}")  # fmt: skip


def slope_table(sweep: Sweep) -> Table:
    """Build the table of slopes and floors, with what they say of the law."""
    size = SYMBOL.get(sweep.axis, sweep.over)
    rows = []
    for role in sweep.roles():
        layers = list(dict.fromkeys(key[2] for key in sweep.fits if key[3] == role))
        for layer in sorted(layers, key=sweep.first.layers("variance.total").index):
            for label in sweep.labels:
                found = [sweep.fits.get((label, metric, layer, role)) for metric in FITS]
                if any(found):
                    names = [role_name(role), layer, sweep.name(label)]
                    cells = [show(found[0], -1), show(found[1], -1), show(found[2], 0)]
                    rows.append([*names, *cells, reading(found[0]), misfit(found[0])])
    columns = ["role", "layer", "estimator", "slope of the noise part", "slope of the total",
               "floor of the noise part", f"noise ∝ 1/{size}", "misfit"]  # fmt: skip
    return drop_empty(
        Table(columns, rows, slope_caption(sweep), len(rows) > 12, notes=notes([sweep], rows))
    )


def slope_caption(sweep: Sweep) -> str:
    """Say what was fitted, over which sizes, and how sure it is."""
    size = SYMBOL.get(sweep.axis, sweep.over)
    over = list(dict.fromkeys(e.message.partition(";")[0] for e in sweep.fits.values()))
    where = over[0] if len(over) == 1 else "over the sizes that slopes.csv gives"
    floor = f"; floor: the noise part's intercept in 1/{size}, gradient²" * (
        sweep.axis == MINIBATCH
    )
    return (
        f"Slope of log variance against log {size}, {where}{floor}. Intervals at "
        f"{percent(sweep.first.run.level)}, not adjusted for their number. Misfit: how far the "
        "farthest figure lies from the fitted line, in half-widths of its own interval."
    )


def reading(slope: Estimate | None) -> str:
    """Say whether a slope's interval excludes −1, and on which side."""
    if slope is None or not slope.measured:
        return MISSING
    if slope.low <= -1 <= slope.high:
        return "not excluded"
    return "no: flatter" if slope.low > -1 else "no: steeper"


def misfit(slope: Estimate | None) -> str:
    """Return the largest distance from the fitted line that a slope's message gives."""
    hit = re.search(r"up to ([\d.e+-]+) half-widths", slope.message) if slope else None
    return hit[1] if hit else MISSING


def speed_blocks(sweeps: list[Sweep], figures: Path) -> list[Block]:
    """Show time and memory against the minibatch size; nothing without time at several."""
    blocks: list[Block] = []
    for sweep in sweeps:
        if sweep.axis == MINIBATCH and sweep.has(TIME, least=2):
            what = f"Time per gradient against {sweep.over}"
            said = (
                f"{what}; logarithmic axes, medians with intervals at "
                f"{percent(sweep.first.run.level)}, which hold for this machine only."
            )
            blocks.append(Heading(sweep.title, slug(f"speed {sweep.title}")))
            blocks += speed_pictures(sweep, figures, said, f"{what}, {sweep.title}")
            blocks.append(speed_table(sweep))
    return blocks


def speed_pictures(sweep: Sweep, figures: Path, said: str, alt: str) -> list[Picture]:
    """Draw time and memory against the minibatch size."""
    name = slug(f"speed {sweep.title}")
    return drawn(lambda: [line_figure(sweep, cost_frames(sweep))], figures, name, said, alt)


def speed_table(sweep: Sweep) -> Table:
    """Build the table of what a gradient and an epoch cost at each minibatch size."""
    base = sweep.first.baseline
    columns = {
        TIME: ("time per gradient", show_seconds),
        f"ratio.{TIME}": (f"ratio to {base}", lambda e: show(e, 1)),
        "time.seconds_per_epoch": ("time per epoch", show_seconds),
        "memory.peak_bytes": ("peak memory", show_bytes),
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
    names = ["M", "estimator", *(name for name, _ in columns.values())]
    return drop_empty(Table(names, rows, said, folded=len(rows) > 30))
