"""What whole trainings give over an option of the problem: a line a group, with bands and published figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.line_plot import size_axis
from reports.figures.medium import FAINT, canvas, scaled
from reports.figures.style import colours, finish, legend_below, markers
from reports.results.published import Published, published_of
from reports.results.swept import Spot, spots_of
from reports.results.trainings import Key, Trainings
from reports.words.numbers import Estimate, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = (
    ("test.error.mean_weights", "test error, mean weights (%)"),
    ("test.error", "test error, samples (%)"),
)
"""Metrics over an option, and the names of their axes."""
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


def sweep_figure(swept: Swept) -> Figure:
    """Draw each metric over the option."""
    shown = [(metric, name) for metric, name in METRICS if swept.lines(metric)]
    figure = canvas(1.2 + 3.5 * max(len(shown), 2), 3.9, narrow=len(shown) == 1)
    for axes, (metric, name) in zip(
        figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True
    ):
        draw(axes, swept, metric)
        axes.set_ylabel(name)
    legend_below(figure, handles(swept, [metric for metric, _ in shown]))
    return figure


def draw(axes: Axes, swept: Swept, metric: str) -> None:
    """Draw one metric: lines and bands of ours, hollow markers of what was published."""
    palette, signs = colours(swept.groups), markers(swept.groups)
    for name, points in swept.lines(metric).items():
        at, style = list(points), {"color": palette[name]}
        low, high = ([getattr(e, end) for e in points.values()] for end in ("low", "high"))
        axes.fill_between(at, low, high, alpha=0.13, linewidth=0, **style)
        axes.plot(at, [e.value for e in points.values()], signs[name], linestyle="-",
                  linewidth=scaled(1.4), markersize=scaled(4.8), **style)  # fmt: skip
    for name, figures in swept.published(metric).items():
        axes.plot(list(figures), [f.value for f in figures.values()], signs[name], linestyle="none",
                  markersize=scaled(6.5), markerfacecolor="none", color=palette[name])  # fmt: skip
    size_axis(axes, swept.sizes, True)
    axes.set_ylim(*window(swept, metric))
    axes.set_xlabel(swept.axis)
    axes.yaxis.set_major_formatter(lambda y, _: format_number(y, 6))
    finish(axes)


def window(swept: Swept, metric: str) -> tuple[float, float]:
    """Return an axis's range: every figure, and bands as far as they are no wider than the figures' spread."""
    every = [e for points in swept.lines(metric).values() for e in points.values()]
    values = [e.value for e in every]
    values += [f.value for figures in swept.published(metric).values() for f in figures.values()]
    room = max(max(values) - min(values), 0.1)
    low = max(min([e.low for e in every] + values), min(values) - room, 0.0)
    high = min(max([e.high for e in every] + values), max(values) + room)
    return max(low - 0.05 * (high - low), 0.0), high + 0.05 * (high - low)


def handles(swept: Swept, metrics: list[str]) -> list[Line2D]:
    """Explain the lines."""
    palette, signs = colours(swept.groups), markers(swept.groups)
    style: dict[str, Any] = {"linewidth": scaled(1.4), "markersize": scaled(5)}
    found = [
        Line2D([], [], marker=signs[name], color=palette[name], label=name, **style)
        for name in swept.groups
    ]
    if any(swept.published(metric) for metric in metrics):
        found.append(Line2D([], [], marker="o", color=FAINT, markerfacecolor="none", linestyle="none",
                            markersize=scaled(6.5), label="published"))  # fmt: skip
    return found
