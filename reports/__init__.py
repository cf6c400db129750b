"""Results in, figures, tables and pages out.

The package reads what a run left behind (``results.parquet`` and ``run.json``) and nothing else; it
knows nothing of torch, problems or estimators.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import Group as RichGroup

    from vdbench.comparison import Comparison
    from vdbench.recommendation import Recommendation

__all__ = [
    "compared",
    "figure",
    "figure_names",
    "headline",
    "headline_table",
    "plotted",
    "recommended",
    "save_plot",
    "series",
    "series_html",
    "shown",
    "write",
]


def write(
    run_dirs: Sequence[Path],
    out: Path | None = None,
    formats: Collection[str] = ("svg", "png", "pdf"),
) -> Path:
    """Write the report of one run, or one report over several.

    Args:
        run_dirs: Run folders, each with ``results.parquet`` and ``run.json``.
        out: The report's folder; by default ``report`` in the run's folder, or beside the first run
            where there are several.
        formats: What figures are saved as: ``svg``, ``png`` and, drawn again at the width of a paper's text, ``pdf``.

    Returns:
        The path of ``index.html``; beside it are ``report.md``, ``figures/`` and ``tables/``.

    Raises:
        InputError: If a folder is no run, or was written by another version of the schema.
    """
    from reports.output.write import build

    return build([Path(folder) for folder in run_dirs], out, formats)


def headline(run_dirs: Sequence[Path]) -> list[str]:
    """Say which estimator is lowest, by how much, how surely and at what cost, in plain sentences.

    Args:
        run_dirs: Run folders, as for :func:`write`.

    Returns:
        How many claims of the suites hold; sentences on vdbench itself, where a run measured it; then for each
        problem, checkpoint and batch size; what to use comes first, after the name of what is compared.

    Raises:
        InputError: As for :func:`write`.
    """
    from reports.results.load import load
    from reports.sections.headline import headline
    from reports.sections.section import Findings

    return headline(Findings(load([Path(folder) for folder in run_dirs])))


def headline_table(run_dirs: Sequence[Path]) -> RichGroup:
    """Build the headline tables for a terminal.

    Args:
        run_dirs: Run folders, as for :func:`write`.

    Returns:
        A rich renderable with one table for each problem, checkpoint and batch size.

    Raises:
        InputError: As for :func:`write`.
    """
    from reports.output.terminal import terminal_tables
    from reports.results.groups import groups_of
    from reports.results.load import load

    return terminal_tables(groups_of(load([Path(folder) for folder in run_dirs])))


def compared(found: Comparison, form: str, width: int = 120) -> str:
    """Write what a comparison of two runs or estimators found.

    Args:
        found: From ``vdbench.compare``.
        form: ``headline``, ``text``, ``colour`` (text with colours), ``markdown``, ``html`` or ``fragment``.
        width: Columns of text.
    """
    from reports.output.compared import written

    return written(found, form, width)


def shown(run_dirs: Sequence[Path], form: str, width: int = 120) -> str:
    """Write the answer of a run with its tables, short.

    Args:
        run_dirs: Run folders, as for :func:`write`.
        form: ``text``, or ``html`` for a notebook, with the first figure.
        width: Columns of text.

    Raises:
        InputError: As for :func:`write`.
    """
    from reports.output import fragment

    return fragment.shown([Path(folder) for folder in run_dirs], form, width)


def figure_names(run_dirs: Sequence[Path]) -> list[str]:
    """Return the names of the report's figures, in its order.

    Args:
        run_dirs: Run folders, as for :func:`write`.

    Raises:
        InputError: As for :func:`write`.
    """
    from reports.output import fragment

    return fragment.names([Path(folder) for folder in run_dirs])


def figure(run_dirs: Sequence[Path], name: str = "") -> Figure:
    """Draw a figure of the report.

    Args:
        run_dirs: Run folders, as for :func:`write`.
        name: One of :func:`figure_names`; the first by default.

    Raises:
        InputError: As for :func:`write`; or there is no such figure.
    """
    from reports.output import fragment

    return fragment.figure([Path(folder) for folder in run_dirs], name)


def series(frame: pd.DataFrame, metric: str, layer: str) -> Figure:
    """Draw a metric over the steps of a training, as a monitor measured it.

    Args:
        frame: Of ``vdbench.Monitor``.
        metric: Which.
        layer: Of which layer; ``all`` for all together.

    Raises:
        InputError: The frame has nothing of that kind.
    """
    from reports.output import series

    return series.figure(frame, metric, layer)


def series_html(frame: pd.DataFrame, title: str) -> str:
    """Write what a monitor measured as HTML for a notebook.

    Args:
        frame: Of ``vdbench.Monitor``.
        title: What stands above it.
    """
    from reports.output import series

    return series.html(frame, title)


def recommended(found: Recommendation, form: str, width: int = 120) -> str:
    """Write what a recommendation found.

    Args:
        found: From ``vdbench.recommend``.
        form: As of `compared`.
        width: Columns of text.
    """
    from reports.output.compared import said
    from reports.sections.recommendation import document

    return said(document(found, brief=form in ("text", "colour")), form, width)


def plotted(
    run_dirs: Sequence[Path],
    kind: str,
    style: str = "screen",
    choose: Mapping[str, Any] | None = None,
) -> list[tuple[str, str, Figure]]:
    """Draw static plots of one kind.

    Args:
        run_dirs: Run folders, as for :func:`write`.
        kind: One of ``reports.plots.KINDS``.
        style: ``paper`` (one column), ``slides`` or ``screen``.
        choose: ``problem``, ``checkpoint`` and ``batch_size`` of the figures that are wanted; all by default.

    Returns:
        For each figure a name for its file without ending, what it shows, and the figure.

    Raises:
        InputError: There is no such kind or style, nothing in the runs can be drawn so, or nothing is as chosen.
    """
    from reports.plots.drawn import drawn

    return drawn(run_dirs, kind, style, choose or {})


def save_plot(figure: Figure, path: Path, style: str = "screen") -> None:
    """Write a plot in the format of the file's ending: pdf, png or svg.

    Args:
        figure: From :func:`plotted`.
        path: The file; its folder is made.
        style: The figure's.
    """
    from reports.figures.medium import styled
    from reports.plots.drawing import STYLES, save

    with styled(STYLES[style]):
        save(figure, path)
