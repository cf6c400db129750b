"""``vdbench run --dry-run``: the cells of a suite and how much work they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vdbench.cli import seconds
from vdbench.cli.asked import Asked
from vdbench.cli.options import load_plugins
from vdbench.cli.pace import in_words
from vdbench.cli.printing import print_json, print_table
from vdbench.cli.streams import say
from vdbench.errors import InputError

if TYPE_CHECKING:
    from vdbench.measures.cells import Cell
    from vdbench.measures.context import Context
    from vdbench.problems.problem import Problem
    from vdbench.suite.schema import Suite


ABOUT_MEMORY = (
    "Memory is that of tensors, above what a process has of libraries, data and parameters; allocators take up to 1.8 "
    "times as much, and libraries some 12 MiB."
)


def show(asked: Asked, json: bool, memory: bool = False) -> None:
    """Print the cells, their gradients, and their seconds as far as they are known; nothing is measured.

    Args:
        asked: What is asked for.
        json: Whether as JSON.
        memory: Whether the memory that cells are expected to take is found, by a few draws on small minibatches.

    Raises:
        InputError: The suite would be refused; only a GPU may be missing.
    """
    suite, (device, lacking) = _suite(asked), _device(asked.device)
    _refuse(suite, device)
    cells = _cells(asked, suite, device, memory)
    least, most = (sum(int(c[f"gradients_{end}"]) for c in cells) for end in ("least", "most"))
    known = [cell["seconds"] for cell in cells if cell["seconds"] is not None]
    if lacking:
        say(f"{lacking} Elsewhere the plan would be this.", err=True)
    if json:
        print_json(
            {
                "suite": suite.name,
                "device": device,
                "cells": cells,
                "gradients_least": least,
                "gradients_most": most,
                "seconds": sum(known) if known else None,
                "seconds_of_cells": len(known),
            }
        )
        return
    # rows of what is timed have a mode, the others none
    names = dict.fromkeys(key for cell in cells for key in cell)
    print_table([_shown({n: cell.get(n, "") for n in names}, bool(known)) for cell in cells])
    if memory:
        say(ABOUT_MEMORY)
    say(f"{len(cells)} cells, {least:,} to {most:,} gradients; nothing was measured.")
    say(_in_seconds(known, len(cells)))


def _shown(cell: dict[str, Any], timed: bool) -> dict[str, Any]:
    """A row of the table; it has seconds where any are known."""
    took = cell["seconds"]
    rest = {key: value for key, value in cell.items() if key != "seconds"}
    if "memory_bytes" in rest:
        size = rest.pop("memory_bytes")
        rest["memory"] = "unknown" if size is None else _of_memory(size)
    return {**rest, "time": "unknown" if took is None else in_words(took)} if timed else rest


def _of_memory(size: int) -> str:
    from vdbench.measures.expected import in_words

    return in_words(size)


def _in_seconds(known: list[float], cells: int) -> str:
    if not known:
        return "No time can be stated: no such cell has been measured on this machine yet."
    rest = (
        "" if len(known) == cells else f" for {len(known)} of the cells; the others are not known"
    )
    return f"About {in_words(sum(known))}{rest}, by what such cells took on this machine before."


def _device(name: str) -> tuple[str, str]:
    """The kind of device, and what to say where there is no GPU.

    Raises:
        InputError: There is no such kind.
    """
    from vdbench.runner import resolve_device

    try:
        return resolve_device(name).type, ""
    except InputError:
        if name != "cuda":
            raise
        return (
            "cuda",
            "device 'cuda': torch finds no usable GPU here, and this run would be refused.",
        )


def _refuse(suite: Suite, device: str) -> None:
    """Refuse what a run refuses: modes and precisions that the device has not."""
    import torch

    from vdbench.runner import prepare

    prepare.refuse(suite, torch.device(device))


def _suite(asked: Asked) -> Suite:
    """The suite that is asked for, which may be run."""
    from vdbench.measures.registry import load
    from vdbench.runner import prepare

    load_plugins([*asked.plugins])
    suite = load(asked.suite, asked.settings)
    prepare.allowed(asked.suite, suite, asked.settings, asked.plugins, asked.allow)
    return suite


def _cells(asked: Asked, suite: Suite, device: str, memory: bool) -> list[dict[str, Any]]:
    """One row a cell."""
    from vdbench.runner import plan

    (examples, built), found = _examples(suite), []
    cells = plan.cells(suite, tuple(asked.only))
    ahead = _Memory(suite, built if device == "cpu" else {})
    for cell, took in zip(cells, seconds.known(suite, cells, device), strict=True):
        least, most = plan.work(suite, cell, examples)
        found.append(
            {
                "measure": cell.measure,  # first, then what else names it
                **cell.record,
                "gradients_least": least,
                "gradients_most": most,
                "seconds": took,
                **({"memory_bytes": ahead.of(cell)} if memory else {}),
            }
        )
    return found


class _Memory:
    """What cells are expected to take, each estimator looked at once at a place."""

    def __init__(self, suite: Suite, built: dict[str, Problem]) -> None:
        self._suite, self._contexts = suite, dict[Any, Any]()
        self._built = {n: p.in_precision("cpu", suite.precision) for n, p in built.items()}

    def of(self, cell: Cell) -> int | None:
        """Bytes; None where nothing can be said of it here."""
        from vdbench.measures import expected, foresight
        from vdbench.runner.bench import measure_named

        if cell.problem not in self._built:
            return None
        where = (cell.problem, cell.batch_size, cell.estimator, cell.trains)
        try:
            if where not in self._contexts:
                self._contexts[where] = self._context(cell)
        except Exception:  # as of a run, where the cell fails
            return None
        measure, limit = measure_named(self._suite, cell.measure), expected.may_take(self._suite)
        found = foresight.of_cell(measure, self._suite, cell, self._contexts[where], limit)
        return None if found is None else found.bytes

    def _context(self, cell: Cell) -> Context:
        from vdbench.estimation.options import label
        from vdbench.measures import foresight
        from vdbench.measures.context import Context

        suite, problem = self._suite, self._built[cell.problem]
        key = cell.place.key(suite.seed, suite.noise)
        name, size = label(cell.estimator), cell.batch_size
        return foresight.begun(
            Context(problem, {}, cell.estimator, name, size, key, {}, suite.objective)
        )


def _examples(suite: Suite) -> tuple[dict[str, int], dict[str, Problem]]:
    """Training examples of each problem, and the problems that can be built here."""
    from vdbench import datasets, problems
    from vdbench.runner import plan

    examples, built = {}, {}
    for spec in suite.problems:
        problem = problems.check(spec.name, spec.factory, spec.options)
        if problem is not None:
            plan.check_problem(suite, problem)
            examples[spec.name], built[spec.name] = problem.examples, problem
        else:  # not on this machine: no more than all its examples
            examples[spec.name] = datasets.info(str(spec.options.get("dataset"))).examples
    return examples, built
