"""The command ``vdbench``: its verbs put together, and how it ends."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer import Option

from vdbench.cli.streams import say, steady
from vdbench.cli.verbs import GROUPS, VERBS
from vdbench.errors import InputError, sentence, shown
from vdbench.runner import early

app = typer.Typer(
    name="vdbench",
    help="Benchmark gradient estimators for networks with noisy weights: variance, throughput, convergence.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, verb in VERBS.items():
    app.command(name)(verb)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)


@app.callback(invoke_without_command=True)
def version_option(
    version: Annotated[bool, Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Benchmark gradient estimators for networks with noisy weights: variance, throughput, convergence."""
    if version:
        from vdbench import __version__

        say(f"vdbench {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; bad input ends with one sentence and exit code 2."""
    early.note()
    steady()
    try:
        code = app(standalone_mode=False, prog_name="vdbench")
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


def _usage(error: Any) -> int:
    """Show what is wrong with the words of a command."""
    if type(error).__name__ != "NoArgsIsHelpError":  # whose message is the help
        error.message = sentence(error.message)
    error.show()
    return int(error.exit_code)
