"""What memory the cells of a job are expected to take: looked at once, before the first of their units is measured.

On a CPU alone: how much of a GPU's memory is free is not known before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vdbench.estimation.draws import fitted
from vdbench.measures import expected
from vdbench.measures.cells import Cell, Outcome
from vdbench.measures.context import Context
from vdbench.measures.expected import Expected
from vdbench.measures.protocol import Measure
from vdbench.measures.session import Session, Site
from vdbench.suite.schema import Suite


@dataclass
class Foresight:
    """Of one job.

    Attributes:
        session: The run's.
        site: Where.
        measure: Which.
        cells: Those of the job; of several that are measured together nothing is said.
    """

    session: Session
    site: Site
    measure: Measure
    cells: Sequence[Cell]
    found: Expected | None = None
    _looked: bool = field(default=False)

    def look(self) -> None:
        """See that the cell fits, and have its calls made smaller where memory is scarce.

        Raises:
            CellError: It does not fit; says what it is expected to take.
        """
        if self._looked or len(self.cells) != 1 or self.session.device.type != "cpu":
            return
        self._looked = True
        (cell,), suite = self.cells, self.session.suite
        context = self._context(cell)
        limit = expected.may_take(suite)
        self.found = None if context is None else of_cell(self.measure, suite, cell, context, limit)
        if context is not None and self.found is not None and self.found.bytes > limit:
            expected.doubt(
                context, limit
            )  # nothing that fits is refused for a line that goes astray
            self.found = of_cell(self.measure, suite, cell, context, limit)
        if self.found is not None and context is not None:
            expected.refuse(self.found, limit, suite.memory is not None)
            context.shared["limits"] = self.found.limits

    def _context(self, cell: Cell) -> Context | None:
        if not cell.trains:
            return self.site.context(cell.estimator)
        try:
            return begun(self.site.untrained(cell.estimator))
        except Exception:  # it will be fitted again, and says so then
            return None

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Add what was expected to the facts of the cell that was measured."""
        if self.found is not None and len(outcomes) == 1:
            more = {"memory_expected": self.found.bytes}
            outcomes[0].detail = {**outcomes[0].detail, **more}


def of_cell(
    measure: Measure, suite: Suite, cell: Cell, context: Context, limit: int
) -> Expected | None:
    """What a cell is expected to take; None where that is not known, as where an estimator refuses small minibatches.

    Args:
        measure: Of the cell.
        suite: What is asked for.
        cell: Which.
        context: Its estimator, with parameters.
        limit: Bytes that it may take.
    """
    try:
        return measure.memory(suite, cell, context, limit)
    except Exception:  # what an estimator raises is the business of the cell, which says so
        return None


def begun(context: Context) -> Context:
    """An estimator that is to be trained with, at the parameters that training begins with, fitted."""
    start = context.problem.initial(context.key)
    state = fitted(context.estimator, context.problem, start, context.key / "fit")
    return replace(context, parameters=start, state=state)


def fits(session: Session, context: Context) -> None:
    """See that a single gradient fits, before one is taken; on a CPU.

    Raises:
        CellError: It does not.
    """
    if session.device.type != "cpu":
        return
    limit = expected.may_take(session.suite)
    try:
        found = expected.one(context)
        if found.bytes > limit:
            expected.doubt(context, limit)
            found = expected.one(context)
    except Exception:  # as above
        return
    expected.refuse(found, limit, session.suite.memory is not None)
