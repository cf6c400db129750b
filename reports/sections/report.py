"""The report: its sections in order, the answer first, the evidence after, the method last.

To add a section, write a file with an object that is a `ReportSection`, and add it to `SECTIONS`.
"""

from __future__ import annotations

from dataclasses import replace

from reports.document import (
    Block,
    Document,
    Heading,
    Links,
    Paragraph,
    Picture,
    Section,
    SeeAlso,
    Table,
)
from reports.results.load import Results
from reports.sections.bias import Bias
from reports.sections.claims import Claims
from reports.sections.cost import Cost
from reports.sections.environment import Environment
from reports.sections.exact_values import ExactValues
from reports.sections.figures import Figures
from reports.sections.glance import Glance
from reports.sections.instrument import Instrument
from reports.sections.method import Method
from reports.sections.modes import Modes
from reports.sections.noise_scale import NoiseScale
from reports.sections.open_questions import OpenQuestions
from reports.sections.outcomes import Outcomes
from reports.sections.published import PublishedResults
from reports.sections.ratios import Ratios
from reports.sections.rounding import Rounding
from reports.sections.scaling import Scaling
from reports.sections.section import Findings, ReportSection
from reports.sections.speed import Speed
from reports.sections.summary import Summary
from reports.sections.time_to_target import TimeToTarget
from reports.sections.training import Training
from reports.sections.variance import Variance
from reports.sections.variance_time import VarianceAndTime

SECTIONS: tuple[ReportSection, ...] = (
    Glance(),
    Summary(),
    Claims(),
    Instrument(),
    PublishedResults(),
    ExactValues(),
    Variance(),
    Ratios(),
    Scaling(),
    Cost(),
    Modes(),
    Speed(),
    VarianceAndTime(),
    TimeToTarget(),
    Training(),
    Bias(),
    NoiseScale(),
    Rounding(),
    OpenQuestions(),
    Outcomes(),
    Figures(),
    Method(),
    Environment(),
)
"""The sections, in the report's order."""

USUAL = ("variance", "ratio", "cost", "plane", "training", "bias")
"""Anchors of the sections that a reader looks for: one that has nothing in it is named."""


def document(found: Findings) -> Document:
    """Put a report together, without drawing anything.

    Args:
        found: What it is about.

    Returns:
        The report, ready to be written as a page or as Markdown.
    """
    every = [Section(item.anchor, item.title, item.blocks(found)) for item in SECTIONS]
    kept = [section for section in every if section.blocks]
    missing = [section.title for section in every if section.anchor in USUAL and not section.blocks]
    if missing:
        told = Paragraph(f"{', '.join(missing)}.", lead="Not measured by this suite: ")
        kept = [replace(s, blocks=[*s.blocks, told]) if s.anchor == "outcome" else s for s in kept]
    runs = found.results.runs.values()
    suites = dict.fromkeys(str((run.info.get("suite") or {}).get("name") or "") or run.name
                           for run in runs)  # fmt: skip
    return Document(
        f"vdbench: {', '.join(suites)}", subtitle(found.results), linked(distinct(kept))
    )


def distinct(sections: list[Section]) -> list[Section]:
    """Number the pictures and anchors of one name: names of problems that differ in punctuation give the same one."""
    taken: set[str] = set()
    moved: dict[tuple[str, str], str] = {}
    drawn: set[tuple[str, str, str]] = set()

    def own(name: str) -> str:
        found, count = name, 1
        while found in taken:
            count += 1
            found = f"{name}-{count}"
        taken.add(found)
        return found

    def named(block: Block) -> Block:
        if isinstance(block, Picture):
            return replace(block, name=own(block.name))
        if isinstance(block, Heading) and block.anchor:
            anchor = own(f"#{block.anchor}")[1:]
            moved.setdefault((block.anchor, block.text), anchor)
            return replace(block, anchor=anchor)
        return block

    def again(block: Block) -> bool:
        """Whether a picture is one that an earlier section has shown: once is enough."""
        if not isinstance(block, Picture):
            return False
        key = (block.name, block.caption, block.alt)
        known = key in drawn
        drawn.add(key)
        return known

    def linked_to(block: Block) -> Block:
        if isinstance(block, Table) and block.links:
            moves = tuple((moved.get((to, heading), to), heading) for to, heading in block.links)
            return replace(block, links=moves)
        if not isinstance(block, Links):
            return block
        items = [(a, moved.get((to, heading), to), heading, b) for a, to, heading, b in block.items]
        return replace(block, items=items)

    kept = [[block for block in section.blocks if not again(block)] for section in sections]
    named_ones = [[named(block) for block in blocks] for blocks in kept]
    return [
        replace(section, blocks=[linked_to(block) for block in blocks])
        for section, blocks in zip(sections, named_ones, strict=True)
    ]


def subtitle(results: Results) -> str:
    """Say which runs are reported on, when and on what they ran."""
    said = []
    for run in results.runs.values():
        parts = [
            f"run {run.name}",
            *(str(run.info.get(key) or "") for key in ("device", "finished")),
        ]
        said.append(" · ".join(part for part in parts if part))
    return " | ".join(said)


def linked(sections: list[Section]) -> list[Section]:
    """Put links where a section asks for what later ones have on something."""
    found = []
    for place, section in enumerate(sections):
        blocks: list[Block] = []
        for block in section.blocks:
            if not isinstance(block, SeeAlso):
                blocks.append(block)
            elif links := links_to(block.titles, sections[place + 1 :]):
                blocks.append(Links(links, row=True))
        found.append(replace(section, blocks=blocks))
    return found


def links_to(titles: frozenset[str], sections: list[Section]) -> list[tuple[str, str, str, str]]:
    """Link to the first heading of each section that has one of some texts."""
    found: dict[str, Heading] = {}
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Heading) and block.anchor and block.text in titles:
                found.setdefault(section.title, block)
    return [(title, block.anchor, block.text, "") for title, block in found.items()]
