"""ELBO convergence: train with an estimator, several seeds, judged at fixed steps by one evaluation for all.

A unit is one training from its own initialisation. Seed by seed, all estimators share initialisation, minibatch
order and the weight samples of the evaluation; another seed has others, so that intervals over seeds cover the
evaluation too. The clock runs during training steps only: gradient, the KL's gradient, and Adam.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from vdbench import statistics
from vdbench.datasets import Split
from vdbench.datasets.splits import NO_TEST
from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import fitted, trace
from vdbench.measures import expected, live_bytes
from vdbench.measures.cells import TRAINING, Cell, Outcome, fits, on
from vdbench.measures.context import Context
from vdbench.measures.expected import Expected
from vdbench.measures.metrics import MetricValue
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.noise import Key
from vdbench.problems.problem import Problem
from vdbench.statistics import Estimate
from vdbench.store import Table
from vdbench.suite.schema import ConvergenceSpec, ProblemSpec, Suite
from vdbench.training.trainer import Trainer, evaluate

Curve = np.ndarray[Any, np.dtype[np.float64]]

VERSION = "3"
"""Changes whenever a row may change; part of every block's address."""


@dataclass(frozen=True)
class Plan:
    """How a training is run and judged.

    Attributes:
        steps: Training steps in all.
        evaluations: How often the ELBO is evaluated after the first, at equally spaced steps.
        learning_rate: Adam's.
        samples: Weight samples of the evaluation, in antithetic pairs where those are less noisy; even.
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
        example) and ``error`` (percent) of the test set, NaN without one; ``pairs``, 1 where weight samples were pairs.

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
        found.append((mark, seconds, worth.elbo, worth.nll, worth.error, float(worth.pairs)))
    names = ("step", "seconds", "elbo", "nll", "error", "pairs")
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


def values(
    seeds: list[Table], level: float, target: float | None, message: str = ""
) -> list[MetricValue]:
    """ELBO by step and second, final ELBO, test figures, and seconds to a target.

    Args:
        seeds: One training each.
        level: Of the intervals over seeds.
        target: ELBO to be reached, nats; None for no such figure.
        message: What is said of ELBOs.
    """
    found = []
    for place, step in enumerate(seeds[0]["step"]):
        found.append(
            MetricValue(
                "convergence.elbo",
                statistics.seed_mean([s["elbo"][place] for s in seeds], level),
                level,
                "nats",
                step=float(step),
                seconds=float(np.mean([s["seconds"][place] for s in seeds])),
                detail=_pairs(seeds, place),
                message=message,
            )
        )
    for metric, name, unit in (
        ("convergence.final_elbo", "elbo", "nats"),
        ("test.error", "error", "percent"),
        ("test.nll", "nll", "nats/example"),
    ):
        values = [float(s[name][-1]) for s in seeds]
        if all(math.isfinite(v) for v in values):
            estimate, said = statistics.seed_mean(values, level), message if name == "elbo" else ""
            found.append(MetricValue(metric, estimate, level, unit, message=said))
    if target is not None:
        found.append(_seconds_to_target(seeds, level, target))
    return found


def _pairs(seeds: list[Table], place: int) -> dict[str, int]:
    """How many seeds took antithetic pairs at an evaluation; blocks of version 2 took them always and do not say so."""
    known = [int(s["pairs"][place]) for s in seeds if "pairs" in s]
    return {"pairs": sum(known)} if known else {}


def _seconds_to_target(seeds: list[Table], level: float, target: float) -> MetricValue:
    times = [seconds_to(target, s["seconds"], s["elbo"]) for s in seeds]
    reached = sum(math.isfinite(t) for t in times)
    message = f"target {target:.6g} nats, reached by {reached} of {len(seeds)} seeds"
    detail = {"target": target, "reached": reached, "seeds": len(seeds)}
    metric = "convergence.seconds_to_target"
    if reached < len(seeds) or min(times) <= 0:
        nothing = Estimate(math.nan, math.nan, math.nan, reached)
        return MetricValue(
            metric, nothing, level, "s", status="bounded", message=message, detail=detail
        )
    return MetricValue(
        metric, statistics.log_mean(times, level), level, "s", message=message, detail=detail
    )


class Convergence(Measure):
    """ELBO by steps and seconds of training."""

    name = "convergence"
    spec = ConvergenceSpec
    alone = True

    def check_problem(self, suite: Suite, problem: Problem) -> None:
        """See that training minibatches fit into the data."""
        own = next((p for p in suite.problems if p.name == problem.name), None)
        fits(suite, problem, max(self._sizes(suite, own)))

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each problem, training minibatch size and estimator."""
        return [
            Cell(problem.name, TRAINING, size, estimator, self.name, trains=True)
            for problem in suite.problems
            for size in self._sizes(suite, problem)
            for estimator in on(problem, estimators)
        ]

    def _sizes(self, suite: Suite, problem: ProblemSpec | None) -> list[int]:
        spec = self.asked(suite)
        if spec.batch_size:
            return [spec.batch_size]
        return list((problem and problem.batch_sizes) or suite.batch_sizes)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """One a step and seed."""
        count = self.asked(suite).steps * self.asked(suite).seeds
        return count, count

    def memory(self, suite: Suite, cell: Cell, context: Context, limit: int) -> Expected:
        """Parameters of two trainings with Adam's moments, a gradient, and the evaluation of all examples at once."""
        spec, problem = self.asked(suite), context.problem
        train = min(spec.examples or problem.examples, problem.examples)

        def judged(test: int, count: int) -> object:
            own = _shorter(problem, count, test)
            return evaluate(own, context.parameters, context.key / "memory", spec.samples)

        tests = len(problem.data.test.targets) if problem.data.has_test else 1
        found = live_bytes.expected(judged, tests, train, doubted=expected.doubted(context))
        return expected.training(context, found, copies=5)

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """One training a seed."""
        (cell,) = cells
        spec = self.asked(session.suite)
        context = site.untrained(cell.estimator)
        try_at_start(site, context)
        plan = Plan(spec.steps, spec.evaluations, spec.learning_rate, spec.samples, spec.examples)
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
                plan=list(astuple(plan)),
            )
            seeds.append(session.store.get(address, partial(rows, context, plan, seed)))
            _refuse_diverged(seeds[-1], seed)
        reason = f"{spec.seeds} seeds of {spec.steps} steps{no_test(context.problem)}"
        detail = evaluated_on(context.problem, spec.examples)
        return [Outcome(cell, "ok", reason, spec.seeds, seeds, detail=detail)]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """ELBO by step, final values, and seconds to the suite's target.

        Where the suite sets none, the target is nine tenths of what the baseline gains, on average over seeds.
        """
        here = mine(self, outcomes)
        target = self.asked(suite).target if here else None
        if target is None and suite.baseline in here:
            seeds = here[suite.baseline].data
            first, last = (np.mean([seed["elbo"][end] for seed in seeds]) for end in (0, -1))
            target = float(first + 0.9 * (last - first))
        for outcome in here.values():
            yield outcome, values(outcome.data, suite.level, target, subset(outcome))


