"""What a section of the report is, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from reports.document import Block, Heading
from reports.results.groups import Group, groups_of
from reports.results.load import Results
from reports.results.sweeps import Sweep, sweeps_of
from reports.results.trainings import Trainings, trainings_of
from reports.words.numbers import slug


@dataclass(frozen=True)
class Findings:
    """What a report is about.

    Attributes:
        results: All rows and runs.
    """

    results: Results

    @cached_property
    def groups(self) -> list[Group]:
        """What is compared with what: a group each problem, checkpoint and minibatch size."""
        return groups_of(self.results)

    @cached_property
    def sweeps(self) -> list[Sweep]:
        """What was measured at several sizes, or at several values of an option."""
        return sweeps_of(self.results, self.groups)

    @cached_property
    def trainings(self) -> list[Trainings]:
        """The whole trainings of each run that has any."""
        return trainings_of(self.results)


class ReportSection(Protocol):
    """One section of the report.

    Attributes:
        anchor: The name by which a page links to it: letters, unique among the sections.
        title: Its title.
    """

    anchor: str
    title: str

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section.

        Args:
            found: What the report is about.

        Returns:
            Its paragraphs, tables and pictures, in order. A section without any is left out.
        """


def heading(anchor: str, group: Group) -> Heading:
    """Head a group's part of a section, so that links find it."""
    return Heading(group.title, slug(f"{anchor} {group.title}"))
