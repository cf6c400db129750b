"""The figures of variance and of cost, as panels of dots."""

from __future__ import annotations

from matplotlib.figure import Figure

from reports.figures.axes import time_unit
from reports.figures.dot_plot import Panel, Series, dot_figure, row_height
from reports.figures.medium import TALLEST, on_paper, scaled
from reports.results.groups import Group
from reports.results.ranking import order
from reports.words.glossary import in_role, role_name

COLUMNS = 4
"""Layers side by side in one figure, so that it stays readable."""

PARTS = (
    Series("variance.total", "total", "o"),
    Series("variance.noise", "noise part", "D"),
    Series("variance.data", "data part", "s", filled=False),
)
RATIOS = (
    Series("ratio.variance.total", "total", "o"),
    Series("ratio.variance.noise", "noise part", "D"),
)
SUMMARY = (
    Series("ratio.variance.total", "variance", "o"),
    Series("ratio.efficiency.variance_seconds", "variance × seconds", "D", filled=False),
)
COST = (
    ("time.seconds_per_gradient", "time per gradient", "TIME"),
    ("throughput.examples_per_second", "examples per second", "examples/s"),
    ("memory.peak_bytes", "peak memory", "bytes"),
)


def variance_figures(group: Group) -> list[Figure]:
    """Draw total, noise and data variance by role and layer."""
    return faceted(group, PARTS, "variance (gradient²)", None)


def ratio_figures(group: Group) -> list[Figure]:
    """Draw the ratio of each variance to the baseline's."""
    return faceted(group, RATIOS, f"ratio to {group.baseline}", 1.0)


def summary_figure(group: Group) -> Figure | None:
    """Draw the ratios over all layers, with their values; None where there are none.

    This is the figure that tells a run's story by itself, in a README for instance.
    """
    kept = tuple(s for s in SUMMARY if group.has(s.metric))
    roles = [role for role in group.headline_roles() if role in group.roles("ratio.variance.total")]
    if not kept or not roles:
        return None
    label = f"ratio to {group.baseline} (log)"
    panels = [Panel(words(role), "all", role, kept, label, values=True) for role in roles]
    return dot_figure(group, [panels], 1.0, width=2.7, labels=order(group))


def words(role: str) -> str:
    """Say what a role's gradient is taken in, as a title."""
    return f"gradient {in_role(role)}"


def faceted(
    group: Group, series: tuple[Series, ...], label: str, reference: float | None
) -> list[Figure]:
    """Draw roles as rows and layers as columns, in as many figures as the layers need."""
    metric = series[0].metric
    layers, roles = group.layers(metric), group.roles(metric)
    kept = tuple(s for s in series if group.has(s.metric))
    figures = []
    for start in range(0, len(layers), COLUMNS):
        rows = [
            [
                Panel(facet(role, layer), layer, role, kept, label)
                for layer in layers[start : start + COLUMNS]
            ]
            for role in roles
        ]
        figures += [dot_figure(group, part, reference) for part in sheets(rows, group.labels)]
    return figures


def sheets(rows: list[list[Panel]], labels: list[str]) -> list[list[list[Panel]]]:
    """Part rows of panels so that each part fits a sheet of paper; a page has no end."""
    height = scaled(sum(row_height(row, labels) for row in rows))
    return [[row] for row in rows] if on_paper() and height > TALLEST else [rows]


def facet(role: str, layer: str) -> str:
    """Title of a panel."""
    every = "all" if on_paper() else "all layers"
    return f"{role_name(role)} · {every if layer == 'all' else layer}"


def cost_figure(group: Group) -> Figure | None:
    """Draw seconds, examples per second and peak memory; None where none is measured."""
    times = (e for key, e in group.figures.items() if key[1] == COST[0][0])
    factor, name = time_unit(times)
    panels = [
        Panel(title, "all", "all", (Series(metric, title),), name, factor=factor)
        if unit == "TIME"
        else Panel(title, "all", "all", (Series(metric, title),), unit)
        for metric, title, unit in COST
        if group.has(metric)
    ]
    return dot_figure(group, [panels]) if panels else None
