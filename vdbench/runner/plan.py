"""A suite as a list of cells, and how much work they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vdbench import statistics
from vdbench.errors import InputError, nearest
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.options import label
from vdbench.problems.problem import Problem
from vdbench.suite.grid import checkpoint_name, expand
from vdbench.suite.schema import CheckpointSpec, ProblemSpec, Suite
from vdbench.suite.training_recipe import left, spec_of

TRAINING = "training"
"""Checkpoint of convergence cells: they train from initialisation."""

TRAINED = "trained"
"""Checkpoint of whole trainings: where their own recipe leads."""

SWEPT = "swept"
"""Whose random numbers the checkpoints of swept problems have: weights and minibatches in common."""

INSTRUMENT = ("coverage", "false_alarms", "power")
"""Measures about other measures, taken at a place for all its estimators together."""


@dataclass(frozen=True)
class Cell:
    """One estimator, one measure, one place.

    Attributes:
        problem: Its label.
        checkpoint: Name of the checkpoint, or ``training`` or ``trained``.
        batch_size: M.
        estimator: What is measured.
        measure: ``variance``, ``bias``, ``throughput``, ``memory``, ``convergence``, ``training``, one of
            `INSTRUMENT`, or ``kills``.
    """

    problem: str
    checkpoint: str
    batch_size: int
    estimator: Estimator
    measure: str

    @property
    def label(self) -> str:
        """How reports call the estimator."""
        return label(self.estimator)

    def __str__(self) -> str:
        """Where it is, for progress lines and messages."""
        return f"{self.measure} of {self.label} on {self.problem}, {self.checkpoint}, M={self.batch_size}"


@dataclass(frozen=True)
class Place:
    """A problem, a checkpoint and a batch size: where all estimators are compared."""

    problem: ProblemSpec
    checkpoint: CheckpointSpec
    batch_size: int


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


def on(problem: ProblemSpec, chosen: Sequence[Estimator]) -> list[Estimator]:
    """Those of some estimators that run on a problem."""
    if problem.estimators is None:
        return list(chosen)
    return [e for e in chosen if label(e) in problem.estimators]


def places(suite: Suite) -> Iterator[Place]:
    """Every problem × checkpoint × batch size, in order."""
    for problem in suite.problems:
        for checkpoint in suite.checkpoints:
            for batch_size in problem.batch_sizes or suite.batch_sizes:
                yield Place(problem, checkpoint, batch_size)


def training_sizes(suite: Suite, problem: ProblemSpec | None = None) -> list[int]:
    """Batch sizes that convergence trains with on a problem."""
    spec = suite.measures.convergence
    if spec and spec.batch_size:
        return [spec.batch_size]
    return list((problem and problem.batch_sizes) or suite.batch_sizes)


def cells(suite: Suite, only: tuple[str, ...] = ()) -> list[Cell]:
    """All cells in the order in which they are measured."""
    chosen = estimators(suite, only)
    at_places = [
        m
        for m in ("throughput", "memory", "variance", "bias", *INSTRUMENT)
        if getattr(suite.measures, m)
    ]
    found = [
        Cell(p.problem.name, checkpoint_name(p.checkpoint), p.batch_size, estimator, measure)
        for p in places(suite)
        for measure in at_places
        for estimator in on(p.problem, chosen)
    ]
    if suite.measures.kills:  # one cell: it runs a small suite of its own
        first = next(places(suite))
        place = (first.problem.name, checkpoint_name(first.checkpoint), first.batch_size)
        found.append(Cell(*place, estimators(suite, (suite.baseline,))[0], "kills"))
    if suite.measures.convergence:
        found += [
            Cell(problem.name, TRAINING, size, estimator, "convergence")
            for problem in suite.problems
            for size in training_sizes(suite, problem)
            for estimator in on(problem, chosen)
        ]
    if suite.measures.training:
        found += [
            Cell(problem.name, TRAINED, spec_of(suite, problem).batch_size, estimator, "training")
            for problem in suite.problems
            for estimator in on(problem, chosen)
        ]
    return found


def check_sizes(suite: Suite, problem: Problem) -> None:
    """See that every minibatch fits into a problem's data.

    Raises:
        InputError: One does not.
    """
    own = next((p for p in suite.problems if p.name == problem.name), None)
    sizes = [*((own and own.batch_sizes) or suite.batch_sizes), *training_sizes(suite, own)]
    sizes += [checkpoint.batch_size for checkpoint in suite.checkpoints if checkpoint.epochs]
    if suite.measures.training:
        spec = spec_of(suite, next(p for p in suite.problems if p.name == problem.name))
        sizes.append(spec.batch_size)
        if spec.validation and spec.batch_size > left(problem.examples, spec.validation):
            raise InputError(
                f"suite '{suite.name}': batch size {spec.batch_size} is more than the "
                f"{left(problem.examples, spec.validation)} training examples that validation leaves of problem "
                f"'{problem.name}'."
            )
    if max(sizes) > problem.examples:
        raise InputError(
            f"suite '{suite.name}': batch size {max(sizes)} is more than the "
            f"{problem.examples} training examples of problem '{problem.name}'."
        )


def check_few_examples(suite: Suite, problem: Problem) -> None:
    """See that an estimator measured on few examples serves, on this problem, the objective of its data part's source.

    Raises:
        InputError: It does not.
    """
    spec = suite.measures.variance
    if spec is None or not spec.few_examples:
        return
    known = {label(e): e for item in suite.estimators for e in expand(item)}
    source = objective(known[str(spec.data_from)], problem)
    for name in spec.few_examples:
        mine = objective(known[name], problem)
        if mine != source:
            raise InputError(
                f"suite '{suite.name}': measures.variance: '{name}' cannot take its data part from "
                f"'{spec.data_from}' on problem '{problem.name}', whose layers {', '.join(problem.shared)} use a "
                f"weight at several places: they serve the objectives {mine} and {source} there."
            )


def work(suite: Suite, cell: Cell, examples: Mapping[str, int] | None = None) -> tuple[int, int]:
    """Fewest and most gradients that a cell takes; throughput's and memory's own calls are not counted.

    Args:
        suite: What is asked for.
        cell: Which.
        examples: Training examples of the problems that are known, on which whole trainings depend.
    """
    measures = suite.measures
    if cell.measure == "training":
        return _trainings(suite, cell, (examples or {}).get(cell.problem))
    if cell.measure == "variance" and measures.variance:
        looks = statistics.looks(measures.variance.first_units, measures.variance.max_units)
        return 4 * looks[0], 4 * looks[-1]
    if cell.measure == "bias" and measures.bias:
        count = 4 * measures.bias.units * measures.bias.draws
        return count, count
    if cell.measure == "convergence" and measures.convergence:
        count = measures.convergence.steps * measures.convergence.seeds
        return count, count
    if cell.measure == "memory" and measures.memory:
        return measures.memory.repetitions, measures.memory.repetitions
    if cell.measure == "throughput" and measures.throughput:
        return 8, measures.throughput.rounds
    if cell.measure in (*INSTRUMENT, "kills"):
        from vdbench.measures.instrument.workload import gradients

        return gradients(measures, cell.measure, cell.label == suite.baseline)
    raise ValueError(f"the suite does not take the measure '{cell.measure}'")


def _trainings(suite: Suite, cell: Cell, examples: int | None) -> tuple[int, int]:
    """Gradients of a cell's trainings; where the data set is not known, one an epoch is the fewest, none the most."""
    spec = spec_of(suite, next(p for p in suite.problems if p.name == cell.problem))
    size = left(examples or 0, spec.validation)
    each = spec.seeds * max(1, size // spec.batch_size)
    fewest = min(spec.epochs, 1 + (spec.patience or spec.epochs))
    return each * fewest, each * spec.epochs
