"""Draw the figures of a group, save them, and say what each shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from reports.document import Picture
from reports.figures.elbo_curves import curve_figure, is_cut
from reports.figures.medium import PAPER, styled
from reports.figures.style import save, save_paper
from reports.figures.variance_and_cost import (
    cost_figure,
    ratio_figures,
    summary_figure,
    variance_figures,
)
from reports.figures.variance_time import plane_figure
from reports.results.groups import Group
from reports.words.numbers import percent, slug, span

METRIC = {
    "summary": "ratio.variance.total",
    "variance": "variance.total",
    "ratio": "ratio.variance.total",
    "cost": "time.seconds_per_gradient",
    "plane": "variance.total",
    "training": "convergence.final_elbo",
}
"""The metric whose n a figure's caption gives."""


def pictures(group: Group, kind: str, folder: Path) -> list[Picture]:
    """Draw and save the figures of one kind.

    Args:
        group: The group to draw.
        kind: ``summary``, ``variance``, ``ratio``, ``cost``, ``plane`` or ``training``.
        folder: Where the files go.

    Returns:
        The figures with their captions; none where the kind was not measured.
    """
    name = slug(f"{kind} {group.title}")
    said, alt = caption(group, kind), f"{TITLE[kind]}, {group.title}"
    return drawn(lambda: DRAW[kind](group), folder, name, said, alt)


def drawn(
    draw: Callable[[], list[Figure]], folder: Path, name: str, said: str, alt: str
) -> list[Picture]:
    """Draw and save some figures, for a page and once more for paper.

    Args:
        draw: Makes the figures, for the medium it is called in.
        folder: Where the files go.
        name: Their name without ending, to which several add a number.
        said: Caption of each.
        alt: What it is, in a few words.
    """
    with styled():
        figures = draw()
        found = []
        for part, figure in zip(parts(name, len(figures)), figures, strict=True):
            found.append(Picture(part, said, alt, save(figure, folder, part)))
            figure.clear()
    draw_for_paper(draw, folder, name)
    return found


def draw_for_paper(draw: Callable[[], list[Figure]], folder: Path, name: str) -> None:
    """Draw some figures again at the width of a paper's text, and save them as PDF."""
    with styled(PAPER):
        figures = draw()
        for part, figure in zip(parts(name, len(figures)), figures, strict=True):
            save_paper(figure, folder, part)
            figure.clear()


def parts(name: str, count: int) -> list[str]:
    """Number the names of several figures."""
    return [f"{name}-{i + 1}" for i in range(count)] if count > 1 else [name] * count


def one(figure: Figure | None) -> list[Figure]:
    """Make a list of a figure that may be missing."""
    return [] if figure is None else [figure]


DRAW: dict[str, Callable[[Group], list[Figure]]] = {
    "summary": lambda group: one(summary_figure(group)),
    "variance": variance_figures,
    "ratio": ratio_figures,
    "cost": lambda group: one(cost_figure(group)),
    "plane": lambda group: one(plane_figure(group)),
    "training": lambda group: one(curve_figure(group)),
}
TITLE = {
    "summary": "Variance, and variance × seconds, against the baseline",
    "variance": "Variance by layer, role and estimator",
    "ratio": "Ratio of variance to the baseline",
    "cost": "Cost of a gradient",
    "plane": "Variance against time per gradient",
    "training": "ELBO in training",
}
SAID = {
    "summary": "Over all layers, as a multiple of that of BASELINE; left of the line at 1 is "
    "better; an arrow names a figure beyond the axis. Variance × seconds is what precision costs.",
    "variance": "Variance of the minibatch gradient, averaged over a layer's parameters: total, "
    "and the parts from the estimator's noise and from the choice of the minibatch. "
    "Logarithmic axis; an arrow marks an interval that goes on beyond the axis, or to 0, or "
    "names a figure that is beyond it; "
    "a bar shorter than its marker is hidden by it.",
    "ratio": "Variance as a multiple of that of BASELINE, paired on the same minibatches; left of "
    "the line at 1 is better; an arrow names a figure beyond the axis.",
    "cost": "What one minibatch gradient costs on this machine; logarithmic axes.",
    "plane": "Total variance over all layers against time per gradient; lower left is better. "
    "The dashed line joins the ranked estimators that none is both faster and less noisy "
    "than (by the point estimates); hollow markers are not ranked; an arrow names a variance above "
    "the axis.",
    "training": "ELBO of the training set under one evaluation for all, by step and by second of "
    "training alone; lines are means over training seeds, bands their intervals. The panel by "
    "seconds begins at the first evaluation after step 0, where no time has passed.",
}


def caption(group: Group, kind: str) -> str:
    """Say what a figure shows, at which level, on how many units."""
    level, counts = percent(group.run.level), counted(group, kind)
    said = SAID[kind].replace("BASELINE", group.baseline)
    if kind == "training" and is_cut(group):
        said += " The axis leaves out the first, steep steps."
    return f"{TITLE[kind]}. {said} Intervals at {level}; {counts}."


def counted(group: Group, kind: str) -> str:
    """Say the n of what a figure shows."""
    return span(e.n for key, e in group.figures.items() if key[1] == METRIC[kind] and e.n)
