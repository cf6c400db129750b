"""The command line: ``vdbench VERB``. ``vdbench VERB --help`` lists the options of a verb.

Exit codes: 0 done; 1 ran, and a cell (or a check) failed; 2 bad input, explained in one sentence
on stderr; 130 interrupted.
"""

from __future__ import annotations

import errno
import json as json_
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from vdbench.cli.streams import say, steady
from vdbench.errors import InputError, nearest, sentence, shown

app = typer.Typer(
    name="vdbench",
    help="Benchmark gradient estimators for networks with noisy weights: variance, throughput, convergence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Data sets: list, fetch, path.", no_args_is_help=True)
app.add_typer(data_app, name="data")
new_app = typer.Typer(help="Write the files of something new: an estimator.", no_args_is_help=True)
app.add_typer(new_app, name="new")

Device = Annotated[str, Option(help="cpu, cuda or auto.")]
Only = Annotated[
    list[str] | None,
    Option(metavar="ESTIMATOR", help="Run this estimator and the baseline; repeatable."),
]
Json = Annotated[bool, Option("--json", help="Print JSON.")]
Allowed = Annotated[
    list[str] | None,
    Option(
        "--allow",
        metavar="MODULE",
        help="Let the suite run problems of this module, or of MODULE:FACTORY; repeatable.",
    ),
]
Settings = Annotated[
    list[str] | None,
    Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the suite, as in measures.variance.max_units=256.",
    ),
]
Jobs = Annotated[
    int,
    Option(help="Cells measured at a time; no value depends on it. Times are measured alone."),
]
Plugins = Annotated[
    list[Path] | None,
    Option("--plugin", metavar="FILE.py", help="Load estimators from a file; repeatable."),
]


