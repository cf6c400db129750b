"""The plots of a run that somebody asks for, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.figures.medium import styled
from reports.plots import KINDS
from reports.plots.drawing import STYLES
from reports.plots.frame import Chosen
from reports.results.load import load
from reports.words.numbers import slug
from vdbench.errors import InputError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def drawn(
    run_dirs: Sequence[Path], kind: str, style: str, choose: Mapping[str, Any]
) -> list[tuple[str, str, Figure]]:
    """Draw plots; arguments, result and errors as of ``reports.plotted``."""
    for what, given, known in (("kind", kind, KINDS), ("style", style, STYLES)):
        if given not in known:
            raise InputError(f"plot: there is no {what} '{given}'.{nearest(given, known)}")
    every = KINDS[kind].choices(load([Path(folder) for folder in run_dirs]))
    if not every:
        raise InputError(
            f"plot: the run has nothing for kind '{kind}', which shows {KINDS[kind].shows}."
        )
    found = [c for c in every if _fits(c, choose)]
    if not found:
        asked = ", ".join(f"{key} {value}" for key, value in choose.items())
        there = "; ".join(dict.fromkeys(c.title for c in every))
        raise InputError(f"plot: nothing is at {asked}; expected one of: {there}.")
    with styled(STYLES[style]):
        return [
            (slug(f"{kind} {c.title}"), f"{KINDS[kind].shows}, {c.title}", KINDS[kind].draw(c))
            for c in found
        ]


def _fits(chosen: Chosen, choose: Mapping[str, Any]) -> bool:
    """Whether a part of a run is one that was chosen; a plot over all sizes is of any."""
    return all(
        getattr(chosen, key) == value or (key == "batch_size" and not chosen.batch_size)
        for key, value in choose.items()
    )
