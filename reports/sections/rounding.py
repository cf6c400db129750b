"""Whether the precision of products matters: a verdict for each precision and estimator, and all figures."""

from __future__ import annotations

from reports.document import Block, Paragraph, Table
from reports.results.load import Results
from reports.results.rounding import LIMIT, MATTERS, NOT, OPEN, Case, cases, counted
from reports.sections.section import Findings
from reports.sections.table_parts import BOUNDED, drop_empty
from reports.words.glossary import parameters, role_name
from reports.words.numbers import percent, show

EXPLAINED = (
    "Every draw was taken in float64 and, with the same numbers, in other precisions: tf32 and bf16 round the inputs "
    "of matrix products as tensor cores do. Variance ratio: noise variance with rounding over that without. Bias: the "
    "mean error, relative to the length of the mean gradient; it has no upper end where the mean gradient cannot be "
    "distinguished from zero. Error: the root mean square error of one draw, relative to the standard deviation of its "
    f"noise. Rounding matters where the variance changes, or the bias is, by more than {percent(LIMIT)}; it does not "
    f"where the variance changes by less and the bias, or the error, is below {percent(LIMIT)}; all of the interval "
    "has to be on that side."
)


MOST = 3
"""Kinds of parameters and problems that a sentence names."""


class Rounding:
    """Verdicts and figures of the measure ``rounding``."""

    anchor = "rounding"
    title = "Rounding of products"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section: nothing where no run measured it."""
        every = cases(found.results.frame)
        if not every:
            return []
        said = Paragraph("", lead=" ".join(sentences(found.results)))
        return [said, Paragraph(EXPLAINED), short(every), full(every)]


def sentences(results: Results) -> list[str]:
    """Answer for each precision in a sentence, that in which rounding matters most first."""
    every = cases(results.frame)
    by = {
        p: [c for c in every if c.precision == p] for p in dict.fromkeys(c.precision for c in every)
    }
    coarsest = sorted(by, key=lambda p: (-counted(by[p])[MATTERS], counted(by[p])[NOT]))
    return [sentence(p, by[p]) for p in coarsest]


def sentence(precision: str, mine: list[Case]) -> str:
    """Count the verdicts of a precision, and say by how much at most it changes a variance where it matters to none."""
    found = counted(mine)
    if found[NOT] == len(mine):
        change = max(max(c.variance.high - 1, 1 - c.variance.low) for c in mine)
        within = f"variance within ±{100 * change:.2g} %"
        return f"{precision}: rounding does not matter in any of {len(mine)} cases ({within})."
    where = which([c for c in mine if c.verdict == MATTERS])
    said = [f"matters in {found[MATTERS]} of {len(mine)} cases{where}", f"does not in {found[NOT]}"]
    said += [f"is inconclusive in {found[OPEN]}"] if found[OPEN] else []
    return f"{precision}: rounding {', '.join(said)}."


def which(some: list[Case]) -> str:
    """Name cases in brackets, by kind of parameter and problem; '' where they are none or many."""
    by: dict[str, list[str]] = {}
    for case in some:
        by.setdefault(f"{role_name(case.role)} at {case.place[0]}", []).append(case.label)
    said = "; ".join(f"{where}: {', '.join(labels)}" for where, labels in by.items())
    return f" ({said})" if 0 < len(by) <= MOST else ""


def place_name(case: Case) -> str:
    """Name a place."""
    problem, checkpoint, size = case.place
    return f"{problem} · {checkpoint} · M = {size:,}"


def short(every: list[Case]) -> Table:
    """Build the table of verdicts: a precision and an estimator a row, a kind of parameter a column."""
    roles = list(dict.fromkeys(c.role for c in every))
    rows = []
    for precision, label in dict.fromkeys((c.precision, c.label) for c in every):
        mine = [c for c in every if (c.precision, c.label) == (precision, label)]
        rows.append([precision, label, *(told([c for c in mine if c.role == r]) for r in roles)])
    caption = (
        "Whether rounding matters, over all layers together. Places are named where it does or may."
    )
    return drop_empty(Table(["precision", "estimator", *map(parameters, roles)], rows, caption))


def told(mine: list[Case]) -> str:
    """Say of a precision, an estimator and a kind of parameter where rounding matters."""
    parts = []
    for verdict in (MATTERS, OPEN):
        names = [case.place[0] for case in mine if case.verdict == verdict]
        parts += [f"{verdict} at {', '.join(dict.fromkeys(names))}"] if names else []
    return "; ".join(parts) or f"{NOT} at any of {len(mine)}"


def full(every: list[Case]) -> Table:
    """Build the table of all figures."""
    rows = [
        [
            place_name(c),
            c.precision,
            c.label,
            role_name(c.role),
            show(c.variance, 1),
            show(c.bias),
            show(c.error),
            c.verdict,
        ]
        for c in every
    ]
    level = min(c.variance.level for c in every)
    caption = (
        "Rounding by place, over all layers; intervals hold together for all cases "
        f"(each at {100 * level:.6g} %)."
    )
    columns = ["place", "precision", "estimator", "parameter"]
    columns += ["variance ratio", "bias", "error", "verdict"]
    marks = (BOUNDED,) if any("†" in cell for row in rows for cell in row) else ()
    return Table(columns, rows, caption, folded=len(rows) > 12, notes=marks)
