"""What is compared over sizes: an estimator at several minibatch sizes M, samples S, or values of an option."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reports.results.estimate import Estimate
from reports.results.groups import (
    ROLES,
    SCALED_MARK,
    TRAINING,
    Address,
    FewExamples,
    Group,
    estimate_of,
    index_of,
)
from reports.results.load import Results, Run

if TYPE_CHECKING:
    import pandas as pd

MINIBATCH, SAMPLES, OPTION = "batch_size", "samples", "option"
SYMBOL = {MINIBATCH: "M", SAMPLES: "S"}
NAMES = {MINIBATCH: "minibatch size M", SAMPLES: "samples S"}
FITS = ("slope.variance.noise", "slope.variance.total", "floor.variance.noise")
LEAST = 3
"""Sizes from which on a figure of variance against them says something."""

Places = dict[float, tuple[Group, str]]
"""By size: the group, and the estimator's label in it."""


@dataclass(frozen=True)
class Spot:
    """Where a problem stands in a sweep: its group, what is swept, and its value."""

    group: str
    axis: str
    x: float


@dataclass(frozen=True)
class Sweep:
    """Estimators at several sizes of one problem and checkpoint.

    Attributes:
        axis: ``batch_size``, ``samples`` or ``option``.
        title: What it is of, in words, unique in the report.
        first: One of its groups, for what they all share.
        places: Where each estimator is found, by its label (without ``samples``, over S) and size.
        fits: Slopes and floors by (label, metric, layer, role).
        option: What the suite calls the option that differs between problems.
    """

    axis: str
    title: str
    first: Group = field(repr=False)
    places: dict[str, Places] = field(repr=False)
    fits: dict[Address, Estimate] = field(repr=False)
    option: str = ""

    @property
    def over(self) -> str:
        """What the sizes are of."""
        return self.option or NAMES[self.axis]

    @property
    def labels(self) -> list[str]:
        """The estimators, in the suite's order; then those that have a fit alone."""
        return list(dict.fromkeys([*self.places, *(key[0] for key in self.fits)]))

    @property
    def sizes(self) -> list[float]:
        """All sizes, in order."""
        return sorted({size for places in self.places.values() for size in places})

    def get(self, label: str, metric: str, layer: str = "all", role: str = "all"
            ) -> dict[float, Estimate]:  # fmt: skip
        """Return the measured figures of an estimator by size."""
        found = {
            size: group.get(name, metric, layer, role)
            for size, (group, name) in sorted(self.places.get(label, {}).items())
        }
        return {size: e for size, e in found.items() if e is not None and e.measured}

    def has(self, metric: str, role: str = "all", least: int = LEAST) -> bool:
        """Whether any estimator has a metric over all layers at so many sizes."""
        return any(len(self.get(label, metric, "all", role)) >= least for label in self.places)

    def roles(self) -> list[str]:
        """Roles that have a variance at enough sizes, or a fit, in a fixed order."""
        groups = [group for places in self.places.values() for group, _ in places.values()]
        known = dict.fromkeys(role for group in [self.first, *groups] for role in group.roles())
        known |= dict.fromkeys(key[3] for key in self.fits)
        fitted = {key[3] for key in self.fits}
        kept = {r for r in known if r in fitted or self.has("variance.total", r)}
        return sorted(kept, key=lambda role: (index_of(role, ROLES), role))

    def few_examples(self, label: str) -> list[FewExamples]:
        """Return on how many examples an estimator's noise parts were measured, size by size; nothing where on all."""
        places = [group.few_examples(name) for group, name in self.places.get(label, {}).values()]
        return [one for found in places for one in found]

    def name(self, label: str) -> str:
        """Return an estimator's label for a table, marked where a noise part was scaled."""
        return f"{label} {SCALED_MARK}" if self.few_examples(label) else label

    def ranked(self, label: str) -> bool:
        """Whether an estimator competes, at the first size that it has."""
        places = self.places.get(label)
        if not places:
            return True
        group, name = places[min(places)]
        return group.ranked(name)


def sweeps_of(results: Results, groups: list[Group]) -> list[Sweep]:
    """Find what was measured at several sizes.

    Args:
        results: All rows and runs, for the fits.
        groups: The groups of the report.

    Returns:
        Over an option of the problem, those of at least two values; over M, of at least two sizes; over S, those
        of at least three or with a fit.
    """
    sized = [*over_minibatch(results, groups), *over_samples(results, groups)]
    return [*over_option(groups), *sized]


def spots_of(run: Run) -> dict[str, Spot]:
    """Return the swept problems of a run's suite, in its order."""
    suite: Any = run.info.get("suite") or {}
    return {
        str(item["name"]): Spot(str(item.get("group") or ""), str(item.get("axis") or "x"), float(item["x"]))
        for item in suite.get("problems") or []
        if item.get("x") is not None
    }  # fmt: skip


