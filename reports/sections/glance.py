"""The first section: the question, what was measured on what, the answer in two sentences, and a picture of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from reports.document import Block, Explore, Facts, Paragraph, Picture, Table
from reports.figures import draw
from reports.results.groups import Group
from reports.results.load import Run
from reports.results.panels import summary_roles
from reports.results.published import matches_of
from reports.results.ranking import EFFICIENCY, VARIANCE, Contest, ratio
from reports.sections.environment import busy, load_average, timed
from reports.sections.glance_sentences import compared, short, verdict
from reports.sections.instrument import instrument_blocks
from reports.sections.next_steps import leads, next_step
from reports.sections.pictures import picture
from reports.sections.published import in_order
from reports.sections.scaling import variance_pictures
from reports.sections.section import Findings
from reports.sections.summary import anchor, caption
from reports.sections.summary_sentences import NAMES, deciding
from reports.sections.whole_trainings import training_blocks
from reports.words.glossary import COORDINATES, role_name
from reports.words.numbers import MISSING, percent, show, show_seconds
from reports.words.verdicts import NAMED, few, levels, whom
from vdbench.statistics.verdicts import Verdict


class Glance:
    """What a reader wants to know first."""

    anchor = "answer"
    title = "Summary"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section."""
        runs = list(found.results.runs.values())
        said = [text for run in runs if (text := question(run))]
        asked = " ".join(dict.fromkeys(said))
        blocks: list[Block] = (
            [Paragraph(asked, lead="Question: " if "?" in asked else "Suite: ")] if asked else []
        )
        blocks += [Paragraph("", lead=" ".join(verdict(found))), *next_step(found)]
        blocks.append(Facts([item for run in runs for item in facts(found, run, len(runs) > 1)]))
        blocks += picture_of(found)
        table = places(found.groups)
        return [*blocks, *([table] if table.rows else []), leads(found)]


def question(run: Run) -> str:
    """Return what a run's suite says of itself."""
    said = str((run.info.get("suite") or {}).get("description") or "").strip()
    return f"{said}." if said and said[-1].isalnum() else said


def facts(found: Findings, run: Run, several: bool) -> list[tuple[str, str]]:
    """Say what was measured, on what model, data and machine, under what load."""
    problems: dict[str, Any] = run.info.get("problems") or {}
    groups = [group for group in found.groups if group.run.name == run.name]
    items = [
        ("Published results", published(groups)),
        ("Model", listed([model(name, one, len(problems)) for name, one in problems.items()])),
        ("Data", listed(list(dict.fromkeys(data(one) for one in problems.values())))),
        ("Measured at", where(groups)),
        ("Machine", machine(run)),
        ("Load", load(run, timed(found.results, run))),
    ]
    prefix = f"{run.name}: " if several else ""
    return [(f"{prefix}{name}", text) for name, text in items if text]


def published(groups: list[Group]) -> str:
    """Say whether the order is the published one; nothing where nothing was published."""
    found = [match for group in groups for match in matches_of(group) if len(match.order) > 1]
    return f"{in_order(found)}." if found else ""


def where(groups: list[Group]) -> str:
    """Name the weights and the minibatch sizes that were measured at."""
    points = listed(
        list(dict.fromkeys(f"checkpoint {g.checkpoint}" for g in groups if g.checkpoint))
    )
    sizes = listed(list(dict.fromkeys(f"{g.batch_size:,}" for g in groups)))
    return ", ".join(
        x for x in (points, f"minibatches of {sizes.replace(';', ',')}" if sizes else "") if x
    )


def listed(names: list[str]) -> str:
    """List names; the first ones and a count where they are many."""
    kept = [name for name in names if name]
    if len(kept) <= NAMED + 1:
        return "; ".join(kept)
    return f"{'; '.join(kept[:NAMED])}; and {len(kept) - NAMED} more"


def model(name: str, described: dict[str, Any], count: int) -> str:
    """Describe a problem in a line."""
    said = str(described.get("description") or name)
    parts = [said if said.startswith(name) or count == 1 else f"{name}: {said}"]
    if isinstance(described.get("parameters"), int):
        parts.append(f"{described['parameters']:,} parameters")
    coordinates = str(described.get("parameterization") or "")
    if coordinates and count == 1:
        parts.append(f"posterior in {COORDINATES.get(coordinates, coordinates)}")
    return ", ".join(parts)


def data(described: dict[str, Any]) -> str:
    """Name a problem's data and count its examples."""
    name, count = described.get("dataset"), described.get("examples")
    counted = f"{count:,} training examples" if isinstance(count, int) else ""
    return ", ".join(part for part in (str(name) if name else "", counted) if part)


def machine(run: Run) -> str:
    """Name the device, its threads and the version of torch."""
    environment = run.info.get("environment") or {}
    device = environment.get("device")
    name = device.get("name") if isinstance(device, dict) else None
    cpu = environment.get("cpu")
    name = name or (cpu.get("model") if isinstance(cpu, dict) else None)
    kind = device.get("type") if isinstance(device, dict) else run.info.get("device")
    threads = run.info.get("threads")
    torch = (run.info.get("versions") or {}).get("torch")
    parts = [f"{name} ({kind})" if name and kind else str(name or kind or "")]
    parts += [f"{threads} thread{'s' * (threads != 1)}"] if threads else []
    return ", ".join(x for x in [*parts, f"torch {torch}" if torch else ""] if x)


