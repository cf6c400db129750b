"""The sections of a report, in order: the answer first, the evidence after, the method last."""

from __future__ import annotations

from pathlib import Path

from reports.document import Block, Document, Heading, Paragraph, Section
from reports.figures.draw import pictures
from reports.results.groups import Group
from reports.results.load import Results
from reports.results.sweeps import sweeps_of
from reports.results.trainings import trainings_of
from reports.sections.bias import bias_summary, bias_table
from reports.sections.environment import busy, environment_blocks
from reports.sections.exact_values import exact_blocks
from reports.sections.instrument import instrument_answer, instrument_blocks
from reports.sections.method import method_blocks
from reports.sections.outcomes import outcome_blocks
from reports.sections.published import beside_blocks
from reports.sections.scaling import scaling_blocks, speed_blocks
from reports.sections.summary import answer, without_run
from reports.sections.tables import PARTS, RATIOS, cost_table, layer_table, training_table
from reports.sections.training import trained_answer, trained_blocks
from reports.words.numbers import percent, slug


def document(results: Results, groups: list[Group], figures: Path) -> Document:
    """Put a report together, drawing its figures on the way.

    Args:
        results: All rows and runs.
        groups: What is compared with what.
        figures: Folder for the figures' files.

    Returns:
        The report, ready to be written as a page or as Markdown.
    """
    sweeps = sweeps_of(results, groups)
    suites = dict.fromkeys(str((run.info.get("suite") or {}).get("name") or "") or run.name
                           for run in results.runs.values())  # fmt: skip
    trained = trained_blocks(results, figures)
    if any(group.has("convergence.") or len(group.curves) for group in groups):
        trained += training(groups, figures)
    sections = [
        *some("instrument", "The instrument itself", instrument_blocks(results, figures)),
        *some("beside", "Beside the paper", beside_blocks(groups, trainings_of(results))),
        *some("exact", "Beside exact values", exact_blocks(groups)),
        Section("variance", "Variance by layer and role", variance(groups, figures)),
        Section("ratio", "Ratio to the baseline", ratios(groups, figures)),
        *some("scaling", "Variance over sizes", scaling_blocks(sweeps, figures)),
        Section("cost", "Cost of a gradient", costs(groups, figures)),
        *some("speed", "Speed over minibatch sizes", speed_blocks(sweeps, figures)),
        Section("plane", "Variance against time", planes(groups, figures)),
        Section("training", "Training", trained or training(groups, figures)),
        Section("bias", "Signal-to-noise ratio and bias", bias(groups)),
        Section("outcome", "What failed, was bounded or stopped early", outcome_blocks(results)),
        Section("method", "How it was measured", method_blocks(results, groups)),
        Section("environment", "Environment, and how to run it again", environment_blocks(results)),
    ]
    first = [*instrument_answer(results), *trained_answer(results)]
    if groups or not first:
        first += answer(groups, sections, figures)
    sections.insert(0, Section("answer", "In short", first))
    return Document(f"vdbench: {', '.join(suites)}", subtitle(results), sections)


def some(anchor: str, title: str, blocks: list[Block]) -> list[Section]:
    """Make a section of what only some suites have; none without it."""
    return [Section(anchor, title, blocks)] if blocks else []


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


def heading(section: str, group: Group) -> Heading:
    """Head a group's part of a section, so that links find it."""
    return Heading(group.title, slug(f"{section} {group.title}"))


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
            blocks += [heading("variance", group), *pictures(group, "variance", figures),
                       layer_table(group, PARTS, caption)]  # fmt: skip
    return blocks or missing("variance")


def ratios(groups: list[Group], figures: Path) -> list[Block]:
    """Paired ratios of variance to the baseline's."""
    blocks: list[Block] = []
    for group in groups:
        if group.has("ratio.variance."):
            level = percent(group.run.level)
            caption = f"Ratio to {group.baseline}, on the same minibatches; intervals at {level}."
            blocks += [heading("ratio", group), *pictures(group, "ratio", figures),
                       layer_table(group, RATIOS, caption, apart=1)]  # fmt: skip
    return blocks or missing("ratios of variance to a baseline")


def costs(groups: list[Group], figures: Path) -> list[Block]:
    """Seconds, throughput and memory."""
    blocks: list[Block] = []
    for group in groups:
        table = cost_table(group)
        if table.rows:
            blocks += [heading("cost", group), *pictures(group, "cost", figures), table]
    if blocks:
        runs = {group.run.name: group.run for group in groups if cost_table(group).rows}
        blocks = [Paragraph(words) for run in runs.values() if (words := busy(run))] + blocks
    if not any(group.has("memory.") for group in groups) and blocks:
        blocks.append(Paragraph("Peak memory was not measured."))
    return blocks or missing("time or memory")


def planes(groups: list[Group], figures: Path) -> list[Block]:
    """The plane of variance against time."""
    blocks: list[Block] = []
    for group in groups:
        found = pictures(group, "plane", figures)
        blocks += [heading("plane", group), *found] if found else []
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
        title = f"{run}{group.problem}"
        blocks += [Heading(title, slug(f"training {title}")), *pictures(group, "training", figures)]
        blocks += [table] if table.rows else []
    return blocks or missing("convergence in training")


def bias(groups: list[Group]) -> list[Block]:
    """Signal-to-noise ratio and relative bias, and against what."""
    blocks: list[Block] = []
    for group in groups:
        table, summary = bias_table(group), bias_summary(group)
        if table.rows:
            blocks += [heading("bias", group), *([summary] if summary.rows else []), table]
    return blocks or missing("the signal-to-noise ratio or bias")
