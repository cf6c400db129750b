"""Figures against a size, laid out as the panels that show them."""

from __future__ import annotations

from dataclasses import dataclass, field

from reports.results.estimate import Estimate
from reports.results.published import EXACT, published_of
from reports.results.sweeps import OPTION, Sweep

Points = dict[float, Estimate]
"""Figures by size."""
PARTS = ("variance.noise", "variance.total")
TIME, MEMORY = "time.seconds_per_gradient", "memory.peak_bytes"


@dataclass(frozen=True)
class Frame:
    """What one pair of axes shows.

    Attributes:
        metric: What the figures are of.
        role: Of which parameters; ``all`` for time and memory.
        lines: Figures of each estimator by size.
        guide: Whether to draw a line of slope −1.
        exact: Exact values of each estimator by size, where a suite gives them.
    """

    metric: str
    role: str
    lines: dict[str, Points]
    guide: bool = False
    exact: dict[str, dict[float, float]] = field(default_factory=dict)


def variance_frames(sweep: Sweep) -> list[list[Frame]]:
    """Lay out the noise part and the total as rows, and the roles as columns."""
    rows = []
    for metric in PARTS:
        roles = [role for role in sweep.roles() if sweep.has(metric, role)]
        rows.append(
            [
                Frame(
                    metric,
                    role,
                    lines(sweep, metric, role),
                    guide=sweep.axis != OPTION,
                    exact=exact_of(sweep, metric, role),
                )
                for role in roles
            ]
        )
    return [row for row in rows if row]


def cost_frames(sweep: Sweep) -> list[list[Frame]]:
    """Lay out seconds per gradient and, where it was measured, peak memory."""
    kept = [TIME, *([MEMORY] if sweep.has(MEMORY, least=2) else [])]
    return [[Frame(metric, "all", lines(sweep, metric, "all")) for metric in kept]]


def lines(sweep: Sweep, metric: str, role: str) -> dict[str, Points]:
    """Return the figures of each estimator over all layers that are not 0, nor so to rounding."""
    found = {label: sweep.get(label, metric, "all", role) for label in sweep.places}
    kept = {
        label: {x: e for x, e in points.items() if e.value > 0 and not dust(sweep, label, x, role)}
        for label, points in found.items()
    }
    return {label: points for label, points in kept.items() if points}


def dust(sweep: Sweep, label: str, size: float, role: str) -> bool:
    """Whether an estimator's variance at a size is 0 but for rounding."""
    group, name = sweep.places[label][size]
    return group.dust(name, role)


def zeros(sweep: Sweep, rows: list[list[Frame]]) -> list[str]:
    """Name the estimators that have figures too small to be drawn."""
    small: dict[str, None] = {}
    for frame in (frame for row in rows for frame in row):
        for label in sweep.places:
            every = sweep.get(label, frame.metric, "all", frame.role)
            if len(every) > len(frame.lines.get(label, {})):
                small[label] = None
    return list(small)


def exact_of(sweep: Sweep, metric: str, role: str) -> dict[str, dict[float, float]]:
    """Return the exact figures over all layers that a suite gives of each estimator, by size."""
    found: dict[str, dict[float, float]] = {}
    for label, places in sweep.places.items():
        for x, (group, name) in places.items():
            for figure in published_of(group.run):
                same = (figure.metric, figure.role, figure.layer, figure.estimator)
                if (
                    figure.source == EXACT
                    and same == (metric, role, "all", name)
                    and figure.of(group)
                ):
                    found.setdefault(label, {})[x] = figure.value
    return found
