"""The claims of a suite, with the verdict of our intervals on each."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial

from reports.document import Block, Paragraph, Picture, Table
from reports.figures import draw
from reports.results.claims import Answer, Claim, Held, answers
from reports.results.estimate import Estimate
from reports.results.load import Run
from reports.sections.published_tables import RECALLED
from reports.sections.section import Findings
from reports.words.numbers import percent, show, slug

EXPLAINED = (
    "A claim holds if the whole interval of our figure lies where the claim says; it does not hold if none of it does. "
    "Otherwise it is inconclusive. The intervals of all claims of a run are widened to hold together at {level} "
    "(Bonferroni, by quantiles of Student's t: an approximation where few units or seeds were measured). "
    "'{recalled}': quoted from memory and not checked against the source."
)


class Claims:
    """Every claim with our figure and the verdict."""

    anchor = "claims"
    title = "Claims"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section: nothing where no suite makes a claim."""
        blocks: list[Block] = []
        for name, run in found.results.runs.items():
            if every := answers(found.results, name):
                blocks += [
                    Paragraph(counted(every)),
                    *picture(every, run),
                    claims_table(every, run),
                ]
        if not blocks:
            return []
        level = percent(next(iter(found.results.runs.values())).level)
        text = EXPLAINED.format(level=level, recalled=RECALLED[0].upper() + RECALLED[1:])
        return [Paragraph(text), *blocks]


def picture(every: list[Answer], run: Run) -> list[Block]:
    """Draw the claims that have a correlation, or a figure above 0; nothing where none has."""
    if not any(answer.drawable for answer in every):
        return []
    caption = (
        "Claims. Grey: where a claim says that the figure lies. Mark and line: our figure with its interval. "
        f"Together they hold at {percent(run.level)}."
    )
    name = slug(f"claims {run.name}")
    return [Picture(name, caption, f"Claims of {run.name}", partial(draw.claims, every))]


def counted(every: list[Answer]) -> str:
    """Say how many claims hold, do not hold and are open."""
    counts = Counter(answer.held for answer in every)
    said = [
        f"{counts[held]} {_plural(held) if counts[held] > 1 else held.value}"
        for held in Held
        if counts[held]
    ]
    return f"Of {len(every)} claim{'s' * (len(every) > 1)}: {', '.join(said)}."


def _plural(held: Held) -> str:
    return {Held.YES: "hold", Held.NO: "do not hold"}.get(held, held.value)


def claims_table(every: list[Answer], run: Run) -> Table:
    """Build the table: a claim a row."""
    rows = [
        [
            answer.claim.says,
            source(answer.claim),
            expected(answer.claim),
            show(answer.ours, edge(answer.claim, answer.ours)) if answer.ours else "",
            answer.held.value,
        ]
        for answer in every
    ]
    caption = f"Claims of {run.name}; intervals hold together at {percent(run.level)}."
    return Table(["claim", "source", "expected", "ours", "verdict"], rows, caption)


def edge(claim: Claim, ours: Estimate) -> float | None:
    """The limit of a claim that an end of our interval is nearest to: rounding must not move one onto the other."""
    limits = [x for x in (claim.low, claim.high) if x is not None]
    ends = [x for x in (ours.low, ours.high) if math.isfinite(x)]
    near = [(abs(end - limit), limit) for limit in limits for end in ends]
    return min(near)[1] if near else None


def source(claim: Claim) -> str:
    """Where it is from, and whether that was read."""
    return claim.source + (f" ({RECALLED})" if claim.source and not claim.verified else "")


def expected(claim: Claim) -> str:
    """Write the numbers between which it says that the figure lies; none of a claim that was recalled."""
    if not claim.verified:
        return "below 1" if claim.high == 1 else "above 1" if claim.low == 1 else "a direction"
    if claim.low is None:
        return f"at most {claim.high:g}"
    return f"at least {claim.low:g}" if claim.high is None else f"{claim.low:g} to {claim.high:g}"
