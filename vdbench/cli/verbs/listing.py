"""``vdbench list`` and ``vdbench show``: what there is."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from vdbench.cli import completion
from vdbench.cli.options import Json, Plugins, load_plugins
from vdbench.cli.printing import print_json, print_table
from vdbench.cli.streams import say
from vdbench.errors import InputError, nearest


def list_verb(
    what: Annotated[
        str,
        Argument(help="estimators, suites, problems or datasets.", autocompletion=completion.lists),
    ] = "",
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """List the estimators, suites, problems or data sets."""
    from vdbench.cli import catalogue

    if not what:
        raise InputError(
            f"list: say what: {', '.join(catalogue.LISTS)}; such as: vdbench list estimators."
        )
    if what not in catalogue.LISTS:
        raise InputError(f"list {what}: there is no such list.{nearest(what, catalogue.LISTS)}")
    load_plugins(plugin)
    rows = catalogue.LISTS[what]()
    if json:
        print_json(rows)
    else:
        print_table(rows)


def show_verb(
    name: Annotated[
        str,
        Argument(help="An estimator, suite, problem or data set.", autocompletion=completion.shown),
    ],
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Show one thing: an estimator's formula, claim, cost, options and reference; a suite's content."""
    from vdbench.cli import catalogue

    load_plugins(plugin)
    shown = catalogue.show(name)
    if json:
        print_json(shown)
    else:
        say(catalogue.text(shown))