def _shorter(problem: Problem, train: int, test: int) -> Problem:
    """The same problem with its first examples alone."""
    data = problem.data
    first = Split(*(t[:train] for t in data.train))
    tests = Split(*(t[: test if data.has_test else 0] for t in data.test))
    return replace(problem, data=replace(data, train=first, test=tests))


def try_at_start(site: Site, context: Context) -> None:
    """Take one draw at initialisation: an estimator that breaks its contract is not trained with."""
    start = context.problem.initial(context.key)
    state = fitted(context.estimator, context.problem, start, context.key / "fit")
    for ask in site.before:
        ask(replace(context, parameters=start, state=state))
    batch = context.batch(context.key / "trace")
    trace(context.estimator, context.problem, start, batch, state)


def evaluated_on(problem: Problem, examples: int | None) -> dict[str, int]:
    """How many training examples ELBOs are estimated from, as a fact of a cell; nothing where that is all of them."""
    return {} if examples is None or examples >= problem.examples else {"evaluated_on": examples}


def subset(outcome: Outcome) -> str:
    """What is said of ELBOs that are estimated from some training examples; '' where that is all of them."""
    count = outcome.detail.get("evaluated_on")
    if count is None:
        return ""
    return (
        f"from {count} training examples, others for each seed: the interval includes their choice"
    )


def no_test(problem: Problem) -> str:
    """What a cell says at the end of its reason where it has no figures of a test set."""
    return "" if problem.data.has_test else f"; {NO_TEST}"


def _refuse_diverged(table: Table, seed: int) -> None:
    lost = ~np.isfinite(table["elbo"])
    if lost.any():
        raise CellError(
            f"training diverged: the ELBO is not finite at step {table['step'][lost][0]:.0f} of seed {seed}."
        )
