"""The figures of variance and of cost, as panels of dots."""

from __future__ import annotations

from matplotlib.figure import Figure

from reports.figures.dot_plot import Panel, Series, dot_figure, row_height
from reports.figures.medium import TALLEST, on_paper, scaled
from reports.results.groups import Group
from reports.results.panels import cost_metrics, summary_roles
from reports.results.ranking import order
from reports.results.size_lines import TIME
from reports.words.glossary import parameters, role_name
from reports.words.numbers import time_unit

PARTS = (
    Series("variance.total", "total"),
    Series("variance.noise", "noise part", "hollow"),
    Series("variance.data", "data part", "small"),
)
RATIOS = (
    Series("ratio.variance.total", "total"),
    Series("ratio.variance.noise", "noise part", "hollow"),
)
SUMMARY = (
    Series("ratio.variance.total", "variance"),
    Series("ratio.efficiency.variance_seconds", "variance × time", "hollow"),
)
COST = {
    "time.seconds_per_gradient": ("time per gradient", ""),
    "throughput.examples_per_second": ("examples per second", "examples/s"),
    "memory.peak_bytes": ("peak memory", "bytes"),
}
"""What metrics of cost are called, and the names of their axes; that of times has the unit that suits them."""


def variance_figures(group: Group, layers: list[str]) -> list[Figure]:
    """Draw total, noise and data variance of some layers, by role."""
    return faceted(group, layers, PARTS, "variance (gradient²)", None)


def ratio_figures(group: Group, layers: list[str]) -> list[Figure]:
    """Draw the ratio of each variance to the baseline's in some layers, by role."""
    return faceted(group, layers, RATIOS, f"ratio to {group.baseline}", 1.0)


def summary_figure(group: Group) -> Figure:
    """Draw the ratios over all layers, with their values and with the intervals that verdicts rest on.

    This is the figure that tells a run's story by itself, in a README for instance.
    """
    kept = tuple(s for s in SUMMARY if group.has(s.metric))
    label = f"ratio to {group.baseline} (log)"
    panels = [
        Panel(parameters(role), "all", role, kept, label, values=True, together=True)
        for role in summary_roles(group)
    ]
    return dot_figure(group, [panels], 1.0, width=2.7, labels=order(group))


def faceted(
    group: Group,
    layers: list[str],
    series: tuple[Series, ...],
    label: str,
    reference: float | None,
) -> list[Figure]:
    """Draw roles as rows and layers as columns: one figure on a page, as many sheets as it takes on paper."""
    kept = tuple(s for s in series if group.has(s.metric))
    rows = [
        [Panel(facet(role, layer), layer, role, kept, label) for layer in layers]
        for role in group.roles(series[0].metric)
    ]
    return [dot_figure(group, part, reference) for part in sheets(rows, group.labels)]


def sheets(rows: list[list[Panel]], labels: list[str]) -> list[list[list[Panel]]]:
    """Part rows of panels so that each part fits a sheet of paper; a page has no end."""
    height = scaled(sum(row_height(row, labels) for row in rows))
    return [[row] for row in rows] if on_paper() and height > TALLEST else [rows]


def facet(role: str, layer: str) -> str:
    """Title of a panel."""
    every = "all" if on_paper() else "all layers"
    return f"{role_name(role)} · {every if layer == 'all' else layer}"


def cost_figure(group: Group) -> Figure:
    """Draw seconds, examples per second and peak memory, as far as they were measured."""
    times = (e for key, e in group.figures.items() if key[1] == TIME)
    factor, unit = time_unit(times)
    panels = []
    for metric in cost_metrics(group):
        title, name = COST[metric]
        timed = metric == TIME
        panels.append(Panel(title, "all", "all", (Series(metric, title),),
                            unit if timed else name, factor=factor if timed else 1))  # fmt: skip
    return dot_figure(group, [panels])