def load(run: Run, times: bool) -> str:
    """Say how busy the machine was when the run began; what that means for times only where any were measured."""
    loads = load_average(run)
    if warning := busy(run):
        return (
            warning if times else f"{loads[0]:.1f} processes at the start; no times were measured"
        )
    return f"{loads[0]:.1f} processes at the start: not busy" if loads else "not recorded"


def picture_of(found: Findings) -> list[Block]:
    """Return the picture that shows the answer, and the interactive chart that stands in its place."""
    if itself := [b for b in instrument_blocks(found.results) if isinstance(b, Picture)]:
        return [itself[0]]
    for sweep in found.sweeps:
        if sweep.fits and (shown := variance_pictures(sweep)):
            return [Explore({"metric": "variance.noise", **shown[0].show}), shown[0]]
    for group in compared(found.groups):
        if summary_roles(group):
            metric = EFFICIENCY if group.has(f"ratio.{EFFICIENCY}") else VARIANCE
            said = caption(group)
            choice = {**said.show(group), "metric": f"ratio.{metric}"}
            return [Explore(choice), own(picture(said, group, draw.summary), choice)]
    trained = [block for block in training_blocks(found.trainings) if isinstance(block, Picture)]
    return [trained[0]] if trained else [Explore({})]


def own(made: Picture, choice: dict[str, str]) -> Picture:
    """Return a picture with what the chart shows in its place."""
    return Picture(made.name, made.caption, made.alt, made.draw, choice)


def places(groups: list[Group]) -> Table:
    """Build the table of who is lowest, by how much, how surely and at what cost: a row a place and parameter."""
    rows, links = [], []
    metrics: dict[str, None] = {}
    shown = compared(groups)
    for name, group in zip(short(shown), shown, strict=True):
        metric, contests = deciding(group)
        metrics[NAMES[metric]] = None
        for one in contests:
            if one.leader:
                rows.append([name, role_name(one.role), NAMES[metric], *row(group, one, metric)])
                links.append((anchor(group.without_run), group.without_run))
    columns = ["place", "parameter", "compared by", "lowest estimator", times_base(shown), "verdict",
               "time per gradient"]  # fmt: skip
    level = " or ".join(dict.fromkeys(percent(group.run.level) for group in groups))
    paired = any(group.pairs for group in shown)
    said = f"Lowest estimator by place and parameter. {levels(level, paired)}."
    kept = [i for i, _ in enumerate(columns) if i not in dropped(rows, len(metrics))]
    links = links if 0 in kept else []
    return Table([columns[i] for i in kept], [[cells[i] for i in kept] for cells in rows], said,
                 links=tuple(links), stacked=True)  # fmt: skip


def beside_baseline(group: Group, one: Contest, metric: str) -> str:
    """Write the ratio of the next lowest to the baseline, which is itself the lowest."""
    others = {x: ratio(group, metric, x, one.role) for x in (*one.beaten, *one.others)}
    known = {x: e for x, e in others.items() if e is not None}
    following = min(known, key=lambda x: known[x].value, default=None)
    return "1" if following is None else f"1; {following} {show(known[following], 1)}"


def times_base(groups: list[Group]) -> str:
    """Head the column of ratios with the baseline's name, where there is one."""
    names = {group.baseline for group in groups}
    return f"× {names.pop()}" if len(names) == 1 else "× baseline"


def counted(labels: Collection[str]) -> str:
    """Count estimators."""
    return f"{len(labels)} other{'s' * (len(labels) != 1)}"


def dropped(rows: list[list[str]], metrics: int) -> set[int]:
    """Return the numbers of the columns that say nothing: one place or one metric for all, or no time."""
    single = {0} if len({cells[0] for cells in rows}) < 2 else set()
    return (
        single
        | ({2} if metrics < 2 else set())
        | ({6} if all(cells[6] == MISSING for cells in rows) else set())
    )


def row(group: Group, one: Contest, metric: str) -> list[str]:
    """Write the leader of a contest, its ratio, how surely it leads and what it costs."""
    base = one.leader == group.baseline
    known = ratio(group, metric, one.leader, one.role)
    return [
        one.leader,
        beside_baseline(group, one, metric) if base else show(known, 1),
        surely(one),
        show_seconds(group.get(one.leader, "time.seconds_per_gradient")),
    ]


def surely(one: Contest) -> str:
    """Say how surely the lowest is lowest: over whom, and from whom it cannot be separated."""
    if one.alone:
        return "only ranked estimator"
    if one.significant:
        return f"significantly lower than {whom(one)}"
    equal = [x for x in one.others if x not in one.open]
    parts = [f"not separated from {few(one.open)}"] if one.open else []
    parts += [f"{Verdict.EQUIVALENT.words()} to {few(equal)}"] if equal and not one.zeros else []
    parts += [f"0, as {few(equal)}"] if equal and one.zeros else []
    parts += [f"significantly lower than {counted(one.beaten)}"] if one.beaten else []
    return "; ".join(parts)
