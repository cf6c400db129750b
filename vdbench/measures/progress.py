"""What a run tells of itself while it measures, and to whom."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by a run what it does."""

    def start(self, cells: int) -> None:
        """So many cells are to come."""

    def cell(self, name: str) -> None:
        """Work on a cell begins."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""

    def detail(self, text: str) -> None:
        """How far the cell is."""

    def done(self, name: str, status: str, reason: str) -> None:
        """A cell is finished."""

    def close(self) -> None:
        """The run is over."""


class Quiet:
    """Says nothing."""

    def start(self, cells: int) -> None:
        """Say nothing."""

    def cell(self, name: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def detail(self, text: str) -> None:
        """Say nothing."""

    def done(self, name: str, status: str, reason: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""