@app.command("run")
def run_verb(
    suite: Annotated[str, Argument(help="A bundled suite's name, or a path to a YAML file.")],
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
    settings, chosen, plugins, named = setting or [], only or [], plugin or [], allow or []
    if dry_run:
        _dry_run(suite, settings, chosen, plugins, named, json)
        return
    from vdbench import runner
    from vdbench import suite as suites
    from vdbench.cli.progress import automatic

    _warm()
    if out is None:
        out = runner.default_folder(
            suites.load(suite, settings).name if not plugins else Path(suite).stem
        )
    try:
        finished = runner.run(
            suite,
            out,
            device=device,
            settings=settings,
            only=chosen,
            plugins=plugins,
            allow=named,
            progress=automatic(),
            command=_command(suite, device, settings, chosen, plugins, named),
            jobs=jobs,
        )
    except KeyboardInterrupt:
        say(
            "Interrupted. Completed measurements are saved; resume with:\n"
            f"  {_command(suite, device, settings, chosen, plugins, named, out)}",
            err=True,
        )
        raise typer.Exit(130) from None
    page = _report([finished.folder], None)
    if json:
        _print({"folder": str(finished.folder), "report": str(page), "failed": finished.failed})
    else:
        _headline([finished.folder])
        say(f"report: {page}")
    if finished.failed:
        cells = "1 cell" if finished.failed == 1 else f"{finished.failed} cells"
        say(f"{cells} failed; the report says why.", err=True)
        raise typer.Exit(1)


@app.command("worker")
def worker_verb(
    suite: Annotated[str, Argument(help="A bundled suite's name, or a path to a YAML file.")],
    out: Annotated[Path, Option(help="The run folder, which all parts see.")],
    index: Annotated[int, Option(help="Which part this is, from 0.")],
    of: Annotated[int, Option(help="How many parts there are.")],
    device: Device = "cpu",
    setting: Settings = None,
    only: Only = None,
    plugin: Plugins = None,
    allow: Allowed = None,
    jobs: Jobs = 1,
) -> None:
    """Measure one of several parts of a suite; 'vdbench run' on the same folder then writes the results."""
    from vdbench.cli.progress import automatic
    from vdbench.runner.run_suite import work

    _warm()
    done = work(
        suite, out, index, of, device=device, settings=setting or [], only=only or [],
        plugins=plugin or [], allow=allow or [], progress=automatic(), jobs=jobs,
    )  # fmt: skip
    say(f"part {index} of {of} is measured; receipt: {out / 'receipts'}/{index}-of-{of}.json")
    if done.failed:
        say(f"{done.failed} cells failed; the receipt says why.", err=True)
        raise typer.Exit(1)


def _warm() -> None:
    """Have processes for cells get ready while this one reads the suite; it has computed nothing yet."""
    from vdbench.runner import apart
    from vdbench.workers import server

    server.pristine = server.pristine or _fresh
    if server.pristine:
        apart.begin()


def _command(
    suite: str,
    device: str,
    settings: list[str],
    only: list[str],
    plugins: list[Path],
    allow: list[str],
    out: Path | None = None,
) -> str:
    """The command of a run; with ``out``, as it is typed here, else without paths of this machine."""
    words = ["vdbench", "run", suite, *(["--out", str(out)] if out else [])]
    words += ["--device", device] if device != "cpu" else []
    for flag, values in (
        ("--set", settings),
        ("--only", only),
        ("--plugin", plugins),
        ("--allow", allow),
    ):
        for value in values:
            words += [flag, value.name if isinstance(value, Path) and not out else str(value)]
    return shlex.join(words)


def _dry_run(
    name: str,
    settings: list[str],
    only: list[str],
    plugins: list[Path],
    allow: list[str],
    json: bool,
) -> None:
    from vdbench import datasets, problems
    from vdbench.estimation import registry
    from vdbench.measures.registry import load
    from vdbench.runner import plan, run_suite

    for plugin in plugins:
        registry.load_plugin(plugin)
    suite = load(name, settings)
    run_suite.allowed(name, suite, settings, plugins, allow)
    examples = {}
    for spec in suite.problems:
        problem = problems.check(spec.name, spec.factory, spec.options)
        if problem is not None:
            plan.check_problem(suite, problem)
            examples[spec.name] = problem.examples
        else:  # not on this machine: no more than all its examples
            examples[spec.name] = datasets.info(str(spec.options.get("dataset"))).examples
    cells: list[dict[str, Any]] = [
        {
            "measure": cell.measure,
            "problem": cell.problem,
            "checkpoint": cell.checkpoint,
            "batch_size": cell.batch_size,
            "estimator": cell.label,
            "gradients_least": plan.work(suite, cell, examples)[0],
            "gradients_most": plan.work(suite, cell, examples)[1],
        }
        for cell in plan.cells(suite, tuple(only))
    ]
    least, most = (sum(int(c[f"gradients_{end}"]) for c in cells) for end in ("least", "most"))
    if json:
        _print(
            {"suite": suite.name, "cells": cells, "gradients_least": least, "gradients_most": most}
        )
        return
    _table(cells)
    say(f"{len(cells)} cells, {least:,} to {most:,} gradients; nothing was measured.")


@app.command("report")
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
    page = _report(folders, out)
    if json:
        _print({"report": str(page)})
        return
    _headline(folders)
    say(f"report: {page}")


def _report(folders: list[Path], out: Path | None) -> Path:
    from vdbench.siblings import import_own

    page: Path = import_own("reports").write(folders, out)
    return page


def _headline(folders: list[Path]) -> None:
    from rich.console import Console

    from vdbench.siblings import import_own

    reports = import_own("reports")
    # not a terminal: wide enough that no cell of the table is cut
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(reports.headline_table(folders))
    for line in reports.headline(folders):
        console.print(line, markup=False, highlight=False)


@app.command("compare")
def compare_verb(
    base_run: Annotated[Path, Argument(metavar="BASE", help="Run folder that is compared with.")],
    new_run: Annotated[
        Path | None,
        Argument(
            metavar="[NEW]", help="Run folder that is judged; default BASE, with --base and --new."
        ),
    ] = None,
    base: Annotated[
        str | None, Option(metavar="ESTIMATOR", help="Compare with this estimator of BASE.")
    ] = None,
    new: Annotated[
        str | None, Option(metavar="ESTIMATOR", help="Judge this estimator of NEW.")
    ] = None,
    tolerance: Annotated[
        float, Option(help="Relative difference that counts as none, from 0.")
    ] = 0.05,
    level: Annotated[float, Option(help="Level at which all verdicts hold together.")] = 0.95,
    only: Annotated[
        list[str] | None,
        Option(metavar="ESTIMATOR", help="Compare this estimator alone; repeatable."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        Option(metavar="METRIC", help="Compare this metric alone; repeatable."),
    ] = None,
    timing: Annotated[
        bool,
        Option("--timing", help="Compare times of two sessions, too; drift is in no interval."),
    ] = False,
    strict: Annotated[
        bool,
        Option("--strict", help="Exit code 1 also for INCONCLUSIVE and for what is not compared."),
    ] = False,
    markdown: Annotated[
        bool, Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    html: Annotated[Path | None, Option(metavar="FILE", help="Write a page, too.")] = None,
    json: Json = False,
) -> None:
    """Compare two runs, or two estimators of one: BETTER, WORSE (exit code 1), SAME or INCONCLUSIVE."""
    from vdbench.cli import comparing
    from vdbench.comparison import compare

    form = comparing.form(markdown, json)
    found = compare(
        base_run,
        new_run,
        base=base,
        new=new,
        tolerance=tolerance,
        level=level,
        only=only or [],
        metrics=metric or [],
        timing=timing,
    )
    comparing.show(found, form, html)
    if found.exit_code(strict):
        raise typer.Exit(1)


@app.command("verify")
def verify_verb(
    folder: Annotated[Path, Argument(help="A run folder.")],
    json: Json = False,
) -> None:
    """Check every block, checkpoint and table of a run folder; exit code 1 where one is damaged."""
    from vdbench.runner.verify import verify

    found = verify(folder)
    if json:
        rows = [finding._asdict() for finding in found.findings]
        _print({"files": found.files, "bad": found.bad, "findings": rows})
    else:
        _table([finding._asdict() for finding in found.findings])
        files = "1 file" if found.files == 1 else f"{found.files:,} files"
        said = f"{found.bad} damaged, misplaced or missing" if found.bad else "none is damaged"
        say(f"{files} checked, {said}.")
    if found.bad:
        raise typer.Exit(1)


@app.command("merge")
def merge_verb(
    folders: Annotated[list[Path], Argument(help="Run folders of one suite.")],
    out: Annotated[
        Path, Option(help="A new folder; or one with such a run, which is then one of them.")
    ],
    plugin: Plugins = None,
    allow: Allowed = None,
    json: Json = False,
) -> None:
    """Join runs of one suite; nothing is measured, and no file is overwritten."""
    from vdbench.cli.progress import automatic
    from vdbench.runner.merge import merge

    found = merge(folders, out, plugin or [], automatic(), allow or [])
    page = _report([out], None) if found.finished else None
    failed = found.finished.failed if found.finished else 0
    if json:
        conflicts = [conflict._asdict() for conflict in found.conflicts]
        _print({"folder": str(out), "report": page and str(page), "files": found.files,
                "damaged": found.damaged, "conflicts": conflicts, "failed": failed})  # fmt: skip
    else:
        _table(found.damaged)
        _table([conflict._asdict() for conflict in found.conflicts])
        say(f"{found.files:,} files joined." if page else "Nothing was written.")
        typer.echo(f"report: {page}" if page else "", nl=bool(page))
    if found.conflicts:
        typer.echo("vdbench: the runs differ in files of the same name; none is taken.", err=True)
    if failed:
        typer.echo(f"{failed} cells have no figures yet; the report says why.", err=True)
    if found.conflicts or failed:
        raise typer.Exit(1)


@app.command("list")
def list_verb(
    what: Annotated[str, Argument(help="estimators, suites, problems or datasets.")],
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """List the estimators, suites, problems or data sets."""
    from vdbench.cli import catalogue

    if what not in catalogue.LISTS:
        raise InputError(f"list {what}: there is no such list.{nearest(what, catalogue.LISTS)}")
    _load(plugin)
    rows = catalogue.LISTS[what]()
    if json:
        _print(rows)
    else:
        _table(rows)


@app.command("show")
def show_verb(
    name: Annotated[str, Argument(help="An estimator, suite, problem or data set.")],
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Show one thing: an estimator's formula, claim, cost, options and reference; a suite's content."""
    from vdbench.cli import catalogue

    _load(plugin)
    shown = catalogue.show(name)
    if json:
        _print(shown)
    else:
        say(catalogue.text(shown))


@app.command("check")
def check_verb(
    name: Annotated[
        str, Argument(metavar="NAME|FILE.py", help="An estimator, or a file that registers some.")
    ],
    option: Annotated[
        list[str] | None,
        Option(metavar="KEY=VALUE", help="An option of the estimator; repeatable."),
    ] = None,
    of: Annotated[
        list[str] | None,
        Option(
            metavar="NAME", help="Inner estimator; repeat for nested wrappers, outermost first."
        ),
    ] = None,
    level: Annotated[str, Option(help="small (seconds) or full.")] = "small",
    draws: Annotated[
        int | None,
        Option(help="Most draws of the gradient on one problem, in place of the level's."),
    ] = None,
    problem: Annotated[
        str | None,
        Option(
            metavar="FACTORY",
            help="Certify on your own problem: a name, or MODULE:FACTORY with --allow MODULE.",
        ),
    ] = None,
    batch_size: Annotated[int, Option(help="M, with --problem.")] = 32,
    allow: Allowed = None,
    verbose: Annotated[bool, Option("--verbose", help="Every finding, in a table.")] = False,
    strict: Annotated[bool, Option("--strict", help="Exit code 1 for INCONCLUSIVE, too.")] = False,
    seed: Annotated[int, Option(help="Random seed.")] = 0,
    device: Annotated[str, Option(help="cpu or cuda.")] = "cpu",
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Test whether an estimator does what it declares: PASSED, FAILED (exit code 1) or INCONCLUSIVE."""
    _load(plugin)
    from vdbench.certificate import check
    from vdbench.cli.check_arguments import own_problem, subjects

    own = own_problem(problem, allow or [], plugin or []) if problem else None
    found = []
    for estimator in subjects(name, option or [], of or []):
        found.append(
            check(
                estimator, level=level, draws=draws, seed=seed, device=device,  # type: ignore[arg-type]
                problem=own, batch_size=batch_size,
            )
        )  # fmt: skip
        if not json:
            say(("\n" if len(found) > 1 else "") + found[-1].text(verbose))
    verdicts = {certificate.verdict for certificate in found}
    verdict = next(v for v in ("FAILED", "INCONCLUSIVE", "PASSED") if v in verdicts)
    if json:
        passed = verdict == "PASSED"
        certificates = [certificate.json() for certificate in found]
        _print({"verdict": verdict, "passed": passed, "certificates": certificates})
    if verdict == "FAILED" or (strict and verdict != "PASSED"):
        raise typer.Exit(1)


def _load(plugins: list[Path] | None) -> None:
    from vdbench.estimation import registry

    for plugin in plugins or []:
        registry.load_plugin(plugin)


@new_app.command("estimator")
def new_estimator(
    name: Annotated[str, Argument(help="Its name, such as my-estimator.")],
    out: Annotated[Path, Option(metavar="DIR", help="Folder to write to.")] = Path(),
    json: Json = False,
) -> None:
    """Write an estimator's file and its test; both run at once."""
    from vdbench.cli import scaffold

    file, test = scaffold.write(name, out)
    if json:
        _print({"name": name, "file": str(file), "test": str(test)})
        return
    say(f"wrote {file} and {test}; next:")
    for words in (
        ["vdbench", "check", str(file)],
        ["python", "-m", "pytest", str(test)],
        ["vdbench", "run", "quick", "--plugin", str(file), "--set", f"estimators=[naive, {name}]"],
    ):
        say(f"  {shlex.join(words)}")


@data_app.command("list")
def data_list(json: Json = False) -> None:
    """List the data sets, and whether they are on this machine."""
    list_verb("datasets", None, json)


@data_app.command("fetch")
def data_fetch(name: Annotated[str, Argument(help="A data set.")]) -> None:
    """Fetch a data set, checked against its checksum, into the cache."""
    from vdbench import datasets

    datasets.fetch(name)
    say(f"{name}: {datasets.info(name).path or 'comes with vdbench'}")


@data_app.command("path")
def data_path(name: Annotated[str, Argument(help="A data set.")], json: Json = False) -> None:
    """Print where a data set is on this machine."""
    from vdbench import datasets

    found = datasets.info(name)
    if not found.local:
        raise InputError(
            f"data set '{name}' is not on this machine; 'vdbench data fetch {name}' gets it."
        )
    if json:
        _print({"name": name, "path": found.path})
        return
    say(found.path or "comes with an installed package; there is no folder of it")


@app.command("env")
def env_verb(device: Device = "auto", json: Json = False) -> None:
    """Print the environment as recorded with every run."""
    from vdbench import runner
    from vdbench.runner import environment

    described = environment.describe(runner.resolve_device(device).type)
    if json:
        _print(described)
    else:
        say(_indented(described))


def _indented(value: Any, depth: int = 0) -> str:
    pad = "  " * depth
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += [f"{pad}{key}", _indented(item, depth + 1)]
        else:
            lines.append(f"{pad}{key}: {'none' if item is None or item == {} else item}")
    return "\n".join(lines)


def _print(value: Any) -> None:
    say(json_.dumps(value, indent=1, default=str))


def _table(rows: list[dict[str, Any]]) -> None:
    """Print rows of the same keys as aligned columns."""
    if not rows:
        return
    text = [{key: str(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row[key]) for row in text)) for key in text[0]}
    *_, last = widths
    widths[last] = 0
    for row in [{key: key for key in widths}, *text]:
        say("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())


@app.callback(invoke_without_command=True)
def version_option(
    version: Annotated[bool, Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Benchmark gradient estimators for networks with noisy weights: variance, throughput, convergence."""
    if version:
        from vdbench import __version__

        say(f"vdbench {__version__}")
        raise typer.Exit


def _usage(error: Any) -> int:
    """Show what is wrong with the words of a command."""
    if type(error).__name__ != "NoArgsIsHelpError":  # whose message is the help
        error.message = sentence(error.message)
    error.show()
    return int(error.exit_code)


_fresh = False
"""Whether the process began with this command: one that has imported torch before may have computed with it."""


def main() -> None:
    """Run the command line; bad input ends with one sentence and exit code 2."""
    global _fresh
    _fresh = "torch" not in sys.modules
    steady()
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        say(f"vdbench: {sentence(str(error))}", err=True)
        code = 2
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # a name given as a file's
            raise
        say(f"vdbench: {shown(error.filename)} is too long for the name of a file.", err=True)
        code = 2
    except (typer.Abort, KeyboardInterrupt):
        say("Interrupted.", err=True)
        code = 130
    except Exception as error:
        if not hasattr(
            error, "show"
        ):  # the command line's own errors, which typer exports under no name
            raise
        code = _usage(error)
    if code == 130 and sys.stdout is sys.__stdout__:
        # threads of torch may still be at work: an orderly end would abort in them, with another exit code
        print(end="", flush=True)
        print(end="", file=sys.stderr, flush=True)
        os._exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
