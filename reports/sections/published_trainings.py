"""Published values of whole trainings next to ours: nothing is computed from them."""

from __future__ import annotations

from reports.document import Table
from reports.results.estimate import Estimate
from reports.results.published import Published, published_of
from reports.results.trainings import Key, Trainings
from reports.sections.published_tables import RECALLED
from reports.words.numbers import format_number, percent, show

NAMES = {
    "test.error.mean_weights": "test error, mean weights",
    "test.error": "test error, samples",
    "sparsity.error": "test error, pruned",
    "sparsity.compression": "compression",
    "sparsity.share": "pruned",
}
"""What metrics are called in the table of published values."""


def pairs_of(found: Trainings) -> list[tuple[Published, Estimate]]:
    """Return the published figures that a run's trainings have figures of, with ours, in the suite's order."""
    pairs = []
    known: dict[tuple[str, str], dict[Key, Estimate]] = {}
    for figure in published_of(found.run):
        where = (figure.metric, figure.layer)
        if where not in known:
            known[where] = found.finals(*where)
        named = [
            x for x in known[where] if x[1] == figure.estimator and figure.problem in ("", x[0])
        ]
        ours = [known[where][x] for x in named if known[where][x].measured]
        pairs += [(figure, ours[0])] if ours else []
    return pairs


def published_table(found: Trainings) -> Table:
    """Build the table of published figures and ours."""
    pairs = pairs_of(found)
    rows = []
    for theirs, ours in pairs:
        layer = "" if theirs.layer == "all" else f", {theirs.layer}"
        what = NAMES.get(theirs.metric, theirs.metric) + layer
        unit = f" {theirs.unit}" if theirs.unit else ""
        said = f"{format_number(theirs.value)}{unit}{'' if theirs.verified else f' ({RECALLED})'}"
        inside = (
            "inside"
            if ours.low <= theirs.value <= ours.high
            else "below"
            if theirs.value < ours.low
            else "above"
        )
        rows.append([theirs.problem or "any", what, said, show(ours, 0), inside])
    sources = "; ".join(
        dict.fromkeys(f"{t.source}{f' ({t.note})' if t.note else ''}" for t, _ in pairs)
    )
    said = (
        f"Published values ({sources}) and ours, with intervals at {percent(found.run.level)} over training seeds. "
        "Training differs where the publication leaves details out. Last column: where the published value lies "
        "relative to our interval."
    )
    columns = ["problem", "what", "published", "ours", "published value lies"]
    return Table(columns, rows, said, folded=len(rows) > 24)
