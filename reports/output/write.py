"""Write a report's files."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from reports.charts.columns import chart_data
from reports.output.csv import write_csv, write_published
from reports.output.html import page
from reports.output.markdown import markdown
from reports.output.paper_tables import write_tex
from reports.output.pictures import FORMATS, draw_pictures
from reports.results.load import load
from reports.sections.report import document
from reports.sections.section import Findings
from vdbench.errors import printable


def build(run_dirs: Sequence[Path], out: Path | None, formats: Collection[str] = FORMATS) -> Path:
    """Write ``index.html``, ``report.md``, ``figures/`` and ``tables/``.

    Args:
        run_dirs: Run folders.
        out: The report's folder, or None for the default place.
        formats: What figures are saved as: ``svg``, ``png``, ``pdf``.

    Returns:
        The path of ``index.html``.

    Raises:
        InputError: If a folder is no run.
    """
    found = Findings(load(run_dirs))
    folder = out or default_folder(run_dirs)
    report = document(found)
    drawings = draw_pictures(report, folder / "figures", formats)
    write_csv(found.results, folder / "tables")
    write_published(found.groups, folder / "tables")
    write_tex(found.groups, found.sweeps, folder / "tables")
    replace(folder / "report.md", markdown(report, "png" if "png" in formats else "svg"))
    replace(folder / "index.html", page(report, drawings, chart_data(found.groups, found.sweeps)))
    return folder / "index.html"


def default_folder(run_dirs: Sequence[Path]) -> Path:
    """Return ``report`` in the run's folder, or beside the first of several."""
    first = run_dirs[0]
    return first / "report" if len(run_dirs) == 1 else first.resolve().parent / "report"


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of one."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(printable(text, "\n\t"), encoding="utf-8", newline="\n")
    os.replace(partial, path)
