"""The section about vdbench itself: coverage, false alarms, power, killed runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from reports.document import Block, Bullets, Heading, Picture
from reports.figures import draw
from reports.results.instrument import claimed, coverage_dots, places, rows_of
from reports.results.load import Results
from reports.sections.instrument_tables import TABLES, coverage_table, of, share
from reports.sections.section import Findings
from reports.words.numbers import percent, slug

if TYPE_CHECKING:
    import pandas as pd


class Instrument:
    """What runs measured about vdbench itself, where any did."""

    anchor = "instrument"
    title = "Reliability of the intervals"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section; nothing where no run measured vdbench itself."""
        return instrument_blocks(found.results)


def instrument_blocks(results: Results) -> list[Block]:
    """Show what runs measured about vdbench itself.

    Args:
        results: All rows and runs.
    """
    blocks: list[Block] = []
    for run, title, rows in places(results):
        found = [coverage_table(rows), *(write(rows, run.level) for write in TABLES)]
        dots = coverage_dots(rows, run.level)
        blocks.append(Heading(title, slug(f"instrument {title}")))
        if dots:
            said = (
                "Coverage: share of repeated measurements whose interval contains the true value, with intervals at "
                f"{percent(run.level)}. One dot for each layer, kind of parameter and denominator; filled dots are "
                "over all layers. Vertical lines mark the level that the intervals claim."
            )
            name, alt = slug(f"coverage {title}"), f"Coverage, {title}"
            blocks.append(Picture(name, said, alt, partial(draw.coverage, dots)))
        blocks += [table for table in found if table.rows]
    return blocks


def instrument_answer(results: Results) -> list[Block]:
    """Say in short what runs measured about vdbench itself; nothing where none did."""
    blocks: list[Block] = []
    for run, title, rows in places(results):
        blocks += [
            Heading(f"Reliability of the intervals: {title}"),
            Bullets(summary(rows, run.level)),
        ]
    return blocks


def summary(rows: pd.DataFrame, level: float) -> list[tuple[str, str]]:
    """Say in a sentence each what came out."""
    said = []
    if found := rows_of(rows, "coverage."):
        lowest = min(found, key=lambda row: row.value - claimed(row, level))
        said.append(("Coverage:", f"{standing(found)}. The lowest relative to its level is that of {of(lowest)}: "
                     f"{share(lowest)} at a claimed level of {percent(claimed(lowest, level))}."))  # fmt: skip
    pooled = rows_of(rows, "false_alarms.pooled.")
    if found := rows_of(rows, "false_alarms."):
        worst = max(pooled or found, key=lambda row: row.value)
        said.append(("False alarms:", f"{standing(found)}. The highest rate"
                     f"{' over all estimators' if pooled else ''} is that of {of(worst)}: {share(worst)} of "
                     "comparisons of an estimator with itself."))  # fmt: skip
    said += [("Power:", words) for words in power_words(rows)]
    for row in rows_of(rows, "kills."):
        said.append(
            (f"{words_of(row.metric)}:", f"{share(row)} of campaigns{kills_words(row.detail)}.")
        )
    return said


def power_words(rows: pd.DataFrame) -> Iterator[str]:
    """Say how often each planted difference is seen, and how often taken for its opposite."""
    found, wrong = rows_of(rows, "power."), rows_of(rows, "wrong.")
    for step in sorted({row.step for row in found if row.step == row.step}):
        here = [row for row in found if row.step == step]
        least, most = (pick(here, key=lambda row: row.value) for pick in (min, max))
        opposite = [row for row in wrong if row.step == step]
        worst = max(opposite, key=lambda row: row.value, default=None)
        yield (
            f"a difference of {percent(step)} is detected in {100 * least.value:.3g} % ({of(least)}, "
            f"{least.against}) to {100 * most.value:.3g} % ({of(most)}, {most.against}) of "
            f"comparisons.{opposite_words(worst)}"
        )


def opposite_words(worst: Any | None) -> str:
    """Say how often a difference was called in the wrong direction, with the interval of the highest rate."""
    if worst is None:
        return ""
    return f" The highest rate of calls in the wrong direction is {share(worst)}."


def standing(found: list[Any]) -> str:
    """Count some figures by what their test said."""
    counts = {word: sum(row.status == word for row in found) for word in ("rejected", "coarse")}
    said = [f"{len(found)} rates tested, {counts['rejected']} rejected"]
    if counts["coarse"]:
        said.append(
            f"{counts['coarse']} not decided, since the true value is not known well enough"
        )
    return ", ".join(said)


def kills_words(detail: dict[str, Any]) -> str:
    """Say how often runs were killed and how much was compared, as far as it is recorded."""
    if "kills" not in detail:
        return ""
    return (
        f" ({detail['kills']} kills in {detail['campaigns']} campaigns; in each, {detail['figures']} figures "
        "compared bit by bit)"
    )


def words_of(metric: str) -> str:
    """Name a metric of killed runs in words."""
    known = {"kills.equal": "equal results", "kills.blocks_kept": "finished blocks kept"}
    return f"Killed and resumed runs, {known.get(metric, metric)}"
