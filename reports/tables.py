"""Tables: the headline and the sections' for reading, and the CSV files at full precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reports.document import Table
from reports.groups import Group
from reports.load import Results
from reports.numbers import (
    MISSING,
    Estimate,
    percent,
    show,
    show_bytes,
    show_seconds,
)
from reports.summary import EFFICIENCY, VARIANCE, order, ratio, verdict

if TYPE_CHECKING:
    import pandas as pd

FILES = {
    "variance": ("variance.",),
    "ratio": ("ratio.",),
    "pairwise": ("pairwise.",),
    "cost": ("time.", "throughput.", "memory.", "efficiency."),
    "convergence": ("convergence.",),
    "test": ("test.",),
    "bias": ("snr", "relative_bias"),
}
"""CSV files, and the beginnings of the metrics in each."""

COLUMNS = (
    "run",
    "problem",
    "checkpoint",
    "batch_size",
    "precision",
    "device",
    "label",
    "layer",
    "role",
    "metric",
    "against",
    "step",
    "seconds",
    "value",
    "ci_low",
    "ci_high",
    "level",
    "n",
    "unit",
    "status",
    "message",
)

BOUNDED = "† reached its bound of draws before the requested precision; its interval holds."


def write_csv(results: Results, folder: Path) -> None:
    """Write one CSV a kind of figure, at full precision, with intervals; no empty one."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [name for name in COLUMNS if name != "run" or results.several]
    for name, prefixes in FILES.items():
        rows = results.frame[results.frame["metric"].str.startswith(prefixes)]
        if len(rows):
            save_csv(rows[columns], folder / f"{name}.csv")


def save_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table with the shortest digits that give the same numbers back."""
    frame = frame.copy()
    for name in ("batch_size", "n"):
        frame[name] = frame[name].astype("Int64")
    frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def headline_table(groups: list[Group]) -> Table:
    """Build the headline table of a group, or of the same group in several runs.

    Args:
        groups: Groups of one problem, checkpoint and batch size, a run each.

    Returns:
        A row an estimator (and run): ratios to the baseline, cost, ELBO, test error, verdict.
    """
    roles = list(dict.fromkeys(role for group in groups for role in group.headline_roles()))
    several = len(groups) > 1
    bases = " or ".join(dict.fromkeys(group.baseline for group in groups))
    columns = [
        *(["run"] if several else []),
        "estimator",
        *(f"variance of {role}, ratio to {bases}" for role in roles),
        *(f"noise part of {role}, ratio" for role in roles),
        "seconds per gradient",
        *(f"variance × seconds of {role}, ratio" for role in roles),
        "final ELBO (nats)",
        "test error (%)",
        "verdict on variance",
    ]
    rows: list[list[str]] = []
    apart: set[int] = set()
    for group in groups:
        for label in order(group):
            if not group.ranked(label):
                apart.add(len(rows))
            rows.append(
                [*([group.run.name] if several else []), *headline_row(group, label, roles)]
            )
    return drop_empty(
        Table(columns, rows, headline_note(groups, rows), apart=frozenset(apart), stacked=True)
    )


def headline_row(group: Group, label: str, roles: list[str]) -> list[str]:
    """Write one estimator's row of the headline table."""
    return [
        label,
        *(ratio_text(group, VARIANCE, label, role) for role in roles),
        *(ratio_text(group, "variance.noise", label, role) for role in roles),
        show_seconds(group.get(label, "time.seconds_per_gradient")),
        *(ratio_text(group, EFFICIENCY, label, role) for role in roles),
        show(group.get(label, "convergence.final_elbo")),
        show(group.get(label, "test.error")),
        verdict(group, label) or MISSING,
    ]


def headline_note(groups: list[Group], rows: list[list[str]]) -> str:
    """Say what the headline table's intervals are."""
    levels = " or ".join(dict.fromkeys(percent(group.run.level) for group in groups))
    note = f"Value [interval at {levels}]; ratios are paired, on the same minibatches. "
    note += "Less is better, except for the ELBO. "
    note += "Verdicts compare each pair, adjusted for the number of pairs."
    return f"{note} {BOUNDED}" if any("†" in cell for row in rows for cell in row) else note


