"""``vdbench.plot``: a run's figures as a static plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbench.errors import InputError
from vdbench.siblings import import_own

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    run: Any,
    kind: str = "variance",
    *,
    style: str = "screen",
    problem: str | None = None,
    checkpoint: str | None = None,
    batch_size: int | None = None,
) -> Figure:
    """Draw one figure of a run; intervals are the run's own.

    Args:
        run: A run folder, or what `vdbench.run` returned.
        kind: ``variance``, ``noise``, ``ratio``, ``efficiency``, ``time``, ``plane``, ``elbo`` or ``scaling``.
        style: ``screen``, ``paper`` (one column of two) or ``slides``.
        problem: Of which problem, where there are several.
        checkpoint: At which checkpoint, likewise.
        batch_size: At which minibatch size, likewise.

    Returns:
        A figure of matplotlib, which a notebook shows; ``figure.savefig`` writes it.

    Raises:
        InputError: There is no such kind or style, the run has nothing for it, or several figures fit.

    Example:
        >>> import vdbench
        >>> finished = vdbench.run({
        ...     "name": "mine",
        ...     "problems": [{"name": "digits", "options": {"widths": []}}],
        ...     "batch_sizes": [16],
        ...     "estimators": ["naive", "local"],
        ...     "baseline": "naive",
        ...     "measures": {"variance": {"first_units": 16, "max_units": 16}},
        ... }, "runs/plotted", isolate=False)
        >>> [axes.get_title() for axes in vdbench.plot(finished, "variance").axes]
        ['mean', 'scale']
    """
    asked = {"problem": problem, "checkpoint": checkpoint, "batch_size": batch_size}
    found = plots(run, kind, style, {k: v for k, v in asked.items() if v is not None})
    if len(found) > 1:
        names = "; ".join(what.rpartition(", ")[2] for _, what, _ in found)
        raise InputError(
            f"plot: {len(found)} figures fit; choose by problem, checkpoint and batch_size: {names}."
        )
    figure: Figure = found[0][2]
    return figure


def plots(run: Any, kind: str, style: str, choose: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Every figure of a kind that is chosen: a name for its file, what it shows, and the figure."""
    folder = Path(getattr(run, "folder", run))
    found: list[tuple[str, str, Any]] = import_own("reports").plotted([folder], kind, style, choose)
    return found
