"""The sections' tables for reading, and the CSV files at full precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reports.document import Table
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.sections.table_parts import drop_empty, notes
from reports.words.glossary import role_name
from reports.words.missing_test import without_test
from reports.words.numbers import MISSING, percent, show, show_bytes, show_seconds
from reports.words.training import target_of

if TYPE_CHECKING:
    pass

PARTS = {"variance.total": "total", "variance.noise": "noise part", "variance.data": "data part"}
RATIOS = {"ratio.variance.total": "total", "ratio.variance.noise": "noise part"}
"""What the tables by layer show, and how they call it."""

EPOCH = "An epoch is ⌊N / M⌋ gradients, without the steps of the optimizer."


def layer_table(
    group: Group, metrics: dict[str, str], caption: str, apart: float | None = None
) -> Table:
    """Build a table of metrics by role, layer and estimator.

    Args:
        group: The group.
        metrics: Column heading by metric; the first one says which roles and layers there are.
        caption: The table's caption.
        apart: As for `format_interval`.

    Returns:
        A table with the roles and layers in order and a row an estimator.
    """
    first = next(iter(metrics))
    rows = []
    for role in group.roles(first):
        for layer in group.layers(first):
            for label in group.labels:
                found = [group.get(label, metric, layer, role) for metric in metrics]
                if any(found):
                    count = max((e.n for e in found if e), default=0)
                    cells = [show(e, apart) for e in found]
                    names = [role_name(role), layer, group.name(label)]
                    rows.append([*names, *cells, f"{count:,}" if count else MISSING])
    columns = ["parameter", "layer", "estimator", *metrics.values(), "n"]
    marks = notes([group], rows)
    return drop_empty(Table(columns, rows, caption, folded=len(rows) > 12, notes=marks))


def label_table(group: Group, columns: dict[str, tuple[str, Callable[[Estimate | None], str]]],
                caption: str) -> Table:  # fmt: skip
    """Build a table with a row an estimator; columns give a heading and a writer by metric."""
    rows = [
        [label, *(write(group.get(label, metric)) for metric, (_, write) in columns.items())]
        for label in group.labels
    ]
    rows = [row for row in rows if any(cell != MISSING for cell in row[1:])]
    return drop_empty(Table(["estimator", *(name for name, _ in columns.values())], rows, caption))


def cost_table(group: Group) -> Table:
    """Build the table of what each estimator costs."""
    columns: dict[str, tuple[str, Callable[[Estimate | None], str]]] = {
        "time.seconds_per_gradient": ("time per gradient", show_seconds),
        "ratio.time.seconds_per_gradient": (f"ratio to {group.baseline}", lambda e: show(e, 1)),
        "time.seconds_per_epoch": ("time per epoch", show_seconds),
        "throughput.gradients_per_second": ("gradients per second", show),
        "throughput.examples_per_second": ("examples per second", show),
        "memory.peak_bytes": ("peak memory", show_bytes),
    }
    said = f"Cost per gradient; intervals at {percent(group.run.level)}."
    if group.has("time.seconds_per_epoch"):
        said += f" {EPOCH}"
    return label_table(group, columns, said)


def training_table(group: Group) -> Table:
    """Build the table of where training ended and how long it took."""
    columns: dict[str, tuple[str, Callable[[Estimate | None], str]]] = {
        "convergence.final_elbo": ("final ELBO (nats)", show),
        "test.error": ("test error (%)", show),
        "test.nll": ("test NLL (nats per example)", show),
        "convergence.seconds_to_target": ("time to the target ELBO", to_target),
    }
    counts = [e.n for key, e in group.figures.items() if key[1] == "convergence.final_elbo" and e.n]
    seeds = f"; {min(counts)} training seeds" if counts else ""
    times = [group.get(label, "convergence.seconds_to_target") for label in group.labels]
    target = next((f" The target is {words.removeprefix('the target of ')}."
                   for e in times if e and (words := target_of(e)) != "the target"), "")  # fmt: skip
    said = (
        f"Results at the end of training; intervals at {percent(group.run.level)}{seeds}.{target}"
        f"{without_test(group.run.info, [group.problem])}"
    )
    return label_table(group, columns, said)


def to_target(estimate: Estimate | None) -> str:
    """Write a time to target, or that it was not reached."""
    if estimate is None or estimate.measured or estimate.status == "failed":
        return show_seconds(estimate)
    reached, seeds = (estimate.detail.get(key) for key in ("reached", "seeds"))
    return f"reached by {reached} of {seeds} seeds" if seeds else "not reached"
