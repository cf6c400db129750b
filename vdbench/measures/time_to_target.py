"""The measure ``time_to_target``: how long a training takes to reach a given ELBO, at a learning rate of its own.

Variance and learning rate trade: a noisier gradient wants smaller steps. So each estimator is trained at every rate of
a grid with a few seeds, and its own rate is the one with the lowest mean time to the target, a training that did not
reach it counted with all its steps. (Where no training reached it at any rate, the rate with the highest last ELBO.)
What is reported is from other seeds: at the rate that all share, and at the estimator's own.

A training ends where it reaches the target, diverges, or has taken all its steps. The last two are *censored*: they
would have taken longer, or for ever. Medians over seeds and medians of paired ratios hold whatever those would have
taken (`vdbench.statistics.censored`). A target is given in the suite: one that followed from the trainings would move
with them.

Seconds are steps × seconds per gradient of the suite's measure ``throughput``, which times the estimators in turn: the
trainings of one estimator come after those of another, when the machine may do something else. What all estimators
share is not in these seconds: the KL's gradient and the optimizer's step.

With ``variance`` in the suite, Spearman's rank correlation says whether the variance at the checkpoint orders the
estimators as the steps to the target do, and variance × seconds as the seconds do. It is over the estimators that are
unbiased for the baseline's objective. Seconds per gradient are a factor of both variance × seconds and seconds to the
target; variance and steps have no factor in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vdbench.errors import CellError, InputError, nearest
from vdbench.estimation.base import Estimator
from vdbench.measures import target_metrics
from vdbench.measures.cells import Cell, Outcome, everywhere, fits
from vdbench.measures.context import Context
from vdbench.measures.convergence import evaluated_on, seconds_to, try_at_start
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.problems.problem import Problem
from vdbench.store import Table
from vdbench.suite.schema import Count, Even, Finite, Positive, Some, Suite
from vdbench.training.trainer import Trainer, evaluate

VERSION = "2"
"""Changes whenever a row may change; part of every block's address. In 1, evaluations took antithetic pairs always."""

FIRST = 10
"""Step of the first evaluation after the start."""

GROWTH = 1.1
"""From evaluation to evaluation: times are known to a tenth, and interpolated between."""


