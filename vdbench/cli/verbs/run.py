"""``vdbench run``: a suite, its report, and the headline."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from vdbench.cli import completion, explaining, seconds
from vdbench.cli.asked import Asked
from vdbench.cli.interrupts import resumable
from vdbench.cli.options import (
    Allowed,
    Device,
    Engine,
    EngineOptions,
    Explain,
    Jobs,
    Json,
    Mode,
    Only,
    Plugins,
    Quiet,
    Settings,
    Share,
    Verbose,
    with_modes,
)
from vdbench.cli.printing import print_json, print_table
from vdbench.cli.streams import say
from vdbench.cli.verbs import dry_run as dry
from vdbench.cli.verbs.report import headline, write
from vdbench.runner import early

if TYPE_CHECKING:
    from vdbench.runner.finished import Finished


def run_verb(
    suite: Annotated[
        str | None,
        Argument(
            help="A bundled suite's name, or a path to a YAML file; without it, suites are listed.",
            autocompletion=completion.suites,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Option(help="Run folder; one that exists is resumed. Default runs/SUITE-TIME."),
    ] = None,
    device: Device = "cpu",
    setting: Settings = None,
    mode: Mode = None,
    only: Only = None,
    plugin: Plugins = None,
    allow: Allowed = None,
    jobs: Jobs = 1,
    engine: Engine = "local",
    engine_option: EngineOptions = None,
    share: Share = "",
    dry_run: Annotated[
        bool,
        Option(
            "--dry-run",
            help="Print the cells, their gradients and the seconds that are known; measure nothing.",
        ),
    ] = False,
    explain: Explain = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Run a benchmark suite, write its report, and print the headline."""
    if suite is None:
        _refuse()
        return
    asked = Asked(suite, device, with_modes(setting, mode), only or [], plugin or [], allow or [])
    if dry_run:
        dry.show(asked, json, explain)
        return
    from vdbench import runner
    from vdbench.cli.progress import automatic
    from vdbench.runner.engines import parsed

    progress = automatic(quiet, verbose)
    early.start(noted=True)
    out = out or _folder(asked)
    new = not out.exists()
    with resumable(asked.command(out) + _away(engine, engine_option or [], share)):
        finished = runner.run(
            suite,
            out,
            **asked.keywords,
            progress=progress,
            command=asked.command(),
            jobs=jobs,
            engine=engine,
            engine_options=parsed(engine_option or []),
            share=share,
        )
        if new and jobs == 1 and engine == "local":
            seconds.keep(finished.folder)
        if explain and not json:
            explaining.show(finished.folder)
        _show(finished, json, quiet)


def _away(engine: str, options: list[str], share: str) -> str:
    """How the command goes on where others measure."""
    words = ["--engine", engine] if engine != "local" else []
    words += [word for option in options for word in ("--engine-option", option)]
    words += ["--share", share] if share else []
    return f" {shlex.join(words)}" if words else ""


def _refuse() -> None:
    """Nothing is named: list what can be run; exit code 2."""
    from vdbench.cli import catalogue

    say("vdbench: run: name one of these suites, or a YAML file of your own.", err=True)
    rows = [{"name": row["name"], "description": row["description"]} for row in catalogue.suites()]
    print_table(rows, err=True)
    raise typer.Exit(2)


def _folder(asked: Asked) -> Path:
    """A new one, named after the suite."""
    from vdbench import runner
    from vdbench.measures.registry import load

    if asked.plugins:
        return runner.default_folder(Path(asked.suite).stem)
    return runner.default_folder(load(asked.suite, asked.settings).name)


def _show(finished: Finished, json: bool, quiet: bool) -> None:
    """Write the report and print the headline; exit code 1 where a cell failed."""
    if not (json or quiet):
        say("writing the report", err=True)
    page = write([finished.folder], None)
    if json:
        print_json({"folder": str(finished.folder), "report": str(page), "failed": finished.failed})
    else:
        if not quiet:
            headline([finished.folder])
        say(f"report: {page}")
    if finished.failed:
        cells = "1 cell" if finished.failed == 1 else f"{finished.failed} cells"
        say(f"{cells} failed; the report says why.", err=True)
        raise typer.Exit(1)
