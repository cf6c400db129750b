"""Coverage beside that of variance: bias, convergence and throughput, repeated as the suite takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch

from vdbench.estimation.base import objective
from vdbench.estimation.options import identity
from vdbench.measures import convergence, throughput
from vdbench.measures.context import Context
from vdbench.measures.instrument import repeated_measures, series
from vdbench.measures.instrument.blocks import blocks
from vdbench.measures.instrument.series import Address, Series
from vdbench.measures.instrument.workload import spans
from vdbench.measures.session import Lab
from vdbench.measures.variance import concatenate
from vdbench.store import Table
from vdbench.suite.schema import BiasSpec, ConvergenceSpec, ThroughputSpec

Found = dict[Address, Series]


def bias(
    lab: Lab, contexts: Sequence[Context], reference: Context, spec: BiasSpec, count: int
) -> Found:
    """Bias of the estimators that declare themselves unbiased for the reference's objective: it is 0."""
    target = objective(reference.estimator, reference.problem)
    unbiased = [
        c
        for c in contexts
        if c.estimator.declaration.unbiased and objective(c.estimator, c.problem) == target
    ]
    if not unbiased:
        return {}
    level, checked = lab.suite.level, len(contexts)

    def compute(start: int, stop: int) -> Table:
        return repeated_measures.bias_rows(unbiased, reference, spec, level, checked, start, stop)

    about = {
        "reference": [identity(reference.estimator), reference.traced.together],
        "draws": spec.draws,
        "units": spec.units,
        "level": level,
        "checked": checked,
    }
    return series.read(
        blocks(lab, "bias", repeated_measures.VERSION, unbiased, spans(count), compute, about)
    )


def trainings(lab: Lab, context: Context, spec: ConvergenceSpec, count: int) -> Found:
    """Figures of ``count`` times as many trainings as the suite has seeds."""
    plan = convergence.Plan(
        spec.steps, spec.evaluations, spec.learning_rate, spec.samples, spec.examples
    )
    own = replace(context, batch_size=spec.batch_size or context.batch_size)

    def compute(start: int, stop: int) -> Table:
        return repeated_measures.training_rows(own, plan, start, stop)

    about = {"plan": asdict(plan), "size": own.batch_size, "threads": torch.get_num_threads()}
    parts = spans(count * spec.seeds)
    rows = concatenate(
        list(blocks(lab, "trainings", repeated_measures.VERSION, [own], parts, compute, about))
    )
    return series.read(
        [repeated_measures.training_figures(own.label, rows, spec.seeds, lab.suite.level)]
    )


def passes(lab: Lab, context: Context, spec: ThroughputSpec, count: int) -> Found:
    """Ratios of an estimator's time to its own."""
    timer = throughput.Timer(spec.rounds, budget_seconds=spec.budget_seconds)

    def compute(start: int, stop: int) -> Table:
        return repeated_measures.pass_rows(context, timer, lab.suite.level, range(start, stop))

    about = {"timer": asdict(timer), "threads": torch.get_num_threads(), "level": lab.suite.level}
    parts = spans(count, size=10)
    return series.read(
        blocks(lab, "passes", repeated_measures.VERSION, [context], parts, compute, about)
    )
