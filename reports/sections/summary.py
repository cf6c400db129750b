"""The first section: the answer for each group, its evidence in sentences, a table and a figure."""

from __future__ import annotations

from pathlib import Path

from reports.document import Block, Bullets, Heading, Links, Paragraph, Section
from reports.figures.draw import pictures
from reports.results.groups import Group
from reports.results.ranking import failures
from reports.sections.summary_sentences import Line, sentences
from reports.sections.summary_table import headline_table
from reports.words.numbers import slug

Members = dict[str, list[Group]]
"""Groups by their title without the run: those of several runs are put side by side."""
MANY = 3
"""Groups with nothing to compare that are each told; more of them are named together."""


def answer(groups: list[Group], sections: list[Section], figures: Path) -> list[Block]:
    """Write the first section.

    Args:
        groups: What is compared with what.
        sections: The sections that follow, which each group links to.
        figures: Folder for the figures' files.

    Returns:
        A list of groups with their answers where there are several, then each group in turn.
    """
    alike: Members = {}
    for group in groups:
        alike.setdefault(without_run(group), []).append(group)
    alone = [title for title, members in alike.items() if all(single(group) for group in members)]
    if len(alone) > MANY:
        alike = {title: members for title, members in alike.items() if title not in alone}
    else:
        alone = []
    blocks: list[Block] = [contents(alike)] if len(alike) > 1 else []
    blocks += [Paragraph(left_out(alone))] if alone else []
    for title, members in alike.items():
        blocks.append(Heading(title, anchor(title)))
        blocks += [block for group in members for block in said(group, len(members) > 1)]
        blocks.append(headline_table(members))
        blocks += [block for group in members for block in pictures(group, "summary", figures)]
        links = jumps(members, sections)
        blocks += [Links(links, row=True)] if links and len(alike) > 1 else []
    return blocks or [Paragraph("The run has no rows to report on.")]


def single(group: Group) -> bool:
    """Whether one estimator was measured, so that there is nothing to compare or to rank."""
    return len(group.labels) < 2 and not failures(group)


def left_out(titles: list[str]) -> str:
    """Say where nothing was to be compared."""
    problems = list(dict.fromkeys(title.partition(" · ")[0] for title in titles))
    return (
        f"One estimator each, so that there is nothing to compare by variance: {', '.join(problems)}. "
        "Their figures are below."
    )


def said(group: Group, several: bool) -> list[Block]:
    """Write a group's answer in bold, then its evidence and what failed."""
    run = f"{group.run.name}: " if several else ""
    first, *others = sentences(group)
    failed = failures(group)
    if failed:
        others.append(Line("Failed, so not compared", f"{'; '.join(failed)} (see below)."))
    bold = Paragraph("", lead=f"{run}{first.text}")
    return [bold, Bullets([(f"{line.lead}:", line.body) for line in others])] if others else [bold]


def contents(alike: Members) -> Links:
    """List the groups with their answers."""
    items = []
    for title, members in alike.items():
        runs = len(members) > 1
        told = " ".join(
            f"{f'{group.run.name}: ' if runs else ''}{sentences(group)[0].text}"
            for group in members
        )
        items.append((title, anchor(title), title, told))
    return Links(items)


def jumps(members: list[Group], sections: list[Section]) -> list[tuple[str, str, str, str]]:
    """Link to what the later sections have on a group."""
    titles = {group.title for group in members} | {group.problem for group in members}
    found: dict[str, Heading] = {}
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Heading) and block.anchor and block.text in titles:
                found.setdefault(section.title, block)
    return [(title, block.anchor, block.text, "") for title, block in found.items()]


def anchor(title: str) -> str:
    """Name the place of a group's answer."""
    return slug(f"answer {title}")


def without_run(group: Group) -> str:
    """Return a group's title without its run, under which runs are put side by side."""
    return group.title.removeprefix(f"{group.run.name} · ")
