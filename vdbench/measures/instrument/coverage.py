"""The measure ``coverage``: how often the intervals of the suite's other measures hold the truth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial

from vdbench.errors import InputError
from vdbench.estimation.base import Estimator
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.context import Context
from vdbench.measures.instrument import coverage_metrics, reference_run, repeated_measures
from vdbench.measures.instrument.evidence import Evidence, Truth
from vdbench.measures.instrument.runs import contexts, families, runs
from vdbench.measures.instrument.series import Address, Series, blocks
from vdbench.measures.instrument.workload import gradients, refuse_few_examples
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.measures.stopping import look_schedule
from vdbench.store import concatenate
from vdbench.suite.grid import single
from vdbench.suite.schema import CoverageSpec, Suite

REPEATED = ("variance", "bias", "throughput", "convergence")
"""Measures that are repeated."""


class Coverage(Measure):
    """Repetitions of every measure of the suite that there is a truth for."""

    name = "coverage"
    spec = CoverageSpec
    alone = True
    together = True

    def check(self, where: str, suite: Suite) -> None:
        """See that there is something to repeat, on whole minibatches."""
        if not self.asked(suite):
            return
        if not any(suite.measures.of(name) for name in REPEATED):
            raise InputError(
                f"{where}: measures.coverage needs at least one of {', '.join(REPEATED)} in the suite."
            )
        refuse_few_examples(where, suite, self.name)

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """Those of the repetitions and of the truth."""
        return gradients(suite.measures, self.name, cell.label == suite.baseline)

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """All estimators of the place."""
        suite, measures, spec = session.suite, session.suite.measures, self.asked(session.suite)
        here = contexts(site, cells)
        found: dict[Address, Series] = {}
        truths: dict[Address, Truth] = {}
        if measures.variance:
            found |= runs(session, look_schedule(suite), here, spec.repetitions)
            truths |= _truths(session, here, spec.truth_units)
        more = _others(session, site, here, spec)
        truths |= {a: Truth(value) for a, value in repeated_measures.truths(more).items()}
        aim = measures.variance.precision if measures.variance else 0.0
        evidence = Evidence(found | more, truths, suite.level, families(session), aim)
        reason = f"{spec.repetitions} repetitions"
        return [Outcome(cell, "ok", reason, spec.repetitions, evidence) for cell in cells]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Coverage of each figure, and where runs stopped."""
        for name, outcome in mine(self, outcomes).items():
            yield outcome, coverage_metrics.values(outcome.data, name)


def _others(
    session: Session, site: Site, here: Sequence[Context], spec: CoverageSpec
) -> dict[Address, Series]:
    """Bias, convergence and throughput, where the suite measures them."""
    measures = session.suite.measures
    found: dict[Address, Series] = {}
    if measures.bias:
        reference = site.context(single(session.suite.reference)).at("instrument")
        found |= repeated_measures.biases(session, here, reference, measures.bias, spec.repetitions)
    for context in here:
        if measures.convergence:
            found |= repeated_measures.trainings(
                session, context, measures.convergence, spec.trainings
            )
        if measures.throughput:
            found |= repeated_measures.passes(session, context, measures.throughput, spec.passes)
    return found


def _truths(session: Session, here: Sequence[Context], units: int) -> dict[Address, Truth]:
    """The separate run, its parts in eight blocks."""
    each = -(-units // reference_run.PARTS)
    parts = list(itertools.pairwise(range(0, reference_run.PARTS + 1, reference_run.PARTS // 8)))
    tables = {}
    for context in here:
        compute = partial(reference_run.rows, context, each)
        found = blocks(
            session, "truth", reference_run.VERSION, [context], parts, compute, {"units": each}
        )
        tables[context.label] = concatenate(list(found))
    return reference_run.values(session.suite, here, tables)
