"""Whole trainings over an option of the problem: a line a group, with what was published."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reports.results.estimate import Estimate
from reports.results.published import Published, published_of
from reports.results.sweeps import Spot, spots_of
from reports.results.trainings import Key, Trainings

METRICS = ("test.error.mean_weights", "test.error")
"""Metrics that are shown over an option."""
Line = dict[float, Estimate]
"""A group's figures by x."""


@dataclass(frozen=True)
class Swept:
    """The trainings of problems that differ in one option.

    Attributes:
        found: The trainings.
        axis: What the option is called.
        spots: Where each of their problems stands.
    """

    found: Trainings
    axis: str
    spots: dict[str, Spot]

    @property
    def keys(self) -> list[Key]:
        """The trainings of the sweep, in the suite's order."""
        return [key for key in self.found.keys if key[0] in self.spots]

    @property
    def groups(self) -> list[str]:
        """The groups' names, with the estimator where a group has several; one a line."""
        return list(dict.fromkeys(self.line(key) for key in self.keys))

    @property
    def sizes(self) -> list[float]:
        """Every x, in order."""
        return sorted({self.spots[problem].x for problem, _ in self.keys})

    def line(self, key: Key) -> str:
        """Name the line that a training is on."""
        problem, label = key
        several = sum(other == problem for other, _ in self.found.keys) > 1
        return f"{self.spots[problem].group}, {label}" if several else self.spots[problem].group

    def lines(self, metric: str) -> dict[str, Line]:
        """Return a metric of each group by x."""
        lines: dict[str, Line] = {}
        finals = self.found.finals(metric)
        for key in self.keys:
            if key in finals and finals[key].measured:
                lines.setdefault(self.line(key), {})[self.spots[key[0]].x] = finals[key]
        return {name: dict(sorted(points.items())) for name, points in lines.items()}

    def published(self, metric: str) -> dict[str, dict[float, Published]]:
        """Return the published figures of each group by x, of the problems that were trained here."""
        lines: dict[str, dict[float, Published]] = {}
        for figure in published_of(self.found.run):
            for key in self.keys:
                if (figure.problem, figure.estimator, figure.metric) == (*key, metric):
                    lines.setdefault(self.line(key), {})[self.spots[key[0]].x] = figure
        return lines


def swept_of(found: Trainings) -> list[Swept]:
    """Find the options that a run's trainings are swept over, with at least two values each."""
    spots = spots_of(found.run)
    axes = dict.fromkeys(spots[problem].axis for problem, _ in found.keys if problem in spots)
    every = [Swept(found, a, {p: s for p, s in spots.items() if s.axis == a}) for a in axes]
    return [swept for swept in every if len(swept.sizes) > 1]


def parts_of(found: Trainings) -> list[Trainings]:
    """Split trainings by x, so that a figure of courses shows problems that are compared with each other."""
    swept = swept_of(found)
    inside = {key for one in swept for key in one.keys}
    rest = [key for key in found.keys if key not in inside]
    split = [
        _only(found, [key for key in one.keys if one.spots[key[0]].x == x], f"{one.axis} {x:g}")
        for one in swept
        for x in one.sizes
    ]
    if not split:
        return [found]
    return ([_only(found, rest, "others")] if rest else []) + split


def _only(found: Trainings, keys: list[Key], title: str) -> Trainings:
    names = {problem for problem, _ in keys}
    rows = found.rows[found.rows["problem"].isin(names)]
    epochs = found.epochs[found.epochs["problem"].isin(names)]
    whole = f"{found.title}, {title}"
    return replace(found, title=whole, rows=rows, epochs=epochs, keys=keys, part=title)