class TimeToTargetSpec(BaseModel):
    """Steps and seconds to a target ELBO, at a shared learning rate and at each estimator's own.

    Attributes:
        targets: ELBO to be reached, nats, by problem.
        learning_rates: Adam's, from which each estimator's own is chosen.
        shared_rate: The one of them at which all are compared.
        choose_seeds: Trainings at each rate, from which it is chosen.
        seeds: Further trainings, which are reported.
        steps: Most steps of a training.
        samples: Weight samples of an evaluation, in antithetic pairs where those are less noisy.
        examples: Training examples that the ELBO is estimated from; null for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: Annotated[dict[str, Finite], Field(min_length=1)]
    learning_rates: Annotated[list[Positive], Field(min_length=2)]
    shared_rate: Positive
    choose_seeds: Count = 3
    seeds: Some = 10
    steps: Count = 2000
    samples: Even = 8
    examples: Count | None = None

    @model_validator(mode="after")
    def _has_the_shared_rate(self) -> TimeToTargetSpec:
        """Refuse a shared rate that is not in the grid, and a rate that stands twice."""
        rates = self.learning_rates
        if len(set(rates)) < len(rates):
            raise ValueError("a learning rate stands twice in learning_rates")
        if self.shared_rate not in rates:
            listed = ", ".join(f"{rate:g}" for rate in rates)
            raise ValueError(
                f"shared_rate {self.shared_rate:g} is none of the learning_rates {listed}"
            )
        return self


@dataclass(frozen=True)
class Plan:
    """How one training is run.

    Attributes:
        learning_rate: Adam's.
        target: At which it ends.
        steps: Most.
        samples: Weight samples of an evaluation.
        examples: Of an evaluation.
    """

    learning_rate: float
    target: float
    steps: int
    samples: int
    examples: int | None

    def marks(self) -> Iterator[int]:
        """Steps at which the ELBO is evaluated, each a tenth later than the one before."""
        mark = float(FIRST)
        while mark < self.steps:
            yield round(mark)
            mark *= GROWTH
        yield self.steps


class Trained(NamedTuple):
    """Trainings of one estimator.

    Attributes:
        own_rate: The rate that was chosen.
        shared: Steps to the target at the shared rate, one a seed; inf where it was not reached.
        own: The same at its own rate and the same seeds.
        lost: How many of both diverged.
    """

    own_rate: float
    shared: tuple[float, ...]
    own: tuple[float, ...]
    lost: int


def rows(context: Context, plan: Plan, seed: int) -> Table:
    """Train once, until the target is reached.

    Args:
        context: The estimator and its problem; its parameters are not used.
        plan: How.
        seed: Number of this training; estimators and rates share initial weights, minibatches and evaluation.

    Returns:
        One row an evaluation: ``step`` and ``elbo`` (nats). The last ELBO is NaN where training diverged.
    """
    key, problem = context.key / "time-to-target" / seed, context.problem
    trainer = Trainer(
        problem=problem,
        estimator=context.estimator,
        parameters=problem.initial(key),
        batch_size=context.batch_size,
        learning_rate=plan.learning_rate,
        key=key,
    )

    def worth() -> float:
        found = evaluate(problem, trainer.parameters, key, plan.samples, plan.examples)
        return found.elbo if math.isfinite(found.elbo) else math.nan

    found = [(0, worth())]
    if found[0][1] >= plan.target:
        raise CellError(
            f"the target of {plan.target:g} nats is reached before training: the ELBO of seed {seed} is "
            f"{found[0][1]:.6g} at initialisation."
        )
    for mark in plan.marks():
        if not found[-1][1] < plan.target:  # reached, or lost
            break
        try:
            trainer.advance(mark - trainer.step)
        except CellError:  # a number is not finite: the contract was tried before
            found.append((mark, math.nan))
            break
        found.append((mark, worth()))
    steps, elbo = (np.array(column, dtype=np.float64) for column in zip(*found, strict=True))
    return {"step": steps, "elbo": elbo}


def steps_to(target: float, table: Table) -> float:
    """Steps at which a training reached the target, interpolated between evaluations; inf if it did not."""
    return seconds_to(target, table["step"], table["elbo"])


def choose(tables: Mapping[float, Sequence[Table]], target: float, steps: int) -> float:
    """The rate with the lowest mean of steps to the target, all steps where it was not reached; see the module.

    Args:
        tables: By rate, one training a seed.
        target: ELBO to be reached.
        steps: Most steps of a training.
    """

    def key(rate: float) -> tuple[float, float]:
        taken = [min(steps_to(target, table), steps) for table in tables[rate]]
        last = [float(table["elbo"][-1]) for table in tables[rate]]
        ends = [-math.inf if math.isnan(elbo) else elbo for elbo in last]
        return float(np.mean(taken)), -float(np.mean(ends))

    return min(sorted(tables), key=key)


class TimeToTarget(Measure):
    """Steps and seconds of training to a target ELBO."""

    name = "time_to_target"
    spec = TimeToTargetSpec

    def check(self, where: str, suite: Suite) -> None:
        """See that every problem has a target, and that there is one place of each."""
        spec = self.asked(suite)
        if spec is None:
            return
        names = [problem.name for problem in suite.problems]
        for name in names:
            if name not in spec.targets:
                raise InputError(
                    f"{where}: measures.time_to_target.targets has none for problem '{name}'; expected an ELBO in nats."
                )
        for name in spec.targets:
            if name not in names:
                raise InputError(
                    f"{where}: measures.time_to_target.targets: there is no problem '{name}'.{nearest(name, names)}"
                )
        if len(suite.checkpoints) > 1:
            raise InputError(
                f"{where}: time_to_target trains from initialisation, which is the same for all "
                f"{len(suite.checkpoints)} checkpoints; expected one."
            )

    def check_problem(self, suite: Suite, problem: Problem) -> None:
        """See that minibatches fit into the data."""
        own = next((p for p in suite.problems if p.name == problem.name), None)
        fits(suite, problem, max((own and own.batch_sizes) or suite.batch_sizes))

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place, where its variance and time are measured too."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """One a step; the fewest where every training ends at the first evaluation."""
        spec = self.asked(suite)
        trainings = len(spec.learning_rates) * spec.choose_seeds + 2 * spec.seeds
        return trainings * min(FIRST, spec.steps), trainings * spec.steps

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """Trainings at every rate, each a block of its own, then the reported ones at the shared and the own rate."""
        (cell,) = cells
        spec = self.asked(session.suite)
        context, target = site.untrained(cell.estimator), spec.targets[cell.problem]
        try_at_start(site, context)
        done, total = 0, len(spec.learning_rates) * spec.choose_seeds + 2 * spec.seeds

        def train(rate: float, seed: int) -> Table:
            nonlocal done
            session.progress.detail(f"training {done + 1} of {total}")
            session.progress.share(done / total)
            done += 1
            plan = Plan(rate, target, spec.steps, spec.samples, spec.examples)
            more = {"together": 0, "training": seed, "plan": list(plan.__dict__.values())}
            address = session.address(context, self.name, VERSION, **more)
            return session.store.get(address, partial(rows, context, plan, seed))

        grid = {r: [train(r, s) for s in range(spec.choose_seeds)] for r in spec.learning_rates}
        own = choose(grid, target, spec.steps)
        others = range(spec.choose_seeds, spec.choose_seeds + spec.seeds)
        tables = [[train(rate, seed) for seed in others] for rate in (spec.shared_rate, own)]
        shared, best = (tuple(steps_to(target, t) for t in each) for each in tables)
        lost = sum(math.isnan(float(t["elbo"][-1])) for each in tables for t in each)
        reached = sum(map(math.isfinite, best))
        reason = f"{reached} of {spec.seeds} seeds reached {target:g} nats at rate {own:g}"
        data, detail = (
            Trained(own, shared, best, lost),
            evaluated_on(context.problem, spec.examples),
        )
        return [Outcome(cell, "ok", reason, spec.seeds, data, detail=detail)]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Times to the target, their ratios to the baseline's, and rank correlations with the variance."""
        here = mine(self, outcomes)
        spec = self.asked(suite)
        if not here:
            return
        place = target_metrics.Place.of(suite, outcomes)
        for label, outcome in here.items():
            target = spec.targets[outcome.cell.problem]
            found = target_metrics.times(place, here, label, target, spec)
            if label == suite.baseline:
                found += target_metrics.correlations(place, here, spec)
            yield outcome, found
