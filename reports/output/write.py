"""Write a report's files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from reports.output.html import page
from reports.output.markdown import markdown
from reports.output.paper_tables import write_tex
from reports.results.groups import groups_of
from reports.results.load import load
from reports.results.published import write_published
from reports.results.sweeps import sweeps_of
from reports.sections.report import document
from reports.sections.tables import write_csv


def build(run_dirs: Sequence[Path], out: Path | None) -> Path:
    """Write ``index.html``, ``report.md``, ``figures/`` and ``tables/``.

    Args:
        run_dirs: Run folders.
        out: The report's folder, or None for the default place.

    Returns:
        The path of ``index.html``.

    Raises:
        InputError: If a folder is no run.
    """
    results = load(run_dirs)
    folder = out or default_folder(run_dirs)
    groups = groups_of(results)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    report = document(results, groups, folder / "figures")
    write_csv(results, folder / "tables")
    write_published(groups, folder / "tables")
    write_tex(groups, sweeps_of(results, groups), folder / "tables")
    replace(folder / "report.md", markdown(report))
    replace(folder / "index.html", page(report))
    return folder / "index.html"


def default_folder(run_dirs: Sequence[Path]) -> Path:
    """Return ``report`` in the run's folder, or beside the first of several."""
    first = run_dirs[0]
    return first / "report" if len(run_dirs) == 1 else first.resolve().parent / "report"


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of one."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)
