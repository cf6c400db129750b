"""What the run left open: inconclusive comparisons, and the command that would settle them."""

from __future__ import annotations

import math
import shlex
from typing import Any

from reports.document import Block, Code, Paragraph, Table
from reports.results.load import Run
from reports.results.open_pairs import Open, open_pairs
from reports.results.ranking import VARIANCE
from reports.sections.section import Findings
from reports.sections.summary_sentences import NAMES
from reports.words.glossary import role_name
from reports.words.numbers import MISSING, percent, show
from vdbench.statistics.verdicts import TOLERANCE

LARGE = 100
"""Times the units measured, from which on no command is offered: the two are as good as equal."""


class OpenQuestions:
    """Inconclusive comparisons with the lowest estimator."""

    anchor = "open"
    title = "Inconclusive comparisons"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section; nothing where every comparison is settled."""
        blocks: list[Block] = []
        for run in found.results.runs.values():
            pairs = [one for g in found.groups if g.run.name == run.name for one in open_pairs(g)]
            if pairs:
                blocks += [table(pairs, run), *command(pairs, run)]
        return blocks


def table(pairs: list[Open], run: Run) -> Table:
    """List the comparisons, with the units that would settle each."""
    rows = [
        [one.group.title, role_name(one.role), NAMES[one.metric], one.lowest, one.other, show(one.ratio, 1),
         f"{one.ratio.n:,}" if one.ratio else MISSING, needed(one)]
        for one in pairs
    ]  # fmt: skip
    columns = ["place", "parameter", "compared by", "lowest", "not separated from", "ratio", "n",
               "n to settle it"]  # fmt: skip
    said = (
        f"Ratio of the lowest estimator to the other, intervals at {percent(run.level)} adjusted for the number of "
        f"comparisons. Settled means that the interval excludes 1 or lies within ±{100 * TOLERANCE:g} % of it; the n "
        "for that is an estimate from the interval's width. For variance × time, n counts what its interval rests on."
    )
    return Table(columns, rows, said)


def needed(one: Open) -> str:
    """Write about how many units would settle a comparison, to two digits."""
    units = one.units
    return MISSING if units is None else f"about {rounded(units):,}"


def rounded(units: int) -> int:
    """Round up to two digits."""
    place = int(10 ** max(0, math.floor(math.log10(units)) - 1))
    return math.ceil(units / place) * place


def command(pairs: list[Open], run: Run) -> list[Block]:
    """Give the command that measures the variances with enough units; nothing where it is not known."""
    asked = str(run.info.get("command") or "")
    measures: dict[str, Any] = (run.info.get("suite") or {}).get("measures") or {}
    known = measures.get("variance")
    ready = [(one, one.units) for one in pairs if one.metric == VARIANCE and one.ratio]
    within = [(one, u) for one, u in ready if u and one.ratio and u <= LARGE * one.ratio.n]
    if not asked.startswith("vdbench run ") or not isinstance(known, dict) or not within:
        return []
    units = rounded(max(u for _, u in within))
    growth = max(u / one.ratio.n for one, u in within if one.ratio)
    precision = float(known.get("precision") or 0.05) / math.sqrt(growth)
    words = [*without_out(shlex.split(asked)), "--set", f"measures.variance.max_units={units}",
             "--set", f"measures.variance.precision={precision:.2g}"]  # fmt: skip
    left = len(ready) - len(within)
    said = (
        f"This takes about {growth:.1f} times the units of this run, into a run folder of its own."
    )
    if left:
        said += (
            f" {left} comparisons would take more than {LARGE} times the units, and are left out."
        )
    return [
        Paragraph(said, lead="To settle the comparisons of variance: "),
        Code(shlex.join(words)),
    ]


def without_out(words: list[str]) -> list[str]:
    """Return a command without its run folder: another suite needs another one."""
    kept, skip = [], False
    for word in words:
        if not skip and word != "--out" and not word.startswith("--out="):
            kept.append(word)
        skip = word == "--out" and not skip
    return kept
