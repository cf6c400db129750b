"""``vdbench check``: the certificate of an estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from vdbench.cli import completion
from vdbench.cli.interrupts import repeatable
from vdbench.cli.options import Allowed, Json, Plugins, load_plugins
from vdbench.cli.printing import print_json, print_text
from vdbench.cli.streams import say

if TYPE_CHECKING:
    from vdbench.certificate import Certificate


def check_verb(
    name: Annotated[
        str,
        Argument(
            metavar="NAME|FILE.py",
            help="An estimator, or a file that registers some.",
            autocompletion=completion.subjects,
        ),
    ],
    option: Annotated[
        list[str] | None,
        Option(metavar="KEY=VALUE", help="An option of the estimator; repeatable."),
    ] = None,
    of: Annotated[
        list[str] | None,
        Option(
            metavar="NAME",
            help="Inner estimator; repeat for nested wrappers, outermost first.",
            autocompletion=completion.estimators,
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
            metavar="PROBLEM",
            help="Certify on one problem: SUITE:PROBLEM, a factory, or MODULE:FACTORY with --allow MODULE.",
        ),
    ] = None,
    batch_size: Annotated[int, Option(help="M, with --problem.")] = 32,
    allow: Allowed = None,
    verbose: Annotated[
        bool, Option("--verbose", help="All checks to their end, and every finding in a table.")
    ] = False,
    strict: Annotated[bool, Option("--strict", help="Exit code 1 for INCONCLUSIVE, too.")] = False,
    seed: Annotated[int, Option(help="Random seed.")] = 0,
    device: Annotated[str, Option(help="cpu or cuda.")] = "cpu",
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Test whether an estimator does what it declares: PASSED, FAILED (exit code 1) or INCONCLUSIVE."""
    load_plugins(plugin)
    from vdbench.certificate import check
    from vdbench.cli.check_arguments import own_problem, subjects
    from vdbench.cli.progress import checks

    own = own_problem(problem, allow or [], plugin or []) if problem else None
    found = []
    for estimator in subjects(name, option or [], of or []):
        with repeatable("A check keeps nothing: the same command begins anew."), checks() as told:
            one = check(
                estimator, level=level, draws=draws, seed=seed, device=device,  # type: ignore[arg-type]
                problem=own, batch_size=batch_size, complete=verbose, told=told,
            )  # fmt: skip
        found.append(one)
        if not json:
            text = ("\n" if len(found) > 1 else "") + one.text(verbose)
            (say if verbose else print_text)(text)
    verdict = _worst(found)
    if json:
        certificates = [certificate.json() for certificate in found]
        print_json(
            {"verdict": verdict, "passed": verdict == "PASSED", "certificates": certificates}
        )
    if verdict == "FAILED" or (strict and verdict != "PASSED"):
        raise typer.Exit(1)


def _worst(found: list[Certificate]) -> str:
    """The verdict on all of them."""
    verdicts = {certificate.verdict for certificate in found}
    return next(v for v in ("FAILED", "INCONCLUSIVE", "PASSED") if v in verdicts)
