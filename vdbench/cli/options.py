"""Options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from vdbench.cli import completion

SuiteName = Annotated[
    str,
    Argument(
        help="A bundled suite's name, or a path to a YAML file.", autocompletion=completion.suites
    ),
]
Device = Annotated[str, Option(help="cpu, cuda or auto.", autocompletion=completion.devices)]
Mode = Annotated[
    list[str] | None,
    Option(
        metavar="MODE",
        help="How timed gradients are computed: eager, graph or compile; repeatable. The report ranks by the first.",
    ),
]
Only = Annotated[
    list[str] | None,
    Option(
        metavar="ESTIMATOR",
        help="Run this estimator and the baseline; repeatable.",
        autocompletion=completion.estimators,
    ),
]
Json = Annotated[bool, Option("--json", help="Print JSON.")]
Quiet = Annotated[
    bool, Option("--quiet", "-q", help="Show no progress, and of results only where they are.")
]
Verbose = Annotated[
    bool, Option("--verbose", "-v", help="Show every finished cell; in a pipe, every step of it.")
]
Explain = Annotated[
    bool, Option("--explain", help="Say in which way the draws of each cell were taken, and why.")
]
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
Engine = Annotated[
    str, Option("--engine", help="Who measures: local, ray or slurm; no value depends on it.")
]
EngineOptions = Annotated[
    list[str] | None,
    Option(
        "--engine-option",
        metavar="KEY=VALUE",
        help="What the engine is told, as in address=auto; repeatable.",
    ),
]
Share = Annotated[
    str,
    Option(
        metavar="URL",
        help="Where machines without a common folder leave what they measure, as in s3://bucket/mine.",
    ),
]
Plugins = Annotated[
    list[Path] | None,
    Option("--plugin", metavar="FILE.py", help="Load estimators from a file; repeatable."),
]


def with_modes(settings: list[str] | None, modes: list[str] | None) -> list[str]:
    """The settings of a suite, with the modes that were asked for."""
    return [*(settings or []), *([f"modes=[{', '.join(modes)}]"] if modes else [])]


def load_plugins(plugins: list[Path] | None) -> None:
    """Load the files given with ``--plugin``.

    Raises:
        InputError: One cannot be loaded.
    """
    from vdbench.estimation import registry

    for plugin in plugins or []:
        registry.load_plugin(plugin)
