"""``vdbench run --dry-run``: the cells of a suite and how much work they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vdbench.cli.asked import Asked
from vdbench.cli.printing import print_json, print_table
from vdbench.cli.streams import say

if TYPE_CHECKING:
    from vdbench.suite.schema import Suite


def show(asked: Asked, json: bool) -> None:
    """Print the cells and their gradients; nothing is measured.

    Raises:
        InputError: The suite would be refused.
    """
    suite = _suite(asked)
    cells = _cells(asked, suite)
    least, most = (sum(int(c[f"gradients_{end}"]) for c in cells) for end in ("least", "most"))
    if json:
        print_json(
            {"suite": suite.name, "cells": cells, "gradients_least": least, "gradients_most": most}
        )
        return
    print_table(cells)
    say(f"{len(cells)} cells, {least:,} to {most:,} gradients; nothing was measured.")


def _suite(asked: Asked) -> Suite:
    """The suite that is asked for, which may be run."""
    from vdbench.cli.options import load_plugins
    from vdbench.measures.registry import load
    from vdbench.runner import run_suite

    load_plugins([*asked.plugins])
    suite = load(asked.suite, asked.settings)
    run_suite.allowed(asked.suite, suite, asked.settings, asked.plugins, asked.allow)
    return suite


def _cells(asked: Asked, suite: Suite) -> list[dict[str, Any]]:
    """One row a cell."""
    from vdbench.runner import plan

    examples = _examples(suite)
    found = []
    for cell in plan.cells(suite, tuple(asked.only)):
        least, most = plan.work(suite, cell, examples)
        found.append(
            {
                "measure": cell.measure,
                "problem": cell.problem,
                "checkpoint": cell.checkpoint,
                "batch_size": cell.batch_size,
                "estimator": cell.label,
                "gradients_least": least,
                "gradients_most": most,
            }
        )
    return found


def _examples(suite: Suite) -> dict[str, int]:
    """Training examples of each problem."""
    from vdbench import datasets, problems
    from vdbench.runner import plan

    examples = {}
    for spec in suite.problems:
        problem = problems.check(spec.name, spec.factory, spec.options)
        if problem is not None:
            plan.check_problem(suite, problem)
            examples[spec.name] = problem.examples
        else:  # not on this machine: no more than all its examples
            examples[spec.name] = datasets.info(str(spec.options.get("dataset"))).examples
    return examples
