"""Repetitions of the measures that do not stop by precision: bias, convergence, throughput.

Each is the suite's own measure with fresh random numbers. What it has to hold is known or found in the repetitions:
the bias of an unbiased estimator is 0, the time of an estimator over its own time is 1, and the mean over all
seeds of a training is that of every *other* repetition's trainings, so that none is part of its own truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch

from vdbench.errors import CellError
from vdbench.estimation.base import objective
from vdbench.estimation.options import identity
from vdbench.measures import bias, convergence, throughput_metrics, timing
from vdbench.measures.context import Context
from vdbench.measures.instrument.series import Address, Numbers, Series, Writer, blocks, read
from vdbench.measures.instrument.workload import spans
from vdbench.measures.metrics import UnitRows
from vdbench.measures.session import Session
from vdbench.store import Table, concatenate
from vdbench.suite.schema import BiasSpec, ConvergenceSpec, ThroughputSpec

VERSION = "1"
"""Changes whenever the meaning of a row changes; part of every block's address."""

BIAS_VERSION = "2"
"""The same for the rows of bias, which have intervals."""

TIME = "ratio.time.seconds_per_gradient"
TRAINED = ("convergence.final_elbo", "test.error", "test.nll")
"""Figures of a training whose intervals are tested."""


def bias_rows(
    contexts: Sequence[Context],
    reference: Context,
    spec: BiasSpec,
    level: float,
    count: int,
    start: int,
    stop: int,
) -> Table:
    """Bias of unbiased estimators: repetition r has the units from r·units on, each addressed apart.

    Args:
        contexts: Estimators that declare themselves unbiased.
        reference: The reference estimator's.
        spec: The suite's measure.
        level: Of the intervals.
        count: How many estimators the suite checks, which the adjusted level depends on.
        start: First repetition.
        stop: One past the last.
    """
    writer = Writer()
    units, other = spec.units, reference.at("bias")
    for context in contexts:
        table = bias.rows(context.at("bias"), other, spec.draws, start * units, stop * units)
        for repetition in range(start, stop):
            own = slice((repetition - start) * units, (repetition - start + 1) * units)
            part = UnitRows({name: values[own] for name, values in table.items()}, context.sizes)
            for figure in bias.values(part, level, reference.label, count):
                writer.add(repetition, context.label, figure)
    return writer.table()


def training_rows(context: Context, plan: convergence.Plan, start: int, stop: int) -> Table:
    """Trainings ``start`` to ``stop``: what each came to, one row a training."""
    rows = []
    for seed in range(start, stop):
        last = {name: values[-1:] for name, values in convergence.rows(context, plan, seed).items()}
        if not np.isfinite(last["elbo"]).all():
            raise CellError(f"training {seed} diverged: its ELBO is not finite.")
        rows.append({**last, "training": np.array([seed])})
    return concatenate(rows)


def training_figures(label: str, trainings: Table, seeds: int, level: float) -> Table:
    """Figures of each ``seeds`` trainings in a row."""
    writer = Writer()
    for repetition in range(len(trainings["training"]) // seeds):
        tables = [
            {name: values[place : place + 1] for name, values in trainings.items()}
            for place in range(repetition * seeds, (repetition + 1) * seeds)
        ]
        for figure in convergence.values(tables, level, None):
            if figure.metric in TRAINED:
                writer.add(repetition, label, figure)
    return writer.table()


def others(series: Series) -> Numbers:
    """For each repetition the mean of all other repetitions' values."""
    count = len(series.value)
    return np.asarray((series.value.sum() - series.value) / (count - 1))


def pass_rows(context: Context, timer: timing.Timer, level: float, passes: range) -> Table:
    """Passes in which one estimator is timed twice, under two labels; the ratio of its times is 1."""
    writer = Writer()
    for repetition in passes:
        own = context.at("pass", repetition)
        again = replace(own.at("again"), label=f"{own.label} again")
        table = timing.rows([own, again], timer)
        figure = throughput_metrics.time_ratio(
            table, own.label, again.label, throughput_metrics.Levels(level)
        )
        writer.add(repetition, own.label, replace(figure, against=own.label))
    return writer.table()


def truths(found: Mapping[Address, Series]) -> dict[Address, float | Numbers]:
    """What each series has to hold."""
    truth: dict[Address, float | Numbers] = {}
    for address, series in found.items():
        if address.metric in TRAINED:
            truth[address] = others(series)
        else:
            truth[address] = 1.0 if address.metric == TIME else 0.0
    return truth


Found = dict[Address, Series]


def biases(
    session: Session, contexts: Sequence[Context], reference: Context, spec: BiasSpec, count: int
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
    level, checked = session.suite.level, len(contexts)

    def compute(start: int, stop: int) -> Table:
        return bias_rows(unbiased, reference, spec, level, checked, start, stop)

    about = {
        "reference": [identity(reference.estimator), reference.traced.together],
        "draws": spec.draws,
        "units": spec.units,
        "level": level,
        "checked": checked,
    }
    return read(blocks(session, "bias", BIAS_VERSION, unbiased, spans(count), compute, about))


def trainings(session: Session, context: Context, spec: ConvergenceSpec, count: int) -> Found:
    """Figures of ``count`` times as many trainings as the suite has seeds."""
    plan = convergence.Plan(
        spec.steps, spec.evaluations, spec.learning_rate, spec.samples, spec.examples
    )
    own = replace(context, batch_size=spec.batch_size or context.batch_size)

    def compute(start: int, stop: int) -> Table:
        return training_rows(own, plan, start, stop)

    about = {"plan": asdict(plan), "size": own.batch_size, "threads": torch.get_num_threads()}
    parts = spans(count * spec.seeds)
    rows = concatenate(list(blocks(session, "trainings", VERSION, [own], parts, compute, about)))
    return read([training_figures(own.label, rows, spec.seeds, session.suite.level)])


def passes(session: Session, context: Context, spec: ThroughputSpec, count: int) -> Found:
    """Ratios of an estimator's time to its own."""
    timer = timing.Timer(spec.rounds, budget_seconds=spec.budget_seconds)

    def compute(start: int, stop: int) -> Table:
        return pass_rows(context, timer, session.suite.level, range(start, stop))

    about = {
        "timer": asdict(timer),
        "threads": torch.get_num_threads(),
        "level": session.suite.level,
    }
    parts = spans(count, size=10)
    return read(blocks(session, "passes", VERSION, [context], parts, compute, about))
