"""Whole trainings: what they gave on the test set, how they compare in pairs, and their course."""

from __future__ import annotations

from pathlib import Path

from reports.document import Block, Bullets, Heading, Paragraph, Picture
from reports.figures.alpha_maps import map_figure, maps_of, noise_table
from reports.figures.draw import drawn
from reports.figures.training_curves import PANELS, course_figure, histogram_figure
from reports.figures.training_sweep import METRICS, Swept, parts_of, sweep_figure, swept_of
from reports.results.load import Results
from reports.results.trainings import Trainings, trainings_of
from reports.sections.training_tables import (
    difference_table,
    final_table,
    recipe_table,
    sparsity_table,
)
from reports.words.numbers import percent, show, slug, span
from reports.words.verdicts import both

SAID = (
    "Whole trainings: all problems and estimators share, seed by seed, initial weights, minibatch order and the "
    "weight samples of evaluations wherever their shapes agree. 'Mean weights' predicts with the posterior's means; "
    "'samples' averages the predictive distributions of posterior samples."
)
WAYS = {"test.error.mean_weights": "mean weights", "test.error": "samples"}
"""The two ways of predicting."""
BARS = "lines are means over training seeds, bands their intervals (Student), at the epochs that every seed reached"


def trained_blocks(results: Results, figures: Path) -> list[Block]:
    """Show the whole trainings of each run; nothing where there are none.

    Args:
        results: All rows and runs.
        figures: Folder for the figures' files.
    """
    blocks: list[Block] = []
    for found in trainings_of(results):
        blocks += [Heading(found.title, slug(f"trained {found.title}")), Paragraph(SAID)]
        tables = [final_table(found), difference_table(found), sparsity_table(found)]
        blocks += [picture for swept in swept_of(found) for picture in over_option(swept, figures)]
        blocks += tables[:1]
        parts = parts_of(found)
        blocks += [picture for part in parts for picture in courses(part, figures)]
        blocks += [table for table in tables[1:] if table.rows]
        blocks += [table for table in [noise_table(found)] if table.rows]
        blocks += [picture for part in parts for picture in histograms(part, figures)]
        blocks += [picture for part in parts for picture in maps(part, figures)]
        blocks += [recipe_table(found)]
    return blocks


def over_option(swept: Swept, folder: Path) -> list[Picture]:
    """Draw test error over what a suite sweeps."""
    found = swept.found
    if not any(swept.lines(metric) for metric, _ in METRICS):
        return []
    counts = span(e.n for e in found.finals("test.error").values())
    said = (
        f"Test error at the end of training over {swept.axis}: means over training seeds, bands their intervals "
        f"(Student) at {percent(found.run.level)}; {counts}. A band may go on beyond the axis."
    )
    if any(swept.published(metric) for metric, _ in METRICS):
        said += " Hollow markers are published figures of the same colour and shape."
    name = slug(f"over {swept.axis} {found.title}")
    return drawn(lambda: [sweep_figure(swept)], folder, name, said,
                 f"Test error over {swept.axis}, {found.title}")  # fmt: skip


def courses(found: Trainings, folder: Path) -> list[Picture]:
    """Draw test error, NLL and ELBO over epochs."""
    if not any(found.course(metric) for metric, _ in PANELS):
        return []
    counts = span(e.n for e in found.finals("test.nll").values())
    where = f" ({found.part})" if found.part else ""
    said = f"Training, epoch by epoch{where}: {BARS}. Intervals at {percent(found.run.level)}; {counts}."
    if found.cut:
        said += " The axes leave out the first, steep epochs."
    name = slug(f"trained {found.title}")
    return drawn(lambda: [course_figure(found)], folder, name, said,
                 f"Training over epochs, {found.title}")  # fmt: skip


def histograms(found: Trainings, folder: Path) -> list[Picture]:
    """Draw where log α lies at the last tracked epoch, where it is spread at all."""
    if not found.spread:
        return []
    place = f" ({found.part})" if found.part else ""
    said = (
        f"Where log α of the weights lies at the last tracked epoch{place}, all seeds together, as a share "
        "of the layer's weights in bins of ½; what lies beyond the axis counts in its last bin. Above: the significant "
        "digits of a weight that such noise leaves, −log₁₀ √α."
    )
    name = slug(f"log-alpha {found.title}")
    return drawn(lambda: [histogram_figure(found)], folder, name, said,
                 f"Histograms of log α, {found.title}")  # fmt: skip


