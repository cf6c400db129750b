"""Tables of published values and ours: values, ratios, verdicts."""

from __future__ import annotations

import math

from reports.document import Table
from reports.results.published import Judged, Match, comparisons
from reports.results.ranking import VARIANCE
from reports.sections.table_parts import drop_empty, notes
from reports.words.glossary import role_name
from reports.words.numbers import MISSING, format_number, percent, show
from reports.words.verdicts import NOT_COMPARED

RECALLED = "from memory, not checked"
WIDENED = (
    " Intervals known only at a lower level are widened by the quotient of the normal quantiles on "
    "the logarithmic scale, which is an approximation."
)


def figure_table(matches: list[Match]) -> Table:
    """Build the table of published figures and ours."""
    group = matches[0].group
    rows: list[list[str]] = []
    apart: set[int] = set()
    for match in matches:
        for label in by_value(match):
            theirs, ours = match.theirs[label], match.ours[label]
            if not group.ranked(label):
                apart.add(len(rows))
            rows.append([place(match), named(match, label), published_text(theirs.value, match, label),
                         with_unit(show(ours), match, label)])  # fmt: skip
    said = f"Published values and ours; our intervals at {percent(group.run.level)}."
    columns = ["what", "estimator", "published", "ours"]
    return Table(columns, rows, said, apart=frozenset(apart), notes=notes([group], rows))


def named(match: Match, label: str) -> str:
    """Name an estimator, marked where its variance was scaled from few examples."""
    return match.group.name(label) if match.metric.startswith("variance.") else label


def by_value(match: Match) -> list[str]:
    """Sort the estimators by our figures, those that are not ranked last."""
    return [*match.order, *(label for label in match.ours if label not in match.order)]


def published_text(value: float, match: Match, label: str) -> str:
    """Write a published figure, and whether it was read in the source."""
    text = with_unit(format_number(value), match, label)
    return text if match.theirs[label].verified else f"{text} ({RECALLED})"


def with_unit(text: str, match: Match, label: str) -> str:
    """Put a unit after a figure where it has one to be said: not the variance's own."""
    unit = match.theirs[label].unit
    return f"{text} {unit}" if unit and not match.metric.startswith("variance.") else text


def order_tables(matches: list[Match]) -> dict[str, Table]:
    """Build the tables of ratios and of verdicts for each metric, by what they are called."""
    count = comparisons(matches)
    metrics = dict.fromkeys(match.metric for match in matches if len(match.order) > 1)
    tables: dict[str, Table] = {}
    for metric in metrics:
        mine = [match for match in matches if match.metric == metric and len(match.order) > 1]
        of = "" if metric == VARIANCE else f" {metric}"
        tables |= {f"ratios{of}": ratio_table(mine), f"verdicts{of}": verdict_table(mine, count)}
    return tables


def ratio_table(matches: list[Match]) -> Table:
    """Build the table of the estimators in our order, with published ratios and ours."""
    group, common = matches[0].group, matches[0].common
    rows: list[list[str]] = []
    apart: set[int] = set()
    for match in matches:
        for label in by_value(match):
            if not group.ranked(label):
                apart.add(len(rows))
            rows.append(order_row(match, label))
    columns = ["what", "estimator", f"published × {common}", f"ours × {common}",
               "published, above its floor", "ours, noise part"]  # fmt: skip
    said = f"Relative to {common}; our ratios are paired, with intervals at {percent(group.run.level)}."
    return drop_empty(
        Table(columns, rows, said, apart=frozenset(apart), notes=notes([group], rows))
    )


def verdict_table(matches: list[Match], count: int) -> Table:
    """Build the table of neighbours in our order: the ratio of each to the next, and the verdict."""
    group = matches[0].group
    rows = []
    for match in matches:
        told = [match.verdicts(metric, count) for metric in match.metrics]
        for step, (label, following) in enumerate(zip(match.order, match.order[1:], strict=False)):
            theirs = match.theirs[label].value / (match.theirs[following].value or math.nan)
            pair = f"{named(match, label)} / {named(match, following)}"
            said = [text for verdicts in told for text in verdict_texts(verdicts[step])]
            rows.append([place(match), pair, ratio_text(theirs), *said, *["–"] * (4 - len(said))])
    columns = ["what", "neighbours", "published ratio", "our ratio", "verdict", "our ratio, noise part",
               "verdict, noise part"]  # fmt: skip
    return drop_empty(Table(columns, rows, verdict_caption(matches, count),
                            notes=notes([group], rows)))  # fmt: skip


def order_row(match: Match, label: str) -> list[str]:
    """Write an estimator's ratios to the common one: published and ours, in all and of noise."""
    noise = match.ratio(label, "variance.noise") if len(match.metrics) > 1 else None
    ranked = match.group.ranked(label)
    return [
        place(match),
        named(match, label),
        ratio_text(match.published_ratio(label)),
        show(match.ratio(label, match.metric), 1) if label != match.common else "1",
        ratio_text(match.published_ratio(label, above=True)) if ranked else MISSING,
        "1" if noise and label == match.common else show(noise, 1),
    ]


def ratio_text(ratio: float) -> str:
    """Write a ratio of published figures to the digits that they have."""
    return format_number(ratio, 2) if math.isfinite(ratio) else MISSING


def verdict_texts(verdict: Judged | None) -> list[str]:
    """Write the ratio that a verdict rests on, and the verdict."""
    return [show(verdict.ratio, 1), verdict.verdict.words()] if verdict else [MISSING, NOT_COMPARED]


def verdict_caption(matches: list[Match], count: int) -> str:
    """Say how verdicts are reached."""
    found = [v for m in matches for x in m.metrics for v in m.verdicts(x, count) if v is not None]
    widened = WIDENED if any(verdict.widened for verdict in found) else ""
    return (
        "Each estimator compared with the next one in our order. Intervals hold at "
        f"{percent(matches[0].group.run.level)} for all {count} comparisons together.{widened}"
    )


def place(match: Match) -> str:
    """Name what a match is of."""
    if match.metric.startswith("variance."):
        return f"{role_name(match.role)}, {layer_name(match.layer)}"
    return match.metric.rpartition(".")[2].replace("_", " ")


def layer_name(layer: str) -> str:
    """Name a layer in a sentence."""
    return "all layers" if layer == "all" else f"layer {layer}"
