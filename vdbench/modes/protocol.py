"""What a mode is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from torch import Tensor

from vdbench.errors import CellError
from vdbench.estimation.base import Estimator, Gradient
from vdbench.noise import Key, Request
from vdbench.problems.problem import Batch, Problem

Call = Callable[[], Gradient]
"""One gradient with fresh noise, as a training step asks for it."""


@dataclass(frozen=True)
class Work:
    """The gradient that is computed again and again.

    Attributes:
        estimator: Whose.
        problem: Where.
        parameters: At which.
        batch: The minibatch, inputs (R, M, …): R copies of it in memory, taken in turn.
        key: Address of the noise; each call has its own number below it.
        requests: Noise that one call asks for.
        state: What the estimator was fitted to.
    """

    estimator: Estimator
    problem: Problem
    parameters: Mapping[str, Tensor]
    batch: Batch
    key: Key
    requests: tuple[Request, ...] = ()
    state: Any = ()

    @property
    def first(self) -> Batch:
        """The first copy of the minibatch."""
        return Batch(*(t[0] for t in self.batch))

    def turns(self) -> Iterator[Batch]:
        """The copies of the minibatch, again and again."""
        copies = [Batch(*(t[r] for t in self.batch)) for r in range(len(self.batch.inputs))]
        return cycle(copies)


def need_pure(work: Work, mode: str) -> None:
    """See that an estimator's gradient can be recorded once and computed again.

    Raises:
        CellError: It draws noise of its own.
    """
    if not work.estimator.declaration.pure:
        raise CellError(
            f"mode {mode}: estimator '{work.estimator.declaration.name}' draws noise of its own, so that a recorded "
            "gradient would have the same noise again; expected mode eager."
        )
