"""``vdbench run``: a suite, its report, and the headline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from vdbench.cli import warming
from vdbench.cli.asked import Asked
from vdbench.cli.options import Allowed, Device, Jobs, Json, Only, Plugins, Settings, SuiteName
from vdbench.cli.printing import print_json
from vdbench.cli.streams import say
from vdbench.cli.verbs import dry_run as dry
from vdbench.cli.verbs.report import headline, write

if TYPE_CHECKING:
    from vdbench.runner.execution import Finished


def run_verb(
    suite: SuiteName,
    out: Annotated[
        Path | None,
        Option(help="Run folder; one that exists is resumed. Default runs/SUITE-TIME."),
    ] = None,
    device: Device = "cpu",
    setting: Settings = None,
    only: Only = None,
    plugin: Plugins = None,
    allow: Allowed = None,
    jobs: Jobs = 1,
    dry_run: Annotated[
        bool,
        Option("--dry-run", help="Print the cells and the number of gradients; measure nothing."),
    ] = False,
    json: Json = False,
) -> None:
    """Run a benchmark suite, write its report, and print the headline."""
    asked = Asked(suite, device, setting or [], only or [], plugin or [], allow or [])
    if dry_run:
        dry.show(asked, json)
        return
    from vdbench import runner
    from vdbench.cli.progress import automatic

    warming.warm()
    out = out or _folder(asked)
    try:
        finished = runner.run(
            suite, out, **asked.keywords, progress=automatic(), command=asked.command(), jobs=jobs
        )
    except KeyboardInterrupt:
        say(
            f"Interrupted. Completed measurements are saved; resume with:\n  {asked.command(out)}",
            err=True,
        )
        raise typer.Exit(130) from None
    _show(finished, json)


def _folder(asked: Asked) -> Path:
    """A new one, named after the suite."""
    from vdbench import runner
    from vdbench import suite as suites

    if asked.plugins:
        return runner.default_folder(Path(asked.suite).stem)
    return runner.default_folder(suites.load(asked.suite, asked.settings).name)


def _show(finished: Finished, json: bool) -> None:
    """Write the report and print the headline; exit code 1 where a cell failed."""
    page = write([finished.folder], None)
    if json:
        print_json({"folder": str(finished.folder), "report": str(page), "failed": finished.failed})
    else:
        headline([finished.folder])
        say(f"report: {page}")
    if finished.failed:
        cells = "1 cell" if finished.failed == 1 else f"{finished.failed} cells"
        say(f"{cells} failed; the report says why.", err=True)
        raise typer.Exit(1)
