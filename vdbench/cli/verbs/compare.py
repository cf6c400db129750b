"""``vdbench compare``: two runs, or two estimators of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from vdbench.cli import completion
from vdbench.cli.options import Json


def compare_verb(
    base_run: Annotated[Path, Argument(metavar="BASE", help="Run folder that is compared with.")],
    new_run: Annotated[
        Path | None,
        Argument(
            metavar="[NEW]", help="Run folder that is judged; default BASE, with --base and --new."
        ),
    ] = None,
    base: Annotated[
        str | None,
        Option(
            metavar="ESTIMATOR",
            help="Compare with this estimator of BASE.",
            autocompletion=completion.estimators,
        ),
    ] = None,
    new: Annotated[
        str | None,
        Option(
            metavar="ESTIMATOR",
            help="Judge this estimator of NEW.",
            autocompletion=completion.estimators,
        ),
    ] = None,
    tolerance: Annotated[
        float, Option(help="Relative difference that counts as none, from 0.")
    ] = 0.05,
    level: Annotated[float, Option(help="Level at which all verdicts hold together.")] = 0.95,
    only: Annotated[
        list[str] | None,
        Option(
            metavar="ESTIMATOR",
            help="Compare this estimator alone; repeatable.",
            autocompletion=completion.estimators,
        ),
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
    comparing.need_page(html)
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
