"""Whole trainings, one a seed: what a recipe gives in test error, calibration, ELBO and sparsity.

The address of a seed's training holds neither problem nor estimator: initial weights, minibatch order, validation
split and evaluation weights are shared by all problems and estimators whose shapes agree, so that they are compared
in pairs, seed by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vdbench.errors import InputError
from vdbench.estimation.base import Estimator
from vdbench.measures import expected, live_bytes, training_metrics
from vdbench.measures.cells import TRAINED, Cell, Outcome, fits, on
from vdbench.measures.context import Context
from vdbench.measures.convergence import evaluated_on, no_test, subset, try_at_start
from vdbench.measures.expected import Expected
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.problems.problem import Problem
from vdbench.schedules import Recipe
from vdbench.store import Address, Damaged, Ledger, Table, arrays, digest
from vdbench.suite.schema import Suite, TrainingSpec
from vdbench.suite.training_recipe import left, recipe_of, spec_of
from vdbench.training.evaluation import ROWS, fixed, mean_weights
from vdbench.training.history import PREFIX, Tracker, Tracking, hold_out
from vdbench.training.trainer import Trainer, train

VERSION = "4"
"""Changes whenever a row may change; part of every block's address."""


@dataclass(frozen=True)
class Plan:
    """How trainings are run and judged.

    Attributes:
        spec: What the suite says.
        recipe: Its schedule, KL weight and bounds.
    """

    spec: TrainingSpec
    recipe: Recipe

    @property
    def tracking(self) -> Tracking:
        """What is looked at."""
        spec = self.spec
        marks = {round(spec.epochs * k / spec.evaluations) for k in range(spec.evaluations + 1)}
        return Tracking(
            tuple(sorted(marks)), spec.samples, spec.examples, spec.prune, spec.patience
        )

    @property
    def address(self) -> dict[str, Any]:
        """All that a training's rows depend on; not how many seeds there are."""
        return self.spec.model_dump(mode="json", exclude={"seeds", "batch_size"})


def rows(
    context: Context,
    plan: Plan,
    seed: int,
    file: Path,
    say: Callable[[str], None],
    address: Address | None = None,
    ledger: Ledger | None = None,
    guard: Callable[[], None] = lambda: None,
) -> Table:
    """Train once, or go on with a training that was killed.

    Args:
        context: The estimator and its problem; its parameters are not used.
        plan: How.
        seed: Number of this training.
        file: Where it is saved after each epoch.
        say: Told when a training must begin again.
        address: Of this training, for the file's seal.
        ledger: Sets aside a file that does not fit.
        guard: Called before each time it is saved.

    Returns:
        The table of `vdbench.training.history`.

    Raises:
        CellError: Training diverged.
    """
    key = context.key / seed
    problem, validation, spec = context.problem, None, plan.spec
    if spec.validation is not None:
        problem, validation = hold_out(problem, spec.validation, key)
    trainer = Trainer(
        problem=problem,
        estimator=context.estimator,
        parameters=problem.initial(key),
        batch_size=context.batch_size,
        learning_rate=spec.learning_rate,
        key=key,
        recipe=plan.recipe,
    )
    tracker = Tracker(plan.tracking, key, validation)
    train(trainer, spec.epochs, file, tracker, say, address, ledger, guard)
    tracker.finish(trainer)
    return tracker.table()


def keep_result(file: Path, address: Address | None = None, ledger: Ledger | None = None) -> None:
    """Leave in a training's file only the parameters that it gave, once its rows are stored; a third of its size.

    A file that does not fit is set aside. No figure comes from it, so the training is not run again for it.
    """
    try:
        found = arrays.read(file, address)
        if ledger:
            ledger.accept(file, found.sealed)
    except FileNotFoundError:
        return
    except Damaged as error:
        if ledger is None:
            raise
        ledger.set_aside(file, str(error))
        return
    saved = found.values
    if f"{PREFIX}numbers" not in saved:
        return  # done before
    best = f"{PREFIX}best/"
    start = best if any(name.startswith(best) for name in saved) else "parameter/"
    values = {
        f"parameter/{name.removeprefix(start)}": value
        for name, value in saved.items()
        if name.startswith(start)
    }
    arrays.write(file, values, address)