def ratio_text(group: Group, metric: str, label: str, role: str) -> str:
    """Write a ratio to the baseline; 1 for the baseline, a failure as such."""
    if label == group.baseline:
        return "1 (baseline)"
    found = ratio(group, metric, label, role)
    if found is None:
        return "failed" if failed(group, label, metric) else MISSING
    own = group.get(label, metric, "all", role)
    bounded = own is not None and own.status == "bounded"
    return show(dataclasses.replace(found, status="bounded") if bounded else found, 1)


def failed(group: Group, label: str, metric: str) -> bool:
    """Whether the measure that a metric comes from failed for an estimator."""
    measure = "throughput" if metric.startswith("time.") else metric.split(".")[0]
    return any(
        e.status == "failed"
        for key, e in group.figures.items()
        if key[:2] == (label, "variance" if measure == "efficiency" else measure)
    )


def drop_empty(table: Table) -> Table:
    """Leave out the columns in which there is nothing."""
    blank = {MISSING, "1 (baseline)", ""}
    kept = [
        i
        for i, name in enumerate(table.columns)
        if name in ("estimator", "run") or any(row[i] not in blank for row in table.rows)
    ]
    return Table(
        [table.columns[i] for i in kept],
        [[row[i] for i in kept] for row in table.rows],
        table.caption,
        table.folded,
        table.apart,
        table.stacked,
    )


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
                    rows.append([role, layer, label, *cells, str(count or MISSING)])
    if any("†" in cell for row in rows for cell in row):
        caption = f"{caption} {BOUNDED}"
    columns = ["role", "layer", "estimator", *metrics.values(), "n"]
    return drop_empty(Table(columns, rows, caption, folded=len(rows) > 12))


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
        "time.seconds_per_gradient": ("seconds per gradient", show_seconds),
        "ratio.time.seconds_per_gradient": (f"ratio to {group.baseline}", lambda e: show(e, 1)),
        "throughput.gradients_per_second": ("gradients per second", show),
        "throughput.examples_per_second": ("examples per second", show),
        "memory.peak_bytes": ("peak memory", show_bytes),
    }
    return label_table(group, columns, f"Cost; intervals at {percent(group.run.level)}.")


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
    return label_table(
        group, columns, f"At the end of training; intervals at {percent(group.run.level)}{seeds}."
    )


def to_target(estimate: Estimate | None) -> str:
    """Write a time to target, or that it was not reached."""
    if estimate is None or estimate.measured or estimate.status == "failed":
        return show_seconds(estimate)
    return estimate.message or "not reached"


def bias_table(group: Group) -> Table:
    """Build the table of signal-to-noise ratio and relative bias."""
    caption = (
        f"Intervals at {percent(group.run.level)}. SNR: length of the mean gradient over noise."
    )
    first = "snr" if group.has("snr") else "relative_bias"
    metrics = ["snr", "relative_bias"]
    rows = []
    for role in group.roles(first):
        for layer in group.layers(first):
            for label in group.labels:
                snr, bias = (group.get(label, metric, layer, role) for metric in metrics)
                if snr or bias:
                    rows.append([role, layer, label, show(snr), bias_text(bias)])
    columns = ["role", "layer", "estimator", "SNR", "relative bias"]
    return drop_empty(Table(columns, rows, caption, folded=len(rows) > 12))


def bias_text(estimate: Estimate | None) -> str:
    """Say that no bias was found, and what would have been seen; or how large it is."""
    if estimate is None or not estimate.measured:
        return (estimate.message if estimate else "") or show(estimate)
    if estimate.low <= 0 <= estimate.high:
        if estimate.zero:
            return "0 (exact)"
        seen = max(abs(estimate.low), estimate.high)
        return f"no bias found; would have seen ≥ {seen:.2g}"
    return f"bias {show(estimate, 0)}"
