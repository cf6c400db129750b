"""ELBO convergence: train with an estimator, several seeds, judged at fixed steps by one evaluation for all.

A unit is one training from its own initialisation. Seed by seed, all estimators share initialisation, minibatch
order and the weight samples of the evaluation; another seed has others, so that intervals over seeds cover the
evaluation too. The clock runs during training steps only: gradient, the KL's gradient, and Adam.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vdbench.errors import InputError
from vdbench.measures.context import Context
from vdbench.noise import Key
from vdbench.store import Table
from vdbench.training.trainer import Trainer, evaluate

Curve = np.ndarray[Any, np.dtype[np.float64]]

VERSION = "2"
"""Changes whenever a row may change; part of every block's address."""


@dataclass(frozen=True)
class Plan:
    """How a training is run and judged.

    Attributes:
        steps: Training steps in all.
        evaluations: How often the ELBO is evaluated after the first, at equally spaced steps.
        learning_rate: Adam's.
        samples: Weight samples of the evaluation, in antithetic pairs; even.
        examples: Training examples that the ELBO is estimated from, others for each seed; None for all.
    """

    steps: int
    evaluations: int
    learning_rate: float
    samples: int
    examples: int | None

    def __post_init__(self) -> None:
        """Refuse samples that make no pairs."""
        if self.samples % 2:
            raise InputError(f"convergence: samples must be even, not {self.samples}.")

    def marks(self) -> list[int]:
        """Steps at which the ELBO is evaluated, from 0 to ``steps``."""
        return sorted(
            {round(self.steps * k / self.evaluations) for k in range(self.evaluations + 1)}
        )


def rows(context: Context, plan: Plan, seed: int) -> Table:
    """Train once.

    Args:
        context: The estimator and its problem; its parameters are not used.
        plan: How.
        seed: Number of this training.

    Returns:
        One row an evaluation: ``step``, ``seconds`` (of training alone), ``elbo`` (nats), ``nll`` (nats an
        example) and ``error`` (percent) of the test set.

    Raises:
        CellError: Training diverged.
    """
    key = context.key / "training" / seed
    problem = context.problem
    # Parameters start from the seed alone, not from the estimator: initial() sees no estimator's name.
    trainer = Trainer(
        problem=problem,
        estimator=context.estimator,
        parameters=problem.initial(key),
        batch_size=context.batch_size,
        learning_rate=plan.learning_rate,
        key=key,
    )
    warm_up(context, plan, key)
    found: list[tuple[float, ...]] = []
    seconds = 0.0
    for mark in plan.marks():
        if mark > trainer.step:
            began = _clock(problem.device)
            trainer.advance(mark - trainer.step)
            seconds += _clock(problem.device) - began
        worth = evaluate(problem, trainer.parameters, key, plan.samples, plan.examples)
        found.append((mark, seconds, worth.elbo, worth.nll, worth.error))
    names = ("step", "seconds", "elbo", "nll", "error")
    columns = zip(*found, strict=True)
    return {name: np.array(values) for name, values in zip(names, columns, strict=True)}


def warm_up(context: Context, plan: Plan, key: Key) -> None:
    """Take one step on a copy, so that the first timed step pays for nothing but itself."""
    problem = context.problem
    Trainer(
        problem=problem,
        estimator=context.estimator,
        parameters=problem.initial(key),
        batch_size=context.batch_size,
        learning_rate=plan.learning_rate,
        key=key / "warm-up",
    ).advance(1)


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_to(target: float, seconds: Curve, elbo: Curve) -> float:
    """Seconds at which a curve first reaches a target, interpolated between evaluations; inf if never."""
    reached = np.flatnonzero(elbo >= target)
    if not len(reached):
        return float("inf")
    i = int(reached[0])
    if i == 0 or not np.isfinite(elbo[i - 1]):
        return float(seconds[i])
    share = (target - elbo[i - 1]) / (elbo[i] - elbo[i - 1])
    return float(seconds[i - 1] + share * (seconds[i] - seconds[i - 1]))