class Training(Measure):
    """Whole trainings by a recipe: test error, calibration, ELBO and sparsity."""

    name = "training"
    spec = TrainingSpec
    compares = True

    def check(self, where: str, suite: Suite) -> None:
        """See that trainings are measured where problems change them or are compared by them, and can be run."""
        if self.asked(suite) is None:
            _refuse_without(where, suite)
            return
        for problem in suite.problems:
            try:
                spec = spec_of(suite, problem)
                recipe_of(spec)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
            if spec.patience and spec.validation is None:
                raise InputError(
                    f"{where}: training of problem '{problem.name}' has patience without validation; "
                    "expected a share of the training set, such as validation: 0.1."
                )

    def check_problem(self, suite: Suite, problem: Problem) -> None:
        """See that training minibatches fit into the data that validation leaves."""
        spec = spec_of(suite, next(p for p in suite.problems if p.name == problem.name))
        if spec.validation and spec.batch_size > left(problem.examples, spec.validation):
            raise InputError(
                f"suite '{suite.name}': batch size {spec.batch_size} is more than the "
                f"{left(problem.examples, spec.validation)} training examples that validation leaves of problem "
                f"'{problem.name}'."
            )
        fits(suite, problem, spec.batch_size)

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each problem and estimator."""
        return [
            Cell(
                problem.name,
                TRAINED,
                spec_of(suite, problem).batch_size,
                estimator,
                self.name,
                trains=True,
            )
            for problem in suite.problems
            for estimator in on(problem, estimators)
        ]

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """Steps of all seeds; where the data set is not known, one an epoch is the fewest, none the most."""
        spec = _spec(suite, cell)
        size = left(examples.get(cell.problem, 0), spec.validation)
        each = spec.seeds * max(1, size // spec.batch_size)
        fewest = min(spec.epochs, 1 + (spec.patience or spec.epochs))
        return each * fewest, each * spec.epochs

    def memory(self, suite: Suite, cell: Cell, context: Context, limit: int) -> Expected:
        """Parameters with Adam's moments, the best ones, a gradient, and some examples predicted at once."""
        problem, parameters = context.problem, context.parameters

        def predicted(_: int, rows_: int) -> object:
            with torch.no_grad():
                use = fixed(mean_weights(problem, parameters))
                return problem.outputs(use, problem.data.train.inputs[:rows_], parameters).double()

        most, doubted = min(ROWS, problem.examples), expected.doubted(context)
        found = live_bytes.expected(predicted, 1, most, doubted=doubted)
        return expected.training(context, found, copies=6)

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """One whole training a seed, each a block of its own; one that is killed goes on from its last epoch."""
        (cell,) = cells
        spec = _spec(session.suite, cell)
        plan = Plan(spec, recipe_of(spec))
        context = site.untrained(cell.estimator)
        try_at_start(site, context)
        seeds = []
        for seed in range(spec.seeds):
            session.progress.detail(f"seed {seed + 1} of {spec.seeds}")
            session.progress.share(seed / spec.seeds)
            address = session.address(
                context,
                self.name,
                VERSION,
                together=0,
                training=seed,
                plan=plan.address,
            )
            file = session.folder / "training" / f"{digest(address)}.npz"
            store, note = session.store, session.progress.note
            more = (address, store.ledger, store.guard)
            compute = partial(rows, context, plan, seed, file, note, *more)
            seeds.append(store.get(address, compute))
            keep_result(file, address, store.ledger)
        reason = f"{spec.seeds} seeds of up to {spec.epochs} epochs{no_test(context.problem)}"
        detail = {**_epochs(seeds, spec.epochs), **evaluated_on(context.problem, spec.examples)}
        return [Outcome(cell, "ok", reason, spec.seeds, seeds, detail=detail)]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """What the trainings gave, and their course."""
        for outcome in mine(self, outcomes).values():
            yield outcome, training_metrics.values(outcome.data, suite.level, subset(outcome))

    def across(self, session: Session, outcomes: Sequence[Outcome]) -> Values:
        """Differences between problems, seed by seed; writes the table of all trainings' epochs."""
        kept = {(c.problem, c.label) for c in session.kept if c.measure == self.name}
        training_metrics.write(
            outcomes, session.folder / training_metrics.FILE, session.identity, kept
        )
        yield from training_metrics.differences(session.suite, outcomes)


def _refuse_without(where: str, suite: Suite) -> None:
    for problem in suite.problems:
        if problem.training:
            raise InputError(
                f"{where}: problem '{problem.name}' changes training, which the suite does not measure; "
                "expected measures.training."
            )
    if suite.baseline_problem is not None:
        raise InputError(
            f"{where}: baseline_problem is what trainings are compared with; expected measures.training."
        )


def _spec(suite: Suite, cell: Cell) -> TrainingSpec:
    return spec_of(suite, next(p for p in suite.problems if p.name == cell.problem))


def _epochs(seeds: Sequence[Table], planned: int) -> dict[str, Any]:
    """Where patience ended each seed's training, and the epoch whose parameters it gave."""
    last = [int(table["epoch"].max()) for table in seeds]
    best = [int(table["value"][table["metric"] == "final.training.epochs"][0]) for table in seeds]
    return {"stopped_early": [e if e < planned else None for e in last], "best": best}
