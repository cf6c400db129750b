"""What a measure is: one object in one file, put into `vdbench.measures.registry.MEASURES`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from vdbench.estimation.base import Estimator
from vdbench.measures.cells import Cell, Outcome
from vdbench.measures.context import Context
from vdbench.measures.expected import Expected
from vdbench.measures.metrics import MetricValue
from vdbench.measures.session import Session, Site
from vdbench.problems.problem import Problem
from vdbench.suite.schema import Suite

Values = Iterator[tuple[Outcome, list[MetricValue]]]
"""Outcomes, each with the values of its cell."""


class Measure(ABC):
    """One kind of measurement, from the suite's words to values with intervals.

    Attributes:
        name: Its key under ``measures`` in a suite, and what cells and messages call it.
        spec: Its options there.
        together: Whether all cells of a place are measured at once; else one after the other.
        alone: Whether it measures seconds or bytes: nothing else is measured beside it.
        apart: Whether it asks estimators in turn, each in a process of its own (`Site.ask`), and is itself in none.
        compares: Whether it compares places (`across`): its outcomes are kept until all are measured.
    """

    name: ClassVar[str]
    spec: ClassVar[type[BaseModel]]
    together: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    apart: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    def asked(self, suite: Suite) -> Any:
        """Its options in a suite, an instance of `spec`; None where the suite does not ask for it."""
        return suite.measures.of(self.name)

    def check(self, where: str, suite: Suite) -> None:  # noqa: B027 (optional)
        """Refuse a suite that asks for what cannot be measured.

        Called for every suite; one that does not ask for this measure is let pass.

        Args:
            where: What messages call the suite.
            suite: What is asked for.

        Raises:
            InputError: What is asked for cannot be measured.
        """

    def check_problem(self, suite: Suite, problem: Problem) -> None:  # noqa: B027 (optional)
        """Refuse a suite, once a problem of it is built; called where the suite asks for this measure.

        Args:
            suite: What is asked for.
            problem: One of its problems.

        Raises:
            InputError: What is asked for cannot be measured on this problem.
        """

    @abstractmethod
    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """Its cells, in the order in which they are measured."""

    @abstractmethod
    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """Fewest and most gradients that a cell takes.

        Args:
            suite: What is asked for.
            cell: Which.
            examples: Training examples of the problems that are known.
        """

    def memory(self, suite: Suite, cell: Cell, context: Context, limit: int) -> Expected | None:
        """What a cell is expected to take; None where that is not known.

        Args:
            suite: What is asked for.
            cell: Which.
            context: Its estimator, with parameters; no draw of its minibatch size has been taken yet.
            limit: Bytes that it may take.
        """
        return None

    @abstractmethod
    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """Measure cells of one place: one, or all of them if `together`.

        Args:
            session: Suite, store and progress of the run.
            site: The place: its problem, its parameters, and the estimators there.
            cells: Which.

        Raises:
            CellError: They cannot be measured; any other error is recorded as their failure, too.
        """

    @abstractmethod
    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Values of its outcomes at one place.

        Args:
            suite: What was asked for.
            outcomes: Of all measures there, without those that failed.
        """

    def across(self, session: Session, outcomes: Sequence[Outcome]) -> Values:
        """Values that compare places, once all are measured.

        Args:
            session: The run's.
            outcomes: Of this measure, from all places, without those that failed.
        """
        return iter(())


def mine(measure: Measure, outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    """The outcomes of a measure at one place, by label of the estimator."""
    return {o.cell.label: o for o in outcomes if o.cell.measure == measure.name}
