"""The results place by place: the answer for each group, its evidence in sentences, a table and a figure."""

from __future__ import annotations

from dataclasses import replace

from reports.document import Block, Bullets, Heading, Paragraph, SeeAlso
from reports.figures import draw
from reports.results.groups import Group
from reports.results.panels import RATIO, summary_roles
from reports.results.ranking import EFFICIENCY, VARIANCE, failures
from reports.results.rounding import cases
from reports.sections.instrument import instrument_answer
from reports.sections.method import Method
from reports.sections.pictures import Caption, picture
from reports.sections.section import Findings
from reports.sections.summary_sentences import Line, sentences
from reports.sections.summary_table import headline_table
from reports.sections.table_parts import BOUNDED
from reports.sections.training_summary import training_answer
from reports.words.numbers import slug

Members = dict[str, list[Group]]
"""Groups by their title without the run: those of several runs are put side by side."""
READ = (
    "Over all layers, as a multiple of BASELINE. Values left of 1 are better. An interval shorter than its mark "
    "is in the numbers beside it; an arrow goes on beyond the axis."
)
"""How the picture of a group's answer is read."""
CAPTION = Caption(
    "summary",
    "Variance and variance × time relative to the baseline",
    f"{READ} Variance × time is the inverse of efficiency.",
    RATIO,
    together=True,
)
UNTIMED = replace(CAPTION, title="Variance relative to the baseline", text=READ)
"""Where no time was measured."""
GLOSSARY = ("Glossary", Method.anchor, Method.title, "what the terms of this report mean.")
"""Where terms are explained."""
MANY = 3
"""Groups with nothing to compare that are each told; more of them are named together."""


class Summary:
    """The answer for each group, with its evidence; what was found of vdbench itself and of trainings first."""

    anchor = "results"
    title = "Results by place"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section."""
        first = [*instrument_answer(found.results),
                 *training_answer(found.trainings, found.results.several)]  # fmt: skip
        other = first or cases(found.results.frame)
        told = answer(found.groups) if found.groups or not other else []
        return [*first, *told]


def answer(groups: list[Group]) -> list[Block]:
    """Answer for each group.

    Args:
        groups: What is compared with what.

    Returns:
        A list of groups with their answers where there are several, then each group in turn.
    """
    alike: Members = {}
    for group in groups:
        alike.setdefault(group.without_run, []).append(group)
    alone = [title for title, members in alike.items() if all(single(group) for group in members)]
    if len(alone) > MANY:
        alike = {title: members for title, members in alike.items() if title not in alone}
    else:
        alone = []
    blocks: list[Block] = [Paragraph(left_out(alone))] if alone else []
    for title, members in alike.items():
        blocks.append(Heading(title, anchor(title)))
        blocks += [block for group in members for block in said(group, len(members) > 1)]
        blocks.append(headline_table(members))
        blocks += [
            picture(caption(group), group, draw.summary)
            for group in members
            if summary_roles(group)
        ]
        blocks += [see_also(members)] if len(alike) > 1 else []
    return blocks or [Paragraph("The run has no rows to report on.")]


def caption(group: Group) -> Caption:
    """Choose the caption of a group's picture: of variance × time only where time was measured."""
    found = CAPTION if group.has(f"ratio.{EFFICIENCY}") else UNTIMED
    roles = summary_roles(group)
    stopped = any(
        e.status == "bounded" and key[1] in (VARIANCE, EFFICIENCY) and key[3] in roles
        for key, e in group.figures.items()
        if key[2] == "all"
    )
    return replace(found, text=f"{found.text} {BOUNDED}") if stopped else found


def see_also(members: list[Group]) -> SeeAlso:
    """Ask for links to what the later sections have on a group."""
    return SeeAlso(frozenset(title for group in members for title in (group.title, group.problem)))


def single(group: Group) -> bool:
    """Whether one estimator was measured, so that there is nothing to compare or to rank."""
    return len(group.labels) < 2 and not failures(group)


def left_out(titles: list[str]) -> str:
    """Say where nothing was to be compared."""
    problems = list(dict.fromkeys(title.partition(" · ")[0] for title in titles))
    return (
        f"With one estimator each, these problems have nothing to compare by variance: {', '.join(problems)}. "
        "Their results are below."
    )


def said(group: Group, several: bool) -> list[Block]:
    """Write a group's answer in bold, then its evidence and what failed."""
    run = f"{group.run.name}: " if several else ""
    first, *others = sentences(group)
    failed = failures(group)
    if failed:
        others.append(
            Line("Failed, so not compared", f"{'; '.join(failed)}. The causes are below.")
        )
    bold = Paragraph("", lead=f"{run}{first.text}")
    return [bold, Bullets([(f"{line.lead}:", line.body) for line in others])] if others else [bold]


def anchor(title: str) -> str:
    """Name the place of a group's answer."""
    return slug(f"answer {title}")
