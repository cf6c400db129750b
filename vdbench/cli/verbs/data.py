"""``vdbench data``: data sets."""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Argument

from vdbench.cli.options import Json
from vdbench.cli.printing import print_json
from vdbench.cli.streams import say
from vdbench.cli.verbs.listing import list_verb
from vdbench.errors import InputError

group = typer.Typer(help="Data sets: list, fetch, path.", no_args_is_help=True)


@group.command("list")
def data_list(json: Json = False) -> None:
    """List the data sets, and whether they are on this machine."""
    list_verb("datasets", None, json)


@group.command("fetch")
def data_fetch(name: Annotated[str, Argument(help="A data set.")]) -> None:
    """Fetch a data set, checked against its checksum, into the cache."""
    from vdbench import datasets

    datasets.fetch(name)
    say(f"{name}: {datasets.info(name).path or 'comes with vdbench'}")


@group.command("path")
def data_path(name: Annotated[str, Argument(help="A data set.")], json: Json = False) -> None:
    """Print where a data set is on this machine."""
    from vdbench import datasets

    found = datasets.info(name)
    if not found.local:
        raise InputError(
            f"data set '{name}' is not on this machine; 'vdbench data fetch {name}' gets it."
        )
    if json:
        print_json({"name": name, "path": found.path})
        return
    say(found.path or "comes with an installed package; there is no folder of it")