def maps(found: Trainings, folder: Path) -> list[Picture]:
    """Draw log α over the pixels that the first layer sees, where it differs between them."""
    if not maps_of(found):
        return []
    place = f" ({found.part})" if found.part else ""
    said = (
        f"Log α of the first layer's weights by the pixel they come from{place}, at the end: means over outputs and "
        "training seeds, within −12 and 12."
    )
    name = slug(f"alpha-map {found.title}")
    return drawn(lambda: [map_figure(found)], folder, name, said,
                 f"Map of log α, {found.title}")  # fmt: skip


def trained_answer(results: Results) -> list[Block]:
    """Say in short what the trainings gave; nothing where there are none."""
    said = trained_summary(results)
    return [Heading("Whole trainings"), Bullets(said)] if said else []


def trained_summary(results: Results) -> list[tuple[str, str]]:
    """Say in a sentence each which training errs least, and what the paired differences establish."""
    said = []
    for found in trainings_of(results):
        for swept in swept_of(found):
            said += swept_words(swept, f"{found.title}: " if results.several else "")
        run = f"{found.title}: " if results.several else ""
        for metric, how in WAYS.items():
            errors = {k: e for k, e in found.finals(metric).items() if e.measured}
            if errors and not swept_of(found):
                best = min(errors, key=lambda key: errors[key].value)
                lowest = "lowest is that of" if len(errors) > 1 else "that of"
                joint = "," if len(errors) > 1 else " is"
                words = f"{lowest} {found.name(best)}{joint} {show(errors[best])} %."
                said.append((f"{run}Test error, {how}:", words))
            verdicts = difference_words(found, metric)
            if verdicts and swept_of(found):
                verdicts = [f"{counted(found, metric)}."]
            said += [(f"{run}Test error, {how}, against {found.base}:", each) for each in verdicts]
        if not swept_of(found):
            said += [(f"{run}Pruned:", words) for words in pruned_words(found)]
    return said


def pruned_words(found: Trainings) -> list[str]:
    """Say by how much each network was pruned, and how it errs then; nothing of one that was left as it is."""
    errors = found.finals("sparsity.error")
    return [
        f"{found.name(key)} by a factor of {show(times)}, with a test error of {show(errors[key])} %."
        for key, times in found.finals("sparsity.compression").items()
        if key in errors and times.measured and times.value > 1
    ]


def swept_words(swept: Swept, run: str) -> list[tuple[str, str]]:
    """Say which group errs least at each value of what is swept."""
    metric, how = "test.error.mean_weights", "mean weights"
    lines = swept.lines(metric)
    said = []
    for x in swept.sizes:
        here = {name: points[x] for name, points in lines.items() if x in points}
        if len(here) > 1:
            best = min(here, key=lambda name: here[name].value)
            said.append(f"{best} at {x:g} ({show(here[best])} %)")
    lead = f"{run}Lowest test error, {how}, over {swept.axis}:"
    return [(lead, f"{'; '.join(said)}.")] if said else []


def counted(found: Trainings, metric: str) -> str:
    """Count the paired differences that are established, which are many where an option is swept; and name them."""
    every = found.finals(f"adjusted.difference.{metric}")
    lower = [found.name(key) for key, e in every.items() if e.measured and e.high < 0]
    higher = [found.name(key) for key, e in every.items() if e.measured and e.low > 0]
    level = percent(round(next(iter(every.values())).level, 4))
    parts = [
        f"{word} {both(names)}" for word, names in (("lower:", lower), ("higher:", higher)) if names
    ]
    rest = len(every) - len(lower) - len(higher)
    parts += (
        [
            f"UNCLEAR: {'all ' if not parts else ''}{rest}{'' if not parts else ' other' + 's' * (rest > 1)}"
        ]
        if rest
        else []
    )
    return f"{'; '.join(parts)} (paired by seed at the same value, at {level}, adjusted for the problems compared)"


def difference_words(found: Trainings, metric: str) -> list[str]:
    """Say of each paired difference whether it is established."""
    words = []
    for key, e in found.finals(f"adjusted.difference.{metric}").items():
        if not e.measured:
            continue
        verdict = "UNCLEAR" if e.low <= 0 <= e.high else "lower" if e.high < 0 else "higher"
        words.append(
            f"that of {found.name(key)} is {verdict}: difference {show(e, 0)} points, paired by seed, "
            f"at {percent(round(e.level, 4))} (adjusted for the problems compared)."
        )
    return words
