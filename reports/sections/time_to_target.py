"""Trainings to a target ELBO: steps and seconds, at a shared and at each estimator's own learning rate."""

from __future__ import annotations

from reports.document import Block, Paragraph, Table
from reports.figures import draw
from reports.results.estimate import Estimate
from reports.results.groups import Group
from reports.results.ranking import EFFICIENCY
from reports.sections.pictures import Caption, picture
from reports.sections.section import Findings, heading
from reports.sections.table_parts import drop_empty
from reports.words.glossary import role_name
from reports.words.numbers import MISSING, format_number, percent, render, show, show_seconds
from vdbench.statistics.verdicts import Verdict, ratio_verdict

STEPS, SECONDS = "target.steps", "target.seconds"
CORRELATION = f"correlation.{SECONDS}.own"

EXPLAINED = (
    "Medians over training seeds. A training ends where it reaches the target. One that has not reached it after all "
    "its steps would have taken longer, and the intervals hold whatever that would have been. Each estimator's own "
    "learning rate was chosen on other seeds. Ratios are medians of ratios paired by seed, adjusted for the number of "
    "estimators. Seconds are steps × seconds per gradient; the KL's gradient and the optimizer's step, which all have, "
    "are not in them."
)
CORRELATED = (
    "Spearman's rank correlation over the estimators that are ranked. Its interval is from variances and seeds drawn "
    "anew. Seconds per gradient are a factor of both variance × time and seconds to the target; variance and steps "
    "share nothing."
)
CAPTION = Caption(
    "time-to-target",
    "Variance × time against time to the target",
    "Seconds to the target ELBO, each estimator at its own learning rate, against variance × time at the checkpoint. "
    "An arrow: the interval has no upper end, as some trainings did not reach the target. Without an interval, the "
    "mark is where the trainings ended. Hollow markers are not ranked.",
    f"{SECONDS}.own",
)


class TimeToTarget:
    """Times to the target, and whether the variance predicts them."""

    anchor = "time-to-target"
    title = "Time to a target ELBO"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section: nothing where no run measured it."""
        blocks: list[Block] = []
        for group in found.groups:
            if not any(key[1].startswith(f"{STEPS}.") for key in group.figures):
                continue
            blocks += [heading(self.anchor, group), times_table(group)]
            if predicted(group).rows:
                blocks.append(predicted(group))
            if drawable(group):
                blocks.append(picture(CAPTION, group, draw.times_to_target))
        return [Paragraph(EXPLAINED), *blocks] if blocks else []


def drawable(group: Group) -> bool:
    """Whether there are both a variance × time and a time to the target."""
    return group.has(f"{SECONDS}.own") and group.has(EFFICIENCY)


def times_table(group: Group) -> Table:
    """Build the table: an estimator a row."""
    rows = [times_row(group, label) for label in group.labels if group.get(label, f"{STEPS}.own")]
    target = next(e.detail["target"] for k, e in group.figures.items() if k[1] == f"{STEPS}.own")
    shared = next(
        e.detail["learning_rate"] for k, e in group.figures.items() if k[1] == f"{STEPS}.shared"
    )
    columns = [
        "estimator",
        f"steps at {shared:g}",
        "own rate",
        "steps at own rate",
        f"steps, × {group.baseline}",
        "seconds at own rate",
        f"seconds, × {group.baseline}",
        "verdict in seconds",
    ]
    caption = (
        f"Steps and seconds to an ELBO of {format_number(target, 6)} nats; intervals at "
        f"{percent(group.run.level)}, those of ratios together."
    )
    return drop_empty(Table(columns, rows, caption))


def times_row(group: Group, label: str) -> list[str]:
    """Write the cells of an estimator."""
    shared, own, seconds = (
        group.get(label, name) for name in (f"{STEPS}.shared", f"{STEPS}.own", f"{SECONDS}.own")
    )
    steps, time = (group.get(label, f"adjusted.ratio.{name}.own") for name in (STEPS, SECONDS))
    return [
        group.name(label),
        taken(shared),
        f"{own.detail['learning_rate']:g}" if own else MISSING,
        taken(own),
        ratio(steps),
        show_seconds(seconds) if seconds and seconds.measured else MISSING,
        ratio(time),
        verdict(time),
    ]


def taken(steps: Estimate | None) -> str:
    """Write steps to the target; where the median is not known, how many seeds reached it."""
    if steps is None:
        return MISSING
    reached, seeds = steps.detail["reached"], steps.detail["seeds"]
    few = f" ({reached} of {seeds} reached it)" if reached < seeds else ""
    known = show(steps) if steps.measured else f"more than {steps.detail['most_steps']:,}"
    return f"{known}{few}"


def ratio(found: Estimate | None) -> str:
    """Write a paired ratio; where its median is not known, the ends of its interval."""
    if found is None or found.measured:
        return show(found, 1)
    if found.low <= 0 and found.high == float("inf"):
        return MISSING
    low, high = (render(x, -1 if 0.1 <= x < 100 else 0, True) for x in (found.low, found.high))
    return f"[{low}, {high}]"


def verdict(found: Estimate | None) -> str:
    """Say on which side of 1 the interval of a ratio lies."""
    if found is None or found.low != found.low:
        return ""
    said = ratio_verdict(found.low, found.high)
    return {Verdict.LOWER: "shorter", Verdict.HIGHER: "longer"}.get(said, said.value.lower())


def predicted(group: Group) -> Table:
    """Build the table of rank correlations: a kind of parameter and a pair of figures a row."""
    rows = []
    for role in group.roles(CORRELATION):
        for said, name in (("variance and steps", STEPS), ("variance × time and seconds", SECONDS)):
            cells = [
                group.get(group.baseline, f"correlation.{name}.{rate}", "all", role)
                for rate in ("shared", "own")
            ]
            rows.append([role_name(role), said, *map(show, cells)])
    columns = ["variance of", "rank correlation of", "at the shared rate", "at each one's own rate"]
    return Table(columns, rows, CORRELATED)
