"""What a run tells of itself while it measures, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Planned(NamedTuple):
    """Cells that are to be measured at once.

    Attributes:
        names: The cells, as `Progress.cell` and `Progress.done` name them.
        measure: Name of the measure.
        gradients: Most gradients that they take.
    """

    names: tuple[str, ...]
    measure: str
    gradients: int


class Progress(Protocol):
    """Told by a run what it does."""

    def start(self, cells: int) -> None:
        """So many cells are to come."""

    def plan(self, work: Sequence[Planned]) -> None:
        """What is to come, in order."""

    def cell(self, name: str) -> None:
        """Work on a cell begins, or what is told next is of it; of several at once, the first."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""

    def detail(self, text: str) -> None:
        """How far the cell is."""

    def share(self, share: float) -> None:
        """How far the cell is, from 0 to 1, as far as that can be foreseen."""

    def done(self, name: str, status: str, reason: str) -> None:
        """A cell is finished."""

    def close(self) -> None:
        """The run is over."""


class Quiet:
    """Says nothing."""

    def start(self, cells: int) -> None:
        """Say nothing."""

    def plan(self, work: Sequence[Planned]) -> None:
        """Say nothing."""

    def cell(self, name: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def detail(self, text: str) -> None:
        """Say nothing."""

    def share(self, share: float) -> None:
        """Say nothing."""

    def done(self, name: str, status: str, reason: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""
