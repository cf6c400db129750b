"""Whole trainings: what they gave on the test set, how they compare in pairs, and their course."""

from __future__ import annotations

from functools import partial

from reports.document import Block, Heading, Paragraph, Picture
from reports.figures import draw
from reports.results.log_alpha import maps_of
from reports.results.training_sweeps import METRICS, Swept, parts_of, swept_of
from reports.results.trainings import COURSES, Trainings
from reports.sections.training_tables import (
    difference_table,
    final_table,
    noise_table,
    recipe_table,
    sparsity_table,
)
from reports.words.numbers import percent, slug, span

SAID = (
    "Whole trainings. All problems and estimators share, seed by seed, the initial weights, the order of minibatches "
    "and the weight samples of evaluations, wherever their shapes agree. 'Mean weights' predicts with the posterior "
    "means. 'Samples' averages the predictive distributions of samples from the posterior."
)
BARS = "Lines are means over training seeds, bands their Student intervals, at the epochs that every seed reached"


def training_blocks(trainings: list[Trainings]) -> list[Block]:
    """Show the whole trainings of each run; nothing where there are none."""
    blocks: list[Block] = []
    for found in trainings:
        blocks += [Heading(found.title, slug(f"trained {found.title}")), Paragraph(SAID)]
        tables = [final_table(found), difference_table(found), sparsity_table(found)]
        blocks += [picture for swept in swept_of(found) for picture in over_option(swept)]
        blocks += tables[:1]
        parts = parts_of(found)
        blocks += [picture for part in parts for picture in courses(part)]
        blocks += [table for table in tables[1:] if table.rows]
        blocks += [table for table in [noise_table(found)] if table.rows]
        blocks += [picture for part in parts for picture in histograms(part)]
        blocks += [picture for part in parts for picture in maps(part)]
        blocks += [recipe_table(found)]
    return blocks


def over_option(swept: Swept) -> list[Picture]:
    """Draw test error over what a suite sweeps."""
    found = swept.found
    if not any(swept.lines(metric) for metric in METRICS):
        return []
    counts = span(e.n for e in found.finals("test.error").values())
    said = (
        f"Test error at the end of training against {swept.axis}. Lines are means over training seeds, bands their "
        f"Student intervals at {percent(found.run.level)}; {counts}. A band may extend beyond the axis range."
    )
    if any(swept.published(metric) for metric in METRICS):
        said += " Hollow markers are published values, in the colour and shape of ours."
    name = slug(f"over {swept.axis} {found.title}")
    alt = f"Test error over {swept.axis}, {found.title}"
    return [Picture(name, said, alt, partial(draw.over_option, swept))]


def courses(found: Trainings) -> list[Picture]:
    """Draw test error, NLL and ELBO over epochs."""
    if not any(found.course(metric) for metric in COURSES):
        return []
    counts = span(e.n for e in found.finals("training.elbo").values())
    where = f" ({found.part})" if found.part else ""
    said = f"Training by epoch{where}. {BARS}. Intervals at {percent(found.run.level)}; {counts}."
    if found.cut:
        said += " The first, steep epochs are outside the axis range."
    name = slug(f"trained {found.title}")
    return [
        Picture(name, said, f"Training over epochs, {found.title}", partial(draw.courses, found))
    ]


def histograms(found: Trainings) -> list[Picture]:
    """Draw where log α lies at the last tracked epoch, where it is spread at all."""
    if not found.spread:
        return []
    place = f" ({found.part})" if found.part else ""
    said = (
        f"Distribution of log α of the weights at the last recorded epoch{place}, over all seeds, as a share of the "
        "layer's weights in bins of width ½. The outermost bins include values beyond the axis range. Upper axis: "
        "significant digits of a weight that remain under such noise, −log₁₀ √α."
    )
    name = slug(f"log-alpha {found.title}")
    return [
        Picture(name, said, f"Histograms of log α, {found.title}", partial(draw.histograms, found))
    ]


def maps(found: Trainings) -> list[Picture]:
    """Draw log α over the pixels that the first layer sees, where it differs between them."""
    if not maps_of(found):
        return []
    place = f" ({found.part})" if found.part else ""
    said = (
        f"Log α of the first layer's weights by input pixel{place}, at the end of training: means over outputs and "
        "seeds, clipped to −12 to 12."
    )
    name = slug(f"alpha-map {found.title}")
    return [Picture(name, said, f"Map of log α, {found.title}", partial(draw.maps, found))]
