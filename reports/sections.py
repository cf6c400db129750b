"""The sections of a report, in order: the answer first, the evidence after, the method last."""

from __future__ import annotations

from pathlib import Path

from reports.build_figures import pictures
from reports.document import Block, Bullets, Document, Heading, Paragraph, Section, Table
from reports.groups import Group
from reports.load import Results
from reports.method import environment_blocks, method_blocks, outcome_blocks
from reports.numbers import percent
from reports.summary import failures, sentences
from reports.tables import (
    bias_table,
    cost_table,
    headline_table,
    layer_table,
    training_table,
)

PARTS = {"variance.total": "total", "variance.noise": "noise part", "variance.data": "data part"}
RATIOS = {"ratio.variance.total": "total", "ratio.variance.noise": "noise part"}


def document(results: Results, groups: list[Group], figures: Path) -> Document:
    """Put a report together, drawing its figures on the way.

    Args:
        results: All rows and runs.
        groups: What is compared with what.
        figures: Folder for the figures' files.

    Returns:
        The report, ready to be written as a page or as Markdown.
    """
    suites = dict.fromkeys(str((run.info.get("suite") or {}).get("name") or "") or run.name
                           for run in results.runs.values())  # fmt: skip
    sections = [
        Section("answer", "In short", answer(groups)),
        Section("variance", "Variance by layer and role", variance(groups, figures)),
        Section("ratio", "Ratio to the baseline", ratios(groups, figures)),
        Section("cost", "Cost of a gradient", costs(groups, figures)),
        Section("plane", "Variance against time", planes(groups, figures)),
        Section("training", "Training", training(groups, figures)),
        Section("bias", "Signal-to-noise ratio and bias", bias(groups)),
        Section("outcome", "What failed, was bounded or stopped early", outcome_blocks(results)),
        Section("method", "How it was measured", method_blocks(results, groups)),
        Section("environment", "Environment, and how to run it again", environment_blocks(results)),
    ]
    return Document(f"vdbench: {', '.join(suites)}", subtitle(results), sections)


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


def answer(groups: list[Group]) -> list[Block]:
    """Write the first screen: the sentences of each group, then the headline tables."""
    blocks: list[Block] = []
    tables: list[Block] = []
    alike: dict[str, list[Group]] = {}
    for group in groups:
        alike.setdefault(without_run(group), []).append(group)
    for title, members in alike.items():
        blocks.append(Heading(title))
        table = headline_table(members)
        tables += [table] if len(alike) == 1 else [Heading(f"{title}: in figures"), table]
        for group in members:
            run = f"{group.run.name}, " if len(members) > 1 else ""
            items = [(f"{run}{line.lead}:", line.body) for line in sentences(group)]
            failed = failures(group)
            if failed:
                items.append(
                    (f"{run}Failed, so not compared:", f"{'; '.join(failed)} (see below).")
                )
            blocks.append(Bullets(items))
    return blocks + tables or [Paragraph("The run has no rows to report on.")]


def without_run(group: Group) -> str:
    """Return a group's title without its run, under which runs are put side by side."""
    return group.title.removeprefix(f"{group.run.name} · ")


def missing(what: str) -> list[Block]:
    """Say that a suite does not measure something."""
    return [Paragraph(f"This suite does not measure {what}.")]


def variance(groups: list[Group], figures: Path) -> list[Block]:
    """Total, noise and data variance by layer, role and estimator."""
    blocks: list[Block] = []
    for group in groups:
        if group.has("variance."):
            level = percent(group.run.level)
            caption = (
                f"Variance (gradient², averaged over a layer's parameters); intervals at {level}."
            )
            blocks += [Heading(group.title), *pictures(group, "variance", figures),
                       layer_table(group, PARTS, caption)]  # fmt: skip
    return blocks or missing("variance")


def ratios(groups: list[Group], figures: Path) -> list[Block]:
    """Paired ratios of variance to the baseline's."""
    blocks: list[Block] = []
    for group in groups:
        if group.has("ratio.variance."):
            level = percent(group.run.level)
            caption = f"Ratio to {group.baseline}, on the same minibatches; intervals at {level}."
            blocks += [Heading(group.title), *pictures(group, "ratio", figures),
                       layer_table(group, RATIOS, caption, apart=1)]  # fmt: skip
    return blocks or missing("ratios of variance to a baseline")


def costs(groups: list[Group], figures: Path) -> list[Block]:
    """Seconds, throughput and memory."""
    blocks: list[Block] = []
    for group in groups:
        table = cost_table(group)
        if table.rows:
            blocks += [Heading(group.title), *pictures(group, "cost", figures), table]
    if not any(group.has("memory.") for group in groups) and blocks:
        blocks.append(Paragraph("Peak memory was not measured."))
    return blocks or missing("time or memory")


def planes(groups: list[Group], figures: Path) -> list[Block]:
    """The plane of variance against time."""
    blocks: list[Block] = []
    for group in groups:
        found = pictures(group, "plane", figures)
        blocks += [Heading(group.title), *found] if found else []
    return blocks or missing("both variance and time")


def training(groups: list[Group], figures: Path) -> list[Block]:
    """ELBO curves, and where training ended; once for groups that share their training."""
    blocks: list[Block] = []
    seen: set[tuple[object, ...]] = set()
    for group in groups:
        key = (group.run.name, group.problem, *group.curves.index)
        table = training_table(group)
        if key in seen or not (table.rows or len(group.curves)):
            continue
        seen.add(key)
        run = f"{group.run.name} · " if without_run(group) != group.title else ""
        blocks += [Heading(f"{run}{group.problem}"), *pictures(group, "training", figures)]
        blocks += [table] if table.rows else []
    return blocks or missing("convergence in training")


def bias(groups: list[Group]) -> list[Block]:
    """Signal-to-noise ratio and relative bias, and against what."""
    blocks: list[Block] = []
    for group in groups:
        table: Table = bias_table(group)
        if table.rows:
            blocks += [Heading(group.title), table]
    if not blocks:
        return missing("the signal-to-noise ratio or bias")
    named = {str(group.run.info.get("reference") or "") for group in groups} - {""}
    if named and any(group.has("relative_bias") for group in groups):
        text = (
            f"Bias is relative to the mean gradient of the reference, {', '.join(sorted(named))}."
        )
        blocks.insert(0, Paragraph(text))
    return blocks
