"""``vdbench new``: the files of something new."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from vdbench.cli.options import Json
from vdbench.cli.printing import print_json
from vdbench.cli.streams import say

group = typer.Typer(help="Write the files of something new: an estimator.", no_args_is_help=True)


@group.command("estimator")
def new_estimator(
    name: Annotated[str, Argument(help="Its name, such as my-estimator.")],
    out: Annotated[Path, Option(metavar="DIR", help="Folder to write to.")] = Path(),
    json: Json = False,
) -> None:
    """Write an estimator's file and its test; both run at once."""
    from vdbench.cli import scaffold

    file, test = scaffold.write(name, out)
    if json:
        print_json({"name": name, "file": str(file), "test": str(test)})
        return
    say(f"wrote {file} and {test}; next:")
    for words in (
        ["vdbench", "check", str(file)],
        ["python", "-m", "pytest", str(test)],
        ["vdbench", "run", "quick", "--plugin", str(file), "--set", f"estimators=[naive, {name}]"],
    ):
        say(f"  {shlex.join(words)}")
