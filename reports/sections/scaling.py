"""How variance goes with the minibatch size, the samples, or an option of the problem."""

from __future__ import annotations

from functools import partial

from reports.document import Block, Heading, Paragraph, Picture, Table
from reports.figures import draw
from reports.results.estimate import Estimate
from reports.results.size_lines import variance_frames, zeros
from reports.results.sweeps import FITS, MINIBATCH, OPTION, SAMPLES, SYMBOL, Sweep
from reports.sections.section import Findings
from reports.sections.table_parts import drop_empty, notes
from reports.words.glossary import role_name
from reports.words.numbers import MISSING, format_number, percent, show, slug
from reports.words.verdicts import both

LAW = {
    MINIBATCH: "If the noise of the examples is independent, the noise part falls as 1/M: slope −1, floor 0. If the "
    "examples of a minibatch share a weight sample, their noise is correlated, which leaves a floor that no minibatch "
    "size removes.",
    SAMPLES: "The noise part of a mean over S independent samples falls as 1/S: slope −1, or steeper where more "
    "samples also improve a baseline. The data part does not fall, so the total levels off.",
    OPTION: "Each line is one estimator on problems that differ in one option only.",
}
DISTANCE = " Largest distance: of a figure from the fitted line, in half-widths of the figure's own interval."


class Scaling:
    """Variance against the minibatch size, the samples or an option, with fitted slopes and floors."""

    anchor = "scaling"
    title = "Scaling of the variance"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section; nothing where variance was measured at one size alone."""
        return scaling_blocks(found.sweeps)


def scaling_blocks(sweeps: list[Sweep]) -> list[Block]:
    """Show variance against M and S, with the fitted slopes and floors.

    Args:
        sweeps: What was measured at several sizes.
    """
    blocks: list[Block] = []
    for sweep in sweeps:
        table = slope_table(sweep)
        shown = variance_pictures(sweep)
        if table.rows or shown:
            title = f"{sweep.title}, over {sweep.over}"
            blocks += [Heading(title, slug(f"scaling {title}")), Paragraph(LAW[sweep.axis])]
            blocks += [*shown, *([table] if table.rows else [])]
    return blocks


def variance_pictures(sweep: Sweep) -> list[Picture]:
    """Make the picture of noise part and total against the size; nothing with too few sizes."""
    rows = variance_frames(sweep)
    if not rows:
        return []
    what = f"Variance against {sweep.over}"
    guide = "" if sweep.axis == OPTION else " The dotted line has slope −1."
    axes = "The vertical axis is" if sweep.axis == OPTION else "The axes are"
    said = (
        f"{what}, over all layers. {axes} logarithmic. Bars are intervals at "
        f"{percent(sweep.first.run.level)}; estimators are shifted slightly so that bars do not overlap.{guide}"
    )
    small = zeros(sweep, rows)
    said += (
        f" Not drawn where the variance is zero up to rounding error: {both(small)}."
        if small
        else ""
    )
    said += (
        " Crosses are exact values." if any(frame.exact for row in rows for frame in row) else ""
    )
    name, alt = slug(f"scaling {sweep.axis} {sweep.title}"), f"{what}, {sweep.title}"
    show = {"chart": "scaling", "sweep": f"{sweep.title}, over {sweep.over}"}
    return [Picture(name, said, alt, partial(draw.lines, sweep, rows), show)]


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
                    rows.append([*names, *cells, reading(found[0]), distance(found[0])])
    columns = ["parameter", "layer", "estimator", "slope of the noise part", "slope of the total",
               "floor of the noise part", f"noise ∝ 1/{size}", "largest distance"]  # fmt: skip
    return drop_empty(
        Table(columns, rows, slope_caption(sweep), len(rows) > 12, notes=notes([sweep], rows))
    )


def slope_caption(sweep: Sweep) -> str:
    """Say what was fitted, over which sizes, and how sure it is."""
    size = SYMBOL.get(sweep.axis, sweep.over)
    points = {int(e.detail["points"]) for e in sweep.fits.values() if "points" in e.detail}
    every = points == {len(sweep.sizes)}
    sizes = ", ".join(f"{x:,.0f}" for x in sweep.sizes)
    where = (
        f"over {size} = {sizes}"
        if every
        else f"over the sizes with a finite interval above 0 ({size})"
    )
    floor = f"; floor: the noise part's intercept in 1/{size}, gradient²" * (
        sweep.axis == MINIBATCH
    )
    return (
        f"Slope of log variance against log {size}, {where}{floor}. Intervals at "
        f"{percent(sweep.first.run.level)}, not adjusted for their number.{DISTANCE}"
    )


def reading(slope: Estimate | None) -> str:
    """Say whether a slope's interval excludes −1, and on which side."""
    if slope is None or not slope.measured:
        return MISSING
    if slope.low <= -1 <= slope.high:
        return "consistent"
    return "no, flatter" if slope.low > -1 else "no, steeper"


def distance(slope: Estimate | None) -> str:
    """Write the largest distance from the fitted line."""
    found = slope.detail.get("distance") if slope else None
    return MISSING if found is None else format_number(found, 2)
