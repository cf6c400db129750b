"""What the run left open: inconclusive comparisons, and the command that would settle them."""

from __future__ import annotations

from reports.document import Block, Table
from reports.results.load import Run
from reports.results.open_pairs import Open, open_pairs
from reports.results.ranking import VARIANCE
from reports.sections.section import Findings
from reports.sections.settle import more_units, rounded
from reports.sections.summary_sentences import NAMES
from reports.words.glossary import role_name
from reports.words.numbers import MISSING, percent, show
from vdbench.statistics.verdicts import TOLERANCE


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


def command(pairs: list[Open], run: Run) -> list[Block]:
    """Give the command that measures the variances with enough units; nothing where it is not known."""
    ready = [(one.units, one.ratio.n) for one in pairs if one.metric == VARIANCE and one.ratio]
    return more_units("To settle the comparisons of variance: ", [x for x in ready if x[0]], run)
