"""``vdbench merge``: runs of one suite, joined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from vdbench.cli.interrupts import repeatable
from vdbench.cli.options import Allowed, Json, Plugins, Quiet, Verbose
from vdbench.cli.printing import print_json, print_table
from vdbench.cli.streams import say
from vdbench.cli.verbs.report import write


def merge_verb(
    folders: Annotated[list[Path], Argument(help="Run folders of one suite.")],
    out: Annotated[
        Path, Option(help="A new folder; or one with such a run, which is then one of them.")
    ],
    plugin: Plugins = None,
    allow: Allowed = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Join runs of one suite; nothing is measured, and no file is overwritten."""
    from vdbench.cli.progress import automatic
    from vdbench.runner.merge import merge

    progress = automatic(quiet, verbose)
    with repeatable("The runs are as they were; the same command goes on."):
        found = merge(folders, out, plugin or [], progress, allow or [])
        page = write([out], None) if found.finished else None
    failed = found.finished.failed if found.finished else 0
    if json:
        conflicts = [conflict._asdict() for conflict in found.conflicts]
        print_json({"folder": str(out), "report": page and str(page), "files": found.files,
                "damaged": found.damaged, "conflicts": conflicts, "failed": failed})  # fmt: skip
    else:
        print_table(found.damaged)
        print_table([conflict._asdict() for conflict in found.conflicts])
        say(f"{found.files:,} files joined." if page else "Nothing was written.")
        typer.echo(f"report: {page}" if page else "", nl=bool(page))
    if found.conflicts:
        typer.echo("vdbench: the runs differ in files of the same name; none is taken.", err=True)
    if failed:
        typer.echo(f"{failed} cells have no figures yet; the report says why.", err=True)
    if found.conflicts or failed:
        raise typer.Exit(1)
