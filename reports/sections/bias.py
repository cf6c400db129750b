"""Tables of the signal-to-noise ratio and of bias against the reference."""

from __future__ import annotations

from reports.document import Block, Table
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.sections.section import Findings, heading
from reports.sections.table_parts import drop_empty, notes
from reports.words.glossary import parameters, role_name
from reports.words.numbers import MISSING, format_number, percent, show, span

WEAK = 0.5
"""The relative bias from which on not having excluded it says little."""


class Bias:
    """Signal-to-noise ratio and relative bias, and against what."""

    anchor = "bias"
    title = "Signal-to-noise ratio and bias"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section: a short table of bias and one by layer a group."""
        blocks: list[Block] = []
        for group in found.groups:
            table, short = bias_table(group), bias_summary(group)
            if table.rows:
                blocks += [heading(self.anchor, group), *([short] if short.rows else []), table]
        return blocks


def bias_summary(group: Group) -> Table:
    """Build the short table: an estimator a row, a role a column, over all layers together.

    Args:
        group: The group.

    Returns:
        What bias was found, and which estimators are of another objective and so expected to
        show one; without rows where bias was not measured.
    """
    roles = group.roles("relative_bias")
    reference = str(group.run.info.get("reference") or "")
    rows, counts = [], []
    for label in group.labels:
        found = [group.get(label, "relative_bias", "all", role) for role in roles]
        if any(found):
            counts += [e.n for e in found if e and e.n]
            rows.append([label, *(bias_text(e) for e in found), note(group, label, reference)])
    caption = (
        f"Bias over all layers, relative to the length of the mean gradient of the reference "
        f"({reference or 'not recorded'}); intervals at {percent(group.run.level)}; {span(counts)}. "
        "'at most' is the upper end of the interval."
    )
    columns = ["estimator", *map(parameters, roles), "remark"]
    return drop_empty(Table(columns, rows, caption))


def note(group: Group, label: str, reference: str) -> str:
    """Say what to know of an estimator's bias before reading it."""
    if group.unlike(label, reference if group.objective_of(reference) else group.baseline):
        return "different objective: a bias is expected"
    if group.biases(label):
        return "declared unbiased; not ranked"
    return "the reference, with new noise" if label == reference else MISSING


def bias_table(group: Group) -> Table:
    """Build the table of signal-to-noise ratio and relative bias by role and layer."""
    caption = (
        f"Signal-to-noise ratio (SNR) and relative bias; intervals at {percent(group.run.level)}."
    )
    first = "snr" if group.has("snr") else "relative_bias"
    metrics = ["snr", "relative_bias"]
    rows = []
    for role in group.roles(first):
        for layer in group.layers(first):
            for label in group.labels:
                snr, bias = (group.get(label, metric, layer, role) for metric in metrics)
                if snr or bias:
                    names = [role_name(role), layer, group.name(label)]
                    rows.append([*names, show(snr), bias_text(bias)])
    columns = ["parameter", "layer", "estimator", "SNR", "relative bias"]
    marks = notes([group], rows)
    return drop_empty(Table(columns, rows, caption, folded=len(rows) > 12, notes=marks))


def bias_text(estimate: Estimate | None) -> str:
    """Say that no bias was found, and how large it may be at most; or how large it is."""
    if estimate is None or not estimate.measured:
        return show(estimate)
    if estimate.low <= 0 <= estimate.high:
        if estimate.zero:
            return "0 (exact)"
        most = max(abs(estimate.low), estimate.high)
        if most > WEAK:
            return f"none found, but the test is weak: at most {format_number(most, 2)}"
        return f"none found; at most {format_number(most, 2)}"
    return f"bias {show(estimate, 0)}"
