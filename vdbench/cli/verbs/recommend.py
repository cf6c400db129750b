"""``vdbench recommend``: which estimator to use for a model."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from vdbench.cli import completion
from vdbench.cli.interrupts import repeatable
from vdbench.cli.options import Allowed, Device, Json, Plugins, Quiet, Verbose
from vdbench.cli.printing import print_json
from vdbench.cli.streams import say
from vdbench.siblings import import_own

MODEL = "MODULE:FACTORY (with --allow MODULE), a suite with one problem, or SUITE:PROBLEM."


def recommend_verb(
    model: Annotated[str, Argument(help=MODEL)],
    data: Annotated[
        str | None,
        Option(metavar="NAME", help="Data set, for a factory that returns a network."),
    ] = None,
    minutes: Annotated[float, Option(help="Of measuring, about.")] = 5.0,
    batch_size: Annotated[
        list[int] | None,
        Option(
            metavar="M", help="Minibatch size to try, yours first; repeatable. Default 32, 128."
        ),
    ] = None,
    samples: Annotated[
        list[int] | None,
        Option(metavar="S", help="Draws to average a gradient of; repeatable. Default 1, 4."),
    ] = None,
    only: Annotated[
        list[str] | None,
        Option(
            metavar="ESTIMATOR",
            help="Try this one, in place of all; repeatable.",
            autocompletion=completion.estimators,
        ),
    ] = None,
    baseline: Annotated[str, Option(metavar="ESTIMATOR", help="What you use now.")] = "naive",
    zone: Annotated[float, Option(help="Relative difference that does not matter.")] = 0.05,
    error: Annotated[float, Option(help="Most probability that anything said is wrong.")] = 0.05,
    epochs: Annotated[
        int | None,
        Option(help="Of training before gradients are taken; default the suite's, or none."),
    ] = None,
    out: Annotated[
        Path | None, Option(help="Run folder to keep; nothing is kept by default.")
    ] = None,
    allow: Allowed = None,
    plugin: Plugins = None,
    device: Device = "cpu",
    threads: Annotated[int, Option(help="Of torch on a CPU.")] = 1,
    seed: Annotated[int | None, Option(help="Random seed.")] = None,
    markdown: Annotated[bool, Option("--markdown", help="Print Markdown.")] = False,
    html: Annotated[Path | None, Option(metavar="FILE", help="Write a page, too.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Say which estimator has the least variance × time, and × memory, for a model on this machine."""
    from vdbench.cli.comparing import WIDTH, form, need_page, write_page
    from vdbench.cli.progress import automatic
    from vdbench.recommendation import recommend
    from vdbench.recommendation.one_model import DRAWS

    asked = form(markdown, json)
    need_page(html)
    with repeatable("A recommendation is made at one go: the same command begins anew."):
        found = recommend(
            model,
            data,
            minutes=minutes,
            batch_sizes=batch_size or [],
            samples=samples or DRAWS,
            estimators=only or [],
            baseline=baseline,
            zone=zone,
            error=error,
            epochs=epochs,
            seed=seed,
            threads=threads,
            device=device,
            out=out,
            allow=[*(allow or []), *(path.stem for path in plugin or [])],
            plugins=plugin or [],
            progress=automatic(quiet, verbose),
        )
    if html is not None:
        write_page(html, found.html())
    if asked == "json":
        print_json(found.json())
    elif asked == "markdown":
        say(found.markdown())
    elif sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        print(import_own("reports").recommended(found, "colour", width))
    else:
        say(found.text(WIDTH))
    if html is not None and asked == "text":
        say(f"page: {html}")
