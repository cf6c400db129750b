"""Measuring the instrument at one place, all its estimators together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vdbench import statistics
from vdbench.measures.context import Context
from vdbench.measures.instrument import (
    beside,
    reference_run,
    repeated_measures,
    repeated_variance,
    series,
)
from vdbench.measures.instrument.blocks import blocks
from vdbench.measures.instrument.coverage import Evidence, Truth
from vdbench.measures.instrument.error_rates import Pairs
from vdbench.measures.instrument.series import Address, Series
from vdbench.measures.instrument.workload import at, spans, wanted
from vdbench.measures.metrics import Schedule
from vdbench.measures.session import Lab, Outcome
from vdbench.measures.variance import concatenate
from vdbench.runner import plan
from vdbench.runner.plan import Cell


@dataclass(frozen=True)
class Bench:
    """One place.

    Attributes:
        lab: Suite, store and progress.
        contexts: The estimators, each with its noise below a key that is the instrument's own.
        reference: Gives the bias reference's context, when it is asked for.
    """

    lab: Lab
    contexts: Sequence[Context]
    reference: Callable[[], Context]

    def measure(self, cells: Sequence[Cell]) -> list[Outcome]:
        """The cells of one measure."""
        works: dict[str, Callable[[], tuple[Any, int, str]]] = {
            "coverage": self.coverage,
            "false_alarms": self.false_alarms,
            "power": self.power,
        }
        found, n, reason = works[cells[0].measure]()
        return [Outcome(cell, "ok", reason, n, found) for cell in cells]

    def coverage(self) -> tuple[Evidence, int, str]:
        """Repetitions of every measure of the suite that there is a truth for."""
        suite, measures = self.lab.suite, self.lab.suite.measures
        spec = measures.coverage
        assert spec is not None
        found: dict[Address, Series] = {}
        truths: dict[Address, Truth] = {}
        if measures.variance:
            found |= self._runs(self.lab.schedule, self.contexts, spec.repetitions)
            truths |= self._truths(spec.truth_units)
        more: dict[Address, Series] = {}
        if measures.bias:
            reference = self.reference()
            more |= beside.bias(self.lab, self.contexts, reference, measures.bias, spec.repetitions)
        for context in self.contexts:
            if measures.convergence:
                more |= beside.trainings(self.lab, context, measures.convergence, spec.trainings)
            if measures.throughput:
                more |= beside.passes(self.lab, context, measures.throughput, spec.passes)
        truths |= {
            address: Truth(value) for address, value in repeated_measures.truths(more).items()
        }
        aim = measures.variance.precision if measures.variance else 0.0
        evidence = Evidence(found | more, truths, suite.level, self._places, aim)
        return evidence, spec.repetitions, f"{spec.repetitions} repetitions"

    def false_alarms(self) -> tuple[Pairs, int, str]:
        """Pairs of runs under two seeds."""
        spec = self.lab.suite.measures.false_alarms
        assert spec is not None
        found = self._runs(self.lab.schedule, self.contexts, 2 * spec.comparisons)
        pairs = self._pairs(found, self.lab.schedule.precision)
        return pairs, spec.comparisons, f"{spec.comparisons} comparisons"

    def power(self) -> tuple[list[Pairs], int, str]:
        """Pairs of runs, at the suite's precision and, of the baseline, at the others asked for."""
        suite = self.lab.suite
        spec, variance = suite.measures.power, suite.measures.variance
        assert spec is not None
        assert variance is not None
        count = 2 * spec.comparisons
        pairs = [
            self._pairs(self._runs(self.lab.schedule, self.contexts, count), variance.precision)
        ]
        base = [c for c in self.contexts if c.label == suite.baseline]
        for precision in spec.precisions if base else []:
            other = at(variance, precision)
            looks = statistics.looks(other.first_units, other.max_units)
            schedule = Schedule(looks, suite.level, precision)
            pairs.append(self._pairs(self._runs(schedule, base, count), precision))
        return pairs, spec.comparisons, f"{spec.comparisons} comparisons"

    @property
    def _places(self) -> int:
        return len(list(plan.places(self.lab.suite)))

    def _pairs(self, found: dict[Address, Series], precision: float) -> Pairs:
        return Pairs(found, self.lab.suite.level, precision, self._places)

    def _runs(
        self, schedule: Schedule, contexts: Sequence[Context], count: int
    ) -> dict[Address, Series]:
        """The first so many runs; measures that look at fewer read the same blocks."""
        suite = self.lab.suite
        about = {
            "looks": list(schedule.looks),
            "critical": list(statistics.critical_values(schedule.looks, suite.level)),
            "level": suite.level,
            "aim": schedule.precision,
            "baseline": suite.baseline,
        }
        total = max(wanted(suite.measures).values())
        tables = blocks(
            self.lab,
            "runs",
            repeated_variance.VERSION,
            contexts,
            spans(count, total + total % 2),
            partial(repeated_variance.rows, suite, contexts, schedule),
            about,
        )
        return {address: found.first(count) for address, found in series.read(tables).items()}

    def _truths(self, units: int) -> dict[Address, Truth]:
        """The separate run, its parts in eight blocks."""
        each = -(-units // reference_run.PARTS)
        parts = list(
            itertools.pairwise(range(0, reference_run.PARTS + 1, reference_run.PARTS // 8))
        )
        tables = {}
        for context in self.contexts:
            compute = partial(reference_run.rows, context, each)
            found = blocks(
                self.lab, "truth", reference_run.VERSION, [context], parts, compute, {"units": each}
            )
            tables[context.label] = concatenate(list(found))
        return reference_run.figures(self.lab.suite, self.contexts, tables)
