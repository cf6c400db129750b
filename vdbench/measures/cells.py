"""What is measured: cells, the places at which they are measured, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vdbench.errors import InputError
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import label
from vdbench.noise import TORCH, Key
from vdbench.problems.problem import Problem
from vdbench.suite.grid import checkpoint_name
from vdbench.suite.schema import ProblemSpec, Suite

TRAINING = "training"
"""Checkpoint of convergence cells: they train from initialisation."""

TRAINED = "trained"
"""Checkpoint of whole trainings: where their own recipe leads."""

SWEPT = "swept"
"""Whose random numbers the checkpoints of swept problems have: weights and minibatches in common."""


class Place(NamedTuple):
    """Where all estimators are compared: a problem, a checkpoint and a minibatch size.

    ``trains`` tells trainings from measurements at a checkpoint that happens to have the same name.
    """

    problem: str
    checkpoint: str
    batch_size: int
    trains: bool = False

    def key(self, seed: int, noise: str = TORCH) -> Key:
        """Address of the noise of everything measured here, and how it is made.

        Whole trainings share theirs between problems and estimators, so that they can be compared seed by seed.
        """
        if self.trains and self.checkpoint == TRAINED:
            return Key(("vdbench", seed, TRAINED), noise)
        place = (self.problem, self.checkpoint, self.batch_size)
        return Key(("vdbench", seed, *place), noise)


NAMES = ("problem", "checkpoint", "batch_size", "estimator", "measure", "mode")
"""Keys of a cell's record that name it; ``mode`` is absent of most."""


def named(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What names a cell, from its record."""
    return tuple(record.get(key) for key in NAMES)


@dataclass(frozen=True)
class Cell:
    """One estimator, one measure, one place.

    Attributes:
        problem: Its label.
        checkpoint: Name of the checkpoint, or ``training`` or ``trained``.
        batch_size: M.
        estimator: What is measured.
        measure: Name of the measure.
        trains: Whether it trains from initialisation, instead of measuring at a checkpoint.
        mode: How gradients are computed (`vdbench.modes`), of what is timed; '' of all else.
    """

    problem: str
    checkpoint: str
    batch_size: int
    estimator: Estimator
    measure: str
    trains: bool = False
    mode: str = ""

    @property
    def label(self) -> str:
        """How reports call the estimator."""
        return label(self.estimator)

    @property
    def record(self) -> dict[str, Any]:
        """What names it in ``run.json``, and wherever cells are listed."""
        return {
            "problem": self.problem,
            "checkpoint": self.checkpoint,
            "batch_size": self.batch_size,
            "estimator": self.label,
            "measure": self.measure,
            **({} if self.mode in ("", "eager") else {"mode": self.mode}),
        }

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(self.problem, self.checkpoint, self.batch_size, self.trains)

    def __str__(self) -> str:
        """Where it is, for progress lines and messages."""
        how = self.record.get("mode", "")
        who = f"{self.label} ({how})" if how else self.label
        return f"{self.measure} of {who} on {self.problem}, {self.checkpoint}, M={self.batch_size}"


@dataclass
class Outcome:
    """What became of a cell.

    Attributes:
        cell: Which.
        status: ``ok``, ``converged``, ``bounded`` or ``failed``.
        reason: Why it stopped, or the cause of its failure.
        n: Units, rounds, processes or seeds.
        data: What was measured, as its measure has it; None if it failed.
        seconds: Time spent on it.
        steps: Gradients of an epoch, N // M; 0 where it does not matter.
        detail: The facts of ``reason``; keys of `vdbench.schema.DETAILS`.
    """

    cell: Cell
    status: str
    reason: str
    n: int = 0
    data: Any = None
    seconds: float = 0.0
    steps: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


def on(problem: ProblemSpec, chosen: Sequence[Estimator]) -> list[Estimator]:
    """Those of some estimators that run on a problem."""
    if problem.estimators is None:
        return list(chosen)
    return [e for e in chosen if label(e) in problem.estimators]


def places(suite: Suite) -> Iterator[tuple[ProblemSpec, Place]]:
    """Every problem × checkpoint × minibatch size, in order."""
    for problem in suite.problems:
        for checkpoint in suite.checkpoints:
            for size in problem.batch_sizes or suite.batch_sizes:
                yield problem, Place(problem.name, checkpoint_name(checkpoint), size)


def everywhere(suite: Suite, chosen: Sequence[Estimator], measure: str) -> list[Cell]:
    """A cell for each estimator at each place."""
    return [
        Cell(place.problem, place.checkpoint, place.batch_size, estimator, measure)
        for problem, place in places(suite)
        for estimator in on(problem, chosen)
    ]


def fits(suite: Suite, problem: Problem, size: int) -> None:
    """See that a minibatch size is no more than a problem's training examples.

    Raises:
        InputError: It is more.
    """
    if size > problem.examples:
        raise InputError(
            f"suite '{suite.name}': batch size {size} is more than the "
            f"{problem.examples} training examples of problem '{problem.name}'."
        )
