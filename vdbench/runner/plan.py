"""A suite as a list of cells, and how much work they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vdbench.errors import InputError, nearest
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import label
from vdbench.measures.cells import Cell, Place, fits
from vdbench.measures.registry import MEASURES, asked
from vdbench.problems.problem import Problem
from vdbench.suite.grid import expand
from vdbench.suite.schema import Suite


def estimators(suite: Suite, only: tuple[str, ...] = ()) -> list[Estimator]:
    """The suite's estimators in order, or only those whose name or label is given.

    The baseline, and the estimator that data parts are taken from, are always among them.

    Raises:
        InputError: A name given is none of the suite's.
    """
    every = [e for spec in suite.estimators for e in expand(spec)]
    known = {label(e) for e in every} | {e.declaration.name for e in every}
    for name in only:
        if name not in known:
            raise InputError(
                f"--only {name}: suite '{suite.name}' has no such estimator.{nearest(name, known)}"
            )
    if not only:
        return every
    wanted = {*only, suite.baseline}
    spec = suite.measures.variance
    if spec and spec.data_from:
        wanted.add(spec.data_from)
    return [e for e in every if label(e) in wanted or e.declaration.name in wanted]


def cells(suite: Suite, only: tuple[str, ...] = ()) -> list[Cell]:
    """All cells in the order in which they are measured: place by place, and there measure by measure."""
    chosen = estimators(suite, only)
    found = [cell for measure in asked(suite) for cell in measure.cells(suite, chosen)]
    order = {place: number for number, place in enumerate(dict.fromkeys(c.place for c in found))}
    return sorted(found, key=lambda cell: order[cell.place])  # stable: measures keep their order


def by_place(cells: Sequence[Cell]) -> Iterator[tuple[Place, list[Cell]]]:
    """Cells of one place together, in order."""
    found: dict[Place, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.place, []).append(cell)
    yield from found.items()


def check_problem(suite: Suite, problem: Problem) -> None:
    """See that what is asked for can be measured on a problem, and every minibatch fits into its data.

    Raises:
        InputError: It cannot.
    """
    own = next((p for p in suite.problems if p.name == problem.name), None)
    sizes = [*((own and own.batch_sizes) or suite.batch_sizes)]
    sizes += [checkpoint.batch_size for checkpoint in suite.checkpoints if checkpoint.epochs]
    fits(suite, problem, max(sizes))
    for measure in asked(suite):
        measure.check_problem(suite, problem)


def work(suite: Suite, cell: Cell, examples: Mapping[str, int] | None = None) -> tuple[int, int]:
    """Fewest and most gradients that a cell takes; throughput's and memory's own calls are not counted.

    Args:
        suite: What is asked for.
        cell: Which.
        examples: Training examples of the problems that are known, on which whole trainings depend.
    """
    (measure,) = [m for m in MEASURES if m.name == cell.measure]
    return measure.gradients(suite, cell, examples or {})
