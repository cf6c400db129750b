"""``vdbench worker``: one of several parts of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from vdbench.cli.asked import Asked
from vdbench.cli.interrupts import resumable
from vdbench.cli.options import (
    Allowed,
    Device,
    Jobs,
    Mode,
    Only,
    Plugins,
    Quiet,
    Settings,
    SuiteName,
    Verbose,
    with_modes,
)
from vdbench.cli.streams import say
from vdbench.runner import early


def worker_verb(
    suite: SuiteName,
    out: Annotated[Path, Option(help="The run folder, which all parts see.")],
    index: Annotated[int, Option(help="Which part this is, from 0.")],
    of: Annotated[int, Option(help="How many parts there are.")],
    device: Device = "cpu",
    setting: Settings = None,
    mode: Mode = None,
    only: Only = None,
    plugin: Plugins = None,
    allow: Allowed = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure one of several parts of a suite; 'vdbench run' on the same folder then writes the results."""
    from vdbench.cli.progress import automatic
    from vdbench.runner.run_suite import work

    progress = automatic(quiet, verbose)
    early.start(noted=True)
    asked = Asked(suite, device, with_modes(setting, mode), only or [], plugin or [], allow or [])
    part = ["--index", str(index), "--of", str(of)]
    with resumable(asked.command(out, "worker", part)):
        done = work(suite, out, index, of, **asked.keywords, progress=progress, jobs=jobs)
    say(f"part {index} of {of} is measured; receipt: {out / 'receipts'}/{index}-of-{of}.json")
    if done.failed:
        say(f"{done.failed} cells failed; the receipt says why.", err=True)
        raise typer.Exit(1)
