"""Whole trainings, one a seed: what a recipe gives in test error, calibration, ELBO and sparsity.

The address of a seed's training holds neither problem nor estimator: initial weights, minibatch order, validation
split and evaluation weights are shared by all problems and estimators whose shapes agree, so that they are compared
in pairs, seed by seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vdbench.measures.context import Context
from vdbench.schedules import Recipe
from vdbench.store import Table, atomic
from vdbench.suite.schema import TrainingSpec
from vdbench.training.history import PREFIX, Tracker, Tracking, hold_out
from vdbench.training.trainer import Trainer, train

VERSION = "3"
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


def rows(context: Context, plan: Plan, seed: int, file: Path, say: Callable[[str], None]) -> Table:
    """Train once, or go on with a training that was killed.

    Args:
        context: The estimator and its problem; its parameters are not used.
        plan: How.
        seed: Number of this training.
        file: Where it is saved after each epoch.
        say: Told when a training must begin again.

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
    train(trainer, spec.epochs, file, tracker, say)
    tracker.finish(trainer)
    return tracker.table()


def keep_result(file: Path) -> None:
    """Leave in a training's file only the parameters that it gave, once its rows are stored; a third of its size."""
    if not file.exists():
        return
    with np.load(file, allow_pickle=False) as saved:
        if f"{PREFIX}numbers" not in saved.files:
            return  # done before
        best = f"{PREFIX}best/"
        start = best if any(name.startswith(best) for name in saved.files) else "parameter/"
        values = {
            f"parameter/{name.removeprefix(start)}": saved[name]
            for name in saved.files
            if name.startswith(start)
        }
    with atomic(file) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, allow_pickle=False, **values)
