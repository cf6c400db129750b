"""The headline table: an estimator a row, ranked ones first."""

from __future__ import annotations

import dataclasses

from reports.document import Table
from reports.results.groups import BIAS, Group
from reports.results.ranking import EFFICIENCY, VARIANCE, order, ratio
from reports.sections.table_parts import drop_empty, notes
from reports.words.numbers import MISSING, percent, show, show_seconds
from reports.words.verdicts import verdict


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
        *(f"variance, {role} (× {bases})" for role in roles),
        "time per gradient",
        *(f"variance × time, {role} (× {bases})" for role in roles),
        "final ELBO (nats)",
        "test error (%)",
        "variance compared with the lowest",
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
        Table(
            columns,
            rows,
            headline_note(groups),
            apart=frozenset(apart),
            stacked=True,
            notes=notes(groups, rows),
        )
    )


def headline_row(group: Group, label: str, roles: list[str]) -> list[str]:
    """Write one estimator's row of the headline table."""
    return [
        group.name(label),
        *(ratio_text(group, VARIANCE, label, role) for role in roles),
        show_seconds(group.get(label, "time.seconds_per_gradient")),
        *(ratio_text(group, EFFICIENCY, label, role) for role in roles),
        show(group.get(label, "convergence.final_elbo")),
        show(group.get(label, "test.error")),
        verdict(group, label),
    ]


def headline_note(groups: list[Group]) -> str:
    """Say what the headline table's intervals are."""
    levels = " or ".join(dict.fromkeys(percent(group.run.level) for group in groups))
    note = f"Value [interval at {levels}]. Ratios are paired on the same minibatches; their intervals hold "
    note += "together for all pairs of estimators, as the verdicts do. Lower is better, except for the ELBO."
    reasons = dict.fromkeys(filter(None, (g.why_not_ranked(x) for g in groups for x in g.labels)))
    note += f" Not ranked: {'; '.join(reasons)}." if reasons else ""
    return note + unchecked(groups)


def unchecked(groups: list[Group]) -> str:
    """Say whose bias was not checked among the ranked ones; empty where all were."""
    missing = dict.fromkeys(label for group in groups for label in group.unchecked())
    if not missing:
        return ""
    if any(group.has(BIAS) for group in groups):
        return f" Bias not checked: {', '.join(missing)}."
    return " Bias not checked."


def ratio_text(group: Group, metric: str, label: str, role: str) -> str:
    """Write a ratio to the baseline; 1 for the baseline, a failure or lack of value as such."""
    if label == group.baseline:
        mine = group.get(label, metric, "all", role)
        absent = "failed" if failed(group, label, metric) else MISSING
        return "1 (baseline)" if mine and mine.measured else absent
    found = ratio(group, metric, label, role)
    if found is None:
        why = show(group.get(label, f"ratio.{metric}", "all", role))
        return "failed" if failed(group, label, metric) else why
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
