"""What to do after reading the answer: what failed, what is inconclusive, and where the commands for it stand."""

from __future__ import annotations

from collections.abc import Iterator

from reports.document import Block, Links, Paragraph
from reports.results.claims import Held, answers
from reports.results.open_pairs import Open, open_pairs
from reports.results.ranking import VARIANCE
from reports.sections.environment import busy
from reports.sections.open_questions import OpenQuestions
from reports.sections.outcomes import Outcomes
from reports.sections.section import Findings
from reports.sections.summary import GLOSSARY
from reports.sections.summary_sentences import NAMES, deciding

OWN = "To choose for a model of your own, use the command vdbench recommend."


def next_step(found: Findings) -> list[Block]:
    """Say what to do next; nothing where nothing was compared."""
    said = " ".join(sentences(found))
    return [Paragraph(said, lead="Next: ")] if said else []


def leads(found: Findings) -> Links:
    """Lead to what failed, to what is inconclusive, and to what the words mean."""
    return Links([*failed(found), *inconclusive(found), GLOSSARY])


def sentences(found: Findings) -> Iterator[str]:
    """Say what a reader should do with what the run found, a sentence each."""
    cases = [one for g in found.groups for one in deciding(g)[1] if one.leader and not one.alone]
    undecided = [one for one in cases if one.open]
    unclear = sum(
        one.held is Held.OPEN for name in found.results.runs for one in answers(found.results, name)
    )
    if lost := count_failed(found):
        yield f"Look at why {counted(lost, 'measurement')} failed."
    if undecided:
        them = "it" if len(undecided) == 1 else "them"
        where = f"In {len(undecided)} of {len(cases)} cases no" if len(cases) > 1 else "No"
        yield (
            f"{where} estimator is clearly the lowest: measure more to settle {them}, or take the choice as open."
        )
    if unclear:
        be, them = ("is", "it") if unclear == 1 else ("are", "them")
        yield f"{counted(unclear, 'claim')} {be} inconclusive: measure more to settle {them}."
    timed = any(contests for metric, contests in map(deciding, found.groups) if metric != VARIANCE)
    busily = timed and any(busy(run) for run in found.results.runs.values())
    if cases and not undecided and not unclear:
        of = " for the times of this run" if busily else ""
        yield f"The answer above is settled{of}{also(split(found)[1])}."
    if busily:
        yield (
            "Times were taken in turns on a busy machine: their ratios hold better than absolute times. On an idle one "
            "they may differ."
        )
    if cases:
        yield OWN


def also(others: list[Open]) -> str:
    """Say how many comparisons by another figure are open."""
    if not others:
        return ""
    by = " and ".join(dict.fromkeys(NAMES[one.metric] for one in others))
    be = "is" if len(others) == 1 else "are"
    return (
        f". By {by} alone, {counted(len(others), 'comparison')} of two estimators {be} inconclusive"
    )


def split(found: Findings) -> tuple[list[Open], list[Open]]:
    """Part the inconclusive comparisons: by the figure that decides, and by another."""
    mine: list[Open] = []
    others: list[Open] = []
    for group in found.groups:
        metric = deciding(group)[0]
        for one in open_pairs(group):
            (mine if one.metric == metric else others).append(one)
    return mine, others


def inconclusive(found: Findings) -> list[tuple[str, str, str, str]]:
    """Lead to the comparisons that are inconclusive."""
    count = sum(len(part) for part in split(found))
    said = f"{counted(count, 'comparison')} with the lowest, and what would settle {'it' if count == 1 else 'them'}."
    return [(OpenQuestions.title, OpenQuestions.anchor, OpenQuestions.title, said)] if count else []


def failed(found: Findings) -> list[tuple[str, str, str, str]]:
    """Lead to what failed."""
    count = count_failed(found)
    said = f"{counted(count, 'failure')} with the cause, and how to try again."
    return [(Outcomes.title, Outcomes.anchor, Outcomes.title, said)] if count else []


def count_failed(found: Findings) -> int:
    """Count the cells that failed."""
    runs = found.results.runs.values()
    return sum(cell.get("status") == "failed" for run in runs for cell in run.cells)


def counted(count: int, what: str) -> str:
    """Write a number of things."""
    return f"{count} {what}{'s' * (count != 1)}"
