"""Results in, figures, tables and pages out.

The package reads what a run left behind (``results.parquet`` and ``run.json``) and nothing else; it
knows nothing of torch, problems or estimators.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group as RichGroup

__all__ = ["headline", "headline_table", "write"]


def write(run_dirs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of one run, or one report over several.

    Args:
        run_dirs: Run folders, each with ``results.parquet`` and ``run.json``.
        out: The report's folder; by default ``report`` in the run's folder, or beside the first run
            where there are several.

    Returns:
        The path of ``index.html``; beside it are ``report.md``, ``figures/`` and ``tables/``.

    Raises:
        InputError: If a folder is no run, or was written by another version of the schema.
    """
    from reports.output.write import build

    return build([Path(folder) for folder in run_dirs], out)


def headline(run_dirs: Sequence[Path]) -> list[str]:
    """Say who won, by how much, how surely and at what cost, in plain sentences.

    Args:
        run_dirs: Run folders, as for :func:`write`.

    Returns:
        Sentences on vdbench itself, where a run measured it; then for each problem, checkpoint and
        batch size; what to use comes first, after the name of what is compared.

    Raises:
        InputError: As for :func:`write`.
    """
    from reports.results.groups import groups_of
    from reports.results.load import load
    from reports.sections.instrument import places, summary
    from reports.sections.summary import MANY, left_out, single
    from reports.sections.summary_sentences import sentences
    from reports.sections.training import trained_summary

    results = load([Path(folder) for folder in run_dirs])
    groups = groups_of(results)
    about = [
        f"{title}. {lead} {text}"
        for run, title, rows in places(results)
        for lead, text in summary(rows, run.level)
    ]
    about += [f"{lead} {text}" for lead, text in trained_summary(results)]
    alone = [group.title for group in groups if single(group)]
    if len(alone) > MANY:
        groups = [group for group in groups if not single(group)]
        about.append(left_out(alone))
    return about + [
        f"{group.title}. {line.text}" if i == 0 else line.text
        for group in groups
        for i, line in enumerate(sentences(group))
    ]


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