def over_option(groups: list[Group]) -> Iterator[Sweep]:
    """Put groups together whose problems differ in one option.

    Families of one estimator each are put side by side; where there are several, each family is by itself.
    """
    families: dict[tuple[str, str], list[tuple[Group, Spot]]] = {}
    for group in groups:
        spot = spots_of(group.run).get(group.problem)
        if spot and group.checkpoint != TRAINING:
            families.setdefault((without_problem(group), spot.axis), []).append((group, spot))
    apart = [(place, part) for place, family in families.items() for part in _parts(family)]
    for (rest, axis), family in apart:
        names = list(dict.fromkeys(spot.group for _, spot in family))
        places: dict[str, Places] = {}
        for group, spot in family:
            for label in group.labels:
                places.setdefault(_line(spot, label, family), {})[spot.x] = (group, label)
        if len({spot.x for _, spot in family}) > 1:
            title = " · ".join([", ".join(names), *([rest] if rest else [])])
            yield Sweep(OPTION, title, family[0][0], places, {}, axis)


def _parts(family: list[tuple[Group, Spot]]) -> list[list[tuple[Group, Spot]]]:
    if all(len(group.labels) == 1 for group, _ in family):
        return [family]
    parts: dict[str, list[tuple[Group, Spot]]] = {}
    for group, spot in family:
        parts.setdefault(spot.group, []).append((group, spot))
    return list(parts.values())


def _line(spot: Spot, label: str, family: list[tuple[Group, Spot]]) -> str:
    """Name an estimator on a family of problems by what tells it apart."""
    return label if len({other.group for _, other in family}) == 1 else spot.group


def without_problem(group: Group) -> str:
    """Return a group's title without its problem."""
    return " · ".join(x for x in group.title.split(" · ") if x != group.problem)


def over_minibatch(results: Results, groups: list[Group]) -> Iterator[Sweep]:
    """Put groups together that differ in the minibatch size alone."""
    families: dict[str, list[Group]] = {}
    for group in groups:
        if group.checkpoint != TRAINING:
            families.setdefault(without_size(group), []).append(group)
    for title, family in families.items():
        if len(family) > 1:
            labels = dict.fromkeys(label for group in family for label in group.labels)
            places: dict[str, Places] = {
                x: {g.batch_size: (g, x) for g in family if x in g.labels} for x in labels
            }
            yield Sweep(MINIBATCH, title, family[0], places, fits(results, family[0], MINIBATCH))


def without_size(group: Group) -> str:
    """Return a group's title without its minibatch size."""
    return " · ".join(x for x in group.title.split(" · ") if x != f"batch {group.batch_size}")


def over_samples(results: Results, groups: list[Group]) -> Iterator[Sweep]:
    """Put the estimators of each group together that differ in ``samples`` alone."""
    for group in groups:
        counts = samples_of(results.frame, group)
        places: dict[str, Places] = {}
        for label in group.labels:
            if label in counts:
                places.setdefault(without_samples(label), {})[counts[label]] = (group, label)
        found = fits(results, group, SAMPLES)
        kept = {x: p for x, p in places.items() if len(p) >= LEAST or any(x == k[0] for k in found)}
        if kept:
            yield Sweep(SAMPLES, group.title, group, kept, found)


def fits(results: Results, group: Group, axis: str) -> dict[Address, Estimate]:
    """Return the slopes and floors over a size that go with a group."""
    frame = results.frame
    rows = frame[
        frame["metric"].isin(FITS)
        & (frame["against"] == axis)
        & (frame["run"] == group.run.name)
        & (frame["problem"] == group.problem)
        & (frame["checkpoint"] == group.checkpoint)
        & (frame["batch_size"] == (0 if axis == MINIBATCH else group.batch_size))
    ]
    return {(row.label, row.metric, row.layer, row.role): estimate_of(row) for row in _rows(rows)}


def samples_of(frame: pd.DataFrame, group: Group) -> dict[str, int]:
    """Return the samples of each estimator of a group."""
    rows = frame[(frame["run"] == group.run.name) & (frame["problem"] == group.problem)]
    rows = rows[rows["samples"] > 0].drop_duplicates("label")
    return {row.label: int(row.samples) for row in _rows(rows)}


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    return frame.itertuples(index=False)


def without_samples(label: str) -> str:
    """Return an estimator's label without its option ``samples``.

    What is in brackets within the brackets is left as it is.
    """
    name, bracket, inside = label.partition("(")
    if not bracket:
        return label
    parts, depth = [""], 0
    for character in inside[:-1]:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    kept = [part.strip() for part in parts if not part.strip().startswith("samples=")]
    return f"{name}({', '.join(kept)})" if kept else name
