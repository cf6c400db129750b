"""The headline: what a run says, in plain sentences, for a terminal."""

from __future__ import annotations

from reports.results.instrument import places
from reports.sections.glance_sentences import claimed
from reports.sections.instrument import summary
from reports.sections.section import Findings
from reports.sections.summary import MANY, left_out, single
from reports.sections.summary_sentences import sentences
from reports.sections.training_summary import training_summary

PLACES = 4
"""The most places of which a terminal shows a table, and what an answer rests on."""

REST = "What each answer rests on is in the report."


def headline(found: Findings) -> list[str]:
    """Say who is lowest, by how much, how surely and at what cost.

    Args:
        found: What the runs say.

    Returns:
        How many claims of the suites hold; sentences on vdbench itself, where a run measured it; then on whole
        trainings; then for each problem, checkpoint and batch size.
    """
    results, groups = found.results, found.groups
    said = [text] if (text := claimed(found)) else []
    said += [
        f"{title}. {lead} {text}"
        for run, title, rows in places(results)
        for lead, text in summary(rows, run.level)
    ]
    trained = training_summary(found.trainings, results.several)
    said += [f"{lead} {text}" for lead, text in trained]
    alone = [group.title for group in groups if single(group)]
    if len(alone) > MANY:
        groups = [group for group in groups if not single(group)]
        said.append(left_out(alone))
    long = len(groups) > PLACES
    said += [
        f"{group.title}. {line.text}" if i == 0 else line.text
        for group in groups
        for i, line in enumerate(sentences(group)[: 1 if long else None])
    ]
    return [*said, REST] if long else said
