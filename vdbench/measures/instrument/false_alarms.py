"""The measure ``false_alarms``: how often an estimator's variance is called different from its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vdbench.estimation.base import Estimator
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.instrument import error_rates
from vdbench.measures.instrument.runs import contexts, pairs, runs
from vdbench.measures.instrument.workload import gradients, need_variance, refuse_few_examples
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.measures.stopping import look_schedule
from vdbench.suite.schema import FalseAlarmsSpec, Suite


class FalseAlarms(Measure):
    """Pairs of runs of one estimator under two seeds."""

    name = "false_alarms"
    spec = FalseAlarmsSpec
    together = True

    def check(self, where: str, suite: Suite) -> None:
        """See that variance is measured, on whole minibatches."""
        if self.asked(suite):
            need_variance(where, suite, self.name)
            refuse_few_examples(where, suite, self.name)

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """Those that coverage has not taken already."""
        return gradients(suite.measures, self.name, cell.label == suite.baseline)

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """All estimators of the place."""
        count, schedule = self.asked(session.suite).comparisons, look_schedule(session.suite)
        found = runs(session, schedule, contexts(site, cells), 2 * count)
        data = pairs(session, found, schedule.precision)
        return [Outcome(cell, "ok", f"{count} comparisons", count, data) for cell in cells]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Shares of pairs called different; what is pooled over estimators stands in the baseline's rows."""
        here = mine(self, outcomes)
        first = suite.baseline if suite.baseline in here else next(iter(here), "")
        for name, outcome in here.items():
            found = error_rates.false_alarms(outcome.data)
            yield outcome, found.get(name, []) + (found.get("", []) if name == first else [])
