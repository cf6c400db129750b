"""The document of a recommendation: answers, candidates, what more time would settle, and the suite."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from reports.document import Block, Bullets, Code, Document, Paragraph, Picture, Section, Table
from reports.figures import draw
from reports.words import recommendation as words
from reports.words.numbers import format_number

if TYPE_CHECKING:
    from vdbench.recommendation import Recommendation
    from vdbench.recommendation.contest import Question


def document(found: Recommendation, brief: bool = False) -> Document:
    """Compose the page of a recommendation.

    Args:
        found: It.
        brief: Whether the suite that measures it again is left out, as in a terminal.
    """
    sections = [
        Section("answers", "Answers", _answers(found)),
        Section("candidates", "Candidates", [table(found, q) for q in _questions(found)]),
        Section("time", "What more time would settle", _time(found)),
    ]
    left = [(f"{names}:", why) for why, names in words.by_reason(found.left_out).items()]
    if found.untried:
        left.append(("No time for:", words.by_estimator(found.untried)))
    if found.aside:
        said = "Set aside at first sight, having the highest estimates, for lack of time:"
        left.append((said, words.by_estimator(found.aside)))
    left += [("", note) for note in found.notes]
    if left:
        sections.append(Section("left-out", "Not compared", [Bullets(left)]))
    sections.append(Section("suite", "Measure it again", _suite(found, brief)))
    return Document(f"Which estimator for {found.model}?", words.headline(found), sections)


def _questions(found: Recommendation) -> list[Question]:
    return [answer.question for answer in found.answers]


def _answers(found: Recommendation) -> list[Block]:
    rows = [
        [
            words.question(a.question),
            words.verdict(found, a),
            words.ratio(a.ratio),
            words.share(a.regret),
            words.share(a.gain),
            str(len(a.left)),
        ]
        for a in found.answers
    ]
    columns = ["question", "answer", "ratio to the baseline", "worse than the best by at most",
               "any gain over the baseline is at most", "candidates left"]  # fmt: skip
    return [Paragraph(words.basis(found)), Table(columns, rows)]


def table(found: Recommendation, question: Question) -> Table:
    """Set the candidates of a question in a table, those that are left first, and the lowest first among them."""
    numbers = sorted(
        (i for i, row in found.rows.items() if question in row.ratios),
        key=lambda i: (
            found.rows[i].standing[question] != "left",
            found.rows[i].ratios[question].value,
        ),
    )
    rows = []
    for number in numbers:
        row = found.rows[number]
        beaten = row.standing[question]
        rows.append(
            [
                row.estimator,
                str(row.batch_size),
                words.ratio(row.ratios[question]),
                words.seconds(row),
                words.peak(row),
                "left" if isinstance(beaten, str) else f"beaten by {found.name(beaten)}",
                f"{row.n:,}",
                f"{row.rounds:,}",
            ]
        )
    columns = [
        "estimator",
        "M",
        "ratio to the baseline",
        "time",
        "peak memory",
        "standing",
        "units",
        "rounds",
    ]
    return Table(columns, rows, words.question(question))


def _time(found: Recommendation) -> list[Block]:
    coming = [step for step in found.steps if not step.measured]
    rows = [
        [words.question(step.question), format_number(step.minutes, 2), str(step.left)]
        for step in coming
    ]
    blocks: list[Block] = []
    if found.steps and len(found.rows) > 1:
        blocks.append(
            Picture(
                "what-more-time-would-settle",
                "Candidates left, question by question. Dashed: a forecast, if the estimates stay as they are.",
                "Number of candidates left over minutes",
                partial(draw.left_over_time, found.steps),
            )
        )
    if coming:
        blocks.append(Table(["question", "minutes in all", "candidates left"], rows, "Forecast"))
    unknown = [
        words.question(a.question)
        for a in found.answers
        if a.verdict == "too close to call" and not any(s.question == a.question for s in coming)
    ]
    if unknown:
        blocks.append(Paragraph(f"No time is known to settle: {'; '.join(unknown)}."))
    if not blocks or not (coming or unknown):
        blocks.append(Paragraph("Nothing is open: more time would change no answer."))
    return blocks


def _suite(found: Recommendation, brief: bool) -> list[Block]:
    if not found.suite:
        return [
            Paragraph(
                "The problem was made in Python, and no file can name it. With a function that makes it, "
                "package.module:function, there is a suite here."
            )
        ]
    if brief:
        return [
            Paragraph(
                f"With --out DIR the folder has a recommend.yaml, and {found.command} measures the candidates again; "
                "--html, --markdown and --json show that file."
            )
        ]
    return [
        Paragraph(f"Save this as recommend.yaml, and run it: {found.command}"),
        Code(found.suite),
    ]
