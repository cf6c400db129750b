"""``vdbench export``: a run's figures for another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from vdbench.cli.options import Json
from vdbench.cli.printing import print_json
from vdbench.cli.streams import say


def export_verb(
    run: Annotated[Path, Argument(help="A run folder.")],
    to: Annotated[
        str, Option(metavar="FORMAT", help="pytest-benchmark, asv, tensorboard or wandb-csv.")
    ],
    out: Annotated[
        Path | None, Option(help="Folder for the files; default RUN/export/FORMAT.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a run's figures, with their intervals, in the format of another tool."""
    from vdbench.exporting import export

    written = [str(path) for path in export(run, to, out)]
    if json:
        print_json({"files": written})
    else:
        for path in written:
            say(f"wrote {path}")
