"""``vdbench verify``: whether all files of a run folder are as they were written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from vdbench.cli.options import Json
from vdbench.cli.printing import print_json, print_table
from vdbench.cli.streams import say


def verify_verb(
    folder: Annotated[Path, Argument(help="A run folder.")],
    json: Json = False,
) -> None:
    """Check every block, checkpoint and table of a run folder; exit code 1 where one is damaged."""
    from vdbench.runner.verify import verify

    found = verify(folder)
    if json:
        rows = [finding._asdict() for finding in found.findings]
        print_json({"files": found.files, "bad": found.bad, "findings": rows})
    else:
        print_table([finding._asdict() for finding in found.findings])
        files = "1 file" if found.files == 1 else f"{found.files:,} files"
        said = f"{found.bad} damaged, misplaced or missing" if found.bad else "none is damaged"
        say(f"{files} checked, {said}.")
    if found.bad:
        raise typer.Exit(1)
