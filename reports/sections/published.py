"""Published values compared with ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reports.document import Block, Bullets, Heading, Paragraph
from reports.results.groups import Group
from reports.results.published import Judged, Match, Published, comparisons, matches_of, unmatched
from reports.results.trainings import Trainings
from reports.sections.published_tables import RECALLED, figure_table, order_tables, place
from reports.sections.published_trainings import pairs_of, published_table
from reports.sections.section import Findings
from reports.words.numbers import percent, show, slug
from reports.words.verdicts import ADJUSTED, NOT_COMPARED, both
from vdbench.statistics.verdicts import Verdict

INTRO = (
    "Published values are shown next to ours. Absolute values depend on details of training that publications leave "
    "out, such as learning rates and noise levels. Compare the order of the estimators and their ratios."
)
FLOOR = (
    "'Above its floor': the published value of the network without weight noise is subtracted from both sides of a "
    "published ratio, because the publication gives no noise part. This is a rough guide, because that floor is the "
    "data variance of another network. Our noise part is measured; nothing is subtracted from it."
)
UNREAD = (
    f"'{RECALLED[0].upper()}{RECALLED[1:]}': quoted from memory and not checked against the source."
)
MOST = 8
"""Published values without ours that are named one by one."""
NAMES = {"variance.total": "total", "variance.noise": "noise part"}


class PublishedResults:
    """Published values compared with ours, where a suite gives any."""

    anchor = "published"
    title = "Comparison with published results"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section; nothing where no suite has published values."""
        return published_blocks(found.groups, found.trainings)


def published_blocks(groups: list[Group], trained: Sequence[Trainings] = ()) -> list[Block]:
    """Show published values next to ours; nothing where no suite has any that match.

    Args:
        groups: The groups of the report.
        trained: Its whole trainings.
    """
    blocks: list[Block] = []
    every = {group.title: matches_of(group) for group in groups}
    for group in groups:
        matches = every[group.title]
        if matches:
            blocks.append(Heading(group.title, slug(f"published {group.title}")))
            blocks.append(Paragraph(summary(matches)))
            blocks.append(Bullets([place_words(match, comparisons(matches)) for match in matches]))
            blocks += [figure_table(matches), *order_tables(matches).values()]
    found = [match for matches in every.values() for match in matches]
    for one in trained:
        if pairs_of(one):
            title = f"{one.title}, whole trainings"
            blocks += [Heading(title, slug(f"published {title}")), published_table(one)]
    shown = [theirs for one in trained for theirs, _ in pairs_of(one)]
    if left := unmatched(groups, [one.run for one in trained], shown):
        blocks.append(Paragraph(unmatched_words(left)))
    return [*(introduction(found) if found else []), *blocks]


def introduction(found: list[Match]) -> list[Block]:
    """Say what the values are good for, where they are from, and what marks them."""
    figures = [figure for match in found for figure in match.theirs.values()]
    sources: dict[str, list[str]] = {}
    for figure in figures:
        notes = sources.setdefault(figure.source, [])
        notes += [figure.note] * bool(figure.note and figure.note not in notes)
    said = [INTRO]
    said += [FLOOR] if any(match.floor for match in found) else []
    said += [UNREAD] if not all(figure.verified for figure in figures) else []
    listed = [(f"{source}.", " ".join(f"{x.rstrip('.')}." for x in told))
              for source, told in sources.items()]  # fmt: skip
    return [*(Paragraph(text) for text in said), Bullets(listed)]


def unmatched_words(left: list[Published]) -> str:
    """Say which published values have none of ours to be compared with."""
    places = [" ".join(x for x in (f.problem, f.metric, f.estimator, f.layer, f.role, f.checkpoint) if x)
              for f in left]  # fmt: skip
    if len(places) > MOST:
        places = [*places[:MOST], f"and {len(places) - MOST} more"]
    return (
        f"{len(left)} of the suite's published values "
        f"{'is' if len(left) == 1 else 'are'} not shown, because this run measured nothing of that name: "
        f"{'; '.join(places)}."
    )


def summary(matches: list[Match]) -> str:
    """Say in how many places the order agrees, and what the comparisons of neighbours gave."""
    several = [match for match in matches if len(match.order) > 1]
    if not several:
        return "Too few estimators were published to compare their order."
    count = comparisons(matches)
    found = [v for m in matches for x in m.metrics for v in m.verdicts(x, count) if v is not None]
    counts = Counter(judged.verdict for judged in found)
    said = [
        f"{counts[x]} {'is' if counts[x] == 1 else 'are'} {x.words()}" for x in Verdict if counts[x]
    ]
    return (
        f"{in_order(several)}. Each estimator was compared with the next in our order. "
        f"Of {len(found)} comparisons, {both(said)} ({percent(matches[0].group.run.level)}, {ADJUSTED})."
    )


def in_order(several: list[Match]) -> str:
    """Say in how many places with several estimators the order is the published one, and where all of it is sure."""
    alike = [match for match in several if match.order == match.published_order]
    count = comparisons(several)
    sure = sum(all_lower(match.verdicts(match.metric, count)) for match in alike)
    return (
        f"Our estimates are in the published order in {len(alike)} of {len(several)} case{'s' * (len(several) > 1)}; "
        f"in {sure} of these every step is significant"
    )


def all_lower(verdicts: Sequence[Judged | None]) -> bool:
    """Whether every estimator is significantly lower than the next."""
    return all(judged is not None and judged.verdict is Verdict.LOWER for judged in verdicts)


def place_words(match: Match, count: int) -> tuple[str, str]:
    """Say the order at one place, whether it is the published one, and what is significant."""
    order = match.order
    if len(order) < 2:
        return f"{place(match)}:", "only one estimator."
    same = order == match.published_order
    theirs = "the same" if same else " < ".join(match.published_order)
    said = [
        f"our estimates are in the order {' < '.join(order)}",
        f"the published order is {theirs}",
    ]
    text = "; ".join(said)
    for metric in match.metrics:
        if words := verdict_words(match, metric, count):
            text += f". {NAMES.get(metric, 'verdict').capitalize()}: {words}"
    return f"{place(match)}:", f"{text}."


def verdict_words(match: Match, metric: str, count: int) -> str:
    """Say how each estimator compares with the next, with the ratio where it is not significantly lower."""
    found = match.verdicts(metric, count)
    pairs = list(zip(match.order, match.order[1:], found, strict=False))
    sure = [f"{a} < {b}" for a, b, v in pairs if v and v.verdict is Verdict.LOWER]
    others = [f"{v.verdict.words() if v else NOT_COMPARED}: {a} / {b}{size(v)}"
              for a, b, v in pairs if not v or v.verdict is not Verdict.LOWER]  # fmt: skip
    every = len(sure) > 1 and not others
    parts = (
        [f"significant for {'all pairs of neighbours' if every else both(sure)}"] if sure else []
    )
    return "; ".join([*parts, *others])


def size(verdict: Judged | None) -> str:
    """Write the ratio that a verdict rests on, and on how many units."""
    if verdict is None:
        return ""
    units = f", n = {verdict.ratio.n:,}" if verdict.ratio.n else ""
    return f" = {show(verdict.ratio, 1)}{units}"
