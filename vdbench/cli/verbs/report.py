"""``vdbench report``: the report of runs, and the headline that ``vdbench run`` ends with, too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from vdbench.cli.options import Json
from vdbench.cli.printing import print_json
from vdbench.cli.streams import say


def report_verb(
    folders: Annotated[list[Path], Argument(help="Run folders; several give one report over all.")],
    out: Annotated[
        Path | None,
        Option(
            help="Where to write; default report/ in the folder, or next to the first of several folders."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Rewrite the report of one run, or write one over several."""
    page = write(folders, out)
    if json:
        print_json({"report": str(page)})
        return
    headline(folders)
    say(f"report: {page}")


def write(folders: list[Path], out: Path | None) -> Path:
    """Write the report of runs; where its page is."""
    from vdbench.cli.progress import at_work
    from vdbench.siblings import import_own

    with at_work("writing the report"):
        page: Path = import_own("reports").write(folders, out)
    return page


def headline(folders: list[Path]) -> None:
    """Print the headline of runs and its table."""
    from rich.console import Console

    from vdbench.siblings import import_own

    reports = import_own("reports")
    # not a terminal: wide enough that no cell of the table is cut
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(reports.headline_table(folders))
    for line in reports.headline(folders):
        console.print(line, markup=False, highlight=False)
