"""The measure ``power``: how often a planted difference of variances is called, and called rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vdbench.errors import InputError
from vdbench.estimation.base import Estimator
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.instrument import error_rates
from vdbench.measures.instrument.runs import contexts, pairs, runs
from vdbench.measures.instrument.workload import (
    at,
    gradients,
    need_variance,
    refuse_few_examples,
)
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.measures.stopping import look_schedule, schedule_of
from vdbench.suite.schema import PowerSpec, Suite


class Power(Measure):
    """Pairs of runs, at the suite's precision and, of the baseline, at the others asked for."""

    name = "power"
    spec = PowerSpec
    together = True

    def check(self, where: str, suite: Suite) -> None:
        """See that variance is measured, on whole minibatches, and that no value is given twice."""
        spec = self.asked(suite)
        if not spec:
            return
        need_variance(where, suite, self.name)
        for name in ("differences", "precisions"):
            values = getattr(spec, name)
            if len(set(values)) < len(values):
                raise InputError(f"{where}: measures.power.{name} has a value twice: {values}.")
        variance = suite.measures.variance
        if variance and variance.precision in spec.precisions:
            raise InputError(
                f"{where}: measures.power.precisions has {variance.precision:g}, the suite's own precision, "
                "which is measured anyway."
            )
        refuse_few_examples(where, suite, self.name)

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """Those that coverage and false alarms have not taken already."""
        return gradients(suite.measures, self.name, cell.label == suite.baseline)

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """All estimators of the place."""
        suite, spec, own = session.suite, self.asked(session.suite), look_schedule(session.suite)
        here, count = contexts(site, cells), 2 * spec.comparisons
        found = [pairs(session, runs(session, own, here, count), own.precision)]
        base = [context for context in here if context.label == suite.baseline]
        for precision in spec.precisions if base else []:
            assert suite.measures.variance is not None
            other = at(suite.measures.variance, precision)
            schedule = schedule_of(other, suite.level)
            found.append(pairs(session, runs(session, schedule, base, count), precision))
        reason = f"{spec.comparisons} comparisons"
        return [Outcome(cell, "ok", reason, spec.comparisons, found) for cell in cells]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Shares of pairs in which each planted difference is called."""
        for name, outcome in mine(self, outcomes).items():
            differences = self.asked(suite).differences
            found = [error_rates.power(pairs, name, differences) for pairs in outcome.data]
            yield outcome, [value for each in found for value in each]
