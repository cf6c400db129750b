"""What of a group its figures show: which roles, and which layers side by side."""

from __future__ import annotations

from reports.results.groups import Group

COLUMNS = 4
"""Layers side by side in one figure, so that it stays readable."""
RATIO = "ratio.variance.total"
COST = ("time.seconds_per_gradient", "throughput.examples_per_second", "memory.peak_bytes")
"""Metrics of what a gradient costs."""


def summary_roles(group: Group) -> list[str]:
    """Return the roles whose ratio to the baseline is known over all layers."""
    return [role for role in group.headline_roles() if role in group.roles(RATIO)]


def layer_parts(group: Group, metric: str) -> list[list[str]]:
    """Part the layers that a metric is given for, so that each part fits a figure."""
    layers = group.layers(metric)
    return [layers[start : start + COLUMNS] for start in range(0, len(layers), COLUMNS)]


def cost_metrics(group: Group) -> list[str]:
    """Return the metrics of cost that were measured."""
    return [metric for metric in COST if group.has(metric)]
