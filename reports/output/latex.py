"""A table as LaTeX: a complete float with booktabs rules, to be put into a paper as it is."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from dataclasses import replace

from reports.document import Table
from reports.output.html import is_figure
from reports.words.numbers import MINUS

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}", '"': "''", "–": "--", "—": "---", "…": r"\ldots{}",
    "‘": "`", "’": "'", "“": "``", "”": "''",
}  # fmt: skip
"""What characters of text are in LaTeX."""
MATH = {
    "<": "<", ">": ">", "|": "|", "−": "-", "×": r"\times", "·": r"\cdot", "∞": r"\infty",
    "≤": r"\leq", "≥": r"\geq", "≈": r"\approx", "±": r"\pm", "√": r"\surd", "²": "^2",
    "†": r"^\dagger", "‡": r"^\ddagger", "α": r"\alpha", "θ": r"\theta", "μ": r"\mu",
    "µ": r"\mu", "σ": r"\sigma",
}  # fmt: skip
"""What characters of formulas are in LaTeX."""
MARKS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
"""The accents that every LaTeX has; and letters that it has beside those."""
LETTERS = "ßæøœÆØŒ"
FENCE = "\0"
"""Stands for the dollar sign of a formula until all is escaped; never in text."""
SIZES = ((77, r"\small"), (91, r"\footnotesize"), (106, r"\scriptsize"))
"""Characters in a line of text 5.5 in wide, and the size of type that this takes."""
NUMBER = r"(−?[\d.,]*\d)(?:e(−?\d+))?"
THOUSANDS = r",000(?![\de]|,\d)"
MOST_APART = 3
"""Powers of ten between the ends of an interval up to which one power is written for both."""
NARROW = 24
"""To how many letters names are broken where a table is too wide for the smallest type."""


def latex(table: Table, label: str, blocks: int = 0) -> str:
    """Write a table as a LaTeX float.

    Args:
        table: The table; its notes go below it.
        label: What the text refers to it by, after ``tab:``.
        blocks: How many leading columns are said once for the rows that share them.

    Returns:
        A complete ``table`` environment; it needs the package ``booktabs``.
    """
    table = replace(table, rows=[[factored(x) for x in row] for row in table.rows])
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    spec = "".join("r" if any(map(is_figure, cells)) else "l" for cells in columns)
    longest = [max(map(length, cells), default=0) for cells in columns]
    heads = [wrap(name, max(9, most)) for name, most in zip(table.columns, longest, strict=True)]
    size, width = fit(heads, longest)
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            r"\setlength{\belowcaptionskip}{4pt}",
            rf"\caption{{{escape(table.caption)}}}",
            rf"\label{{tab:{label}}}",
            size,
            rf"\setlength{{\tabcolsep}}{{{3 if size == SIZES[-1][1] else 4}pt}}",
            rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
            r"\toprule",
            line([stack(head, "b", side) for head, side in zip(heads, spec, strict=True)]),
            r"\midrule",
            *body(table, blocks, width),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\smallskip{{\footnotesize {escape(note)}\par}}" for note in table.notes),
            r"\end{table}",
            "",
        ]
    )


def fit(heads: list[list[str]], longest: list[int]) -> tuple[str, int]:
    """Return the size of type at which a table is no wider than the text, and the width of names.

    Names are broken, and so no longer count in full, only where the smallest type is too large.
    """
    widths = [max([most, *map(len, head)]) for head, most in zip(heads, longest, strict=True)]
    for width in (max(widths), NARROW):
        total = sum(min(x, width) for x in widths) + 1.5 * (len(widths) - 1)
        found = next((name for most, name in SIZES if total <= most), "")
        if found:
            return found, width
    return SIZES[-1][1], NARROW


def length(text: str) -> int:
    """Return how many letters a cell is as wide as; a power of ten is wider than it is written."""
    return len(text) + (3 if is_figure(text) and re.search(r"e−?\d", text) else 0)


def wrap(text: str, width: int) -> list[str]:
    """Break text into lines of a width, between words."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def stack(lines: list[str], place: str, side: str = "l") -> str:
    """Set lines above each other in one cell; one alone as it is."""
    said = [cell(text) for text in lines]
    if len(said) == 1:
        return said[0]
    inside = r" \\ ".join(said)
    return rf"\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{inside}\end{{tabular}}"


def body(table: Table, blocks: int, width: int) -> list[str]:
    """Write the rows, a little space before each new block."""
    lines: list[str] = []
    last: list[str] = []
    spaced = len({tuple(row[:blocks]) for row in table.rows}) < len(table.rows)
    for row in table.rows:
        head = row[:blocks]
        if spaced and last and head != last:
            lines.append(r"\addlinespace")
        said = [
            "" if i < blocks and last[: i + 1] == row[: i + 1] else x for i, x in enumerate(row)
        ]
        lines.append(line([cell(x) if is_figure(x) else stack(wrap(x, width), "t") for x in said]))
        last = head
    return lines


def line(cells: list[str]) -> str:
    r"""Join the cells of a row; what begins with ``[`` or ``*`` is not for the ``\\`` before it."""
    text = " & ".join(cells)
    return ("{}" if text[:1] in ("[", "*") else "") + text + r" \\"


def cell(text: str) -> str:
    """Write a cell: powers of ten as such, where it is a figure."""
    close = "$^" if not re.search(r"e−?\d+ ", text) else r"$\,^"  # marks, not powers
    said = escape(text).replace(" $^", close)
    if not is_figure(text):
        return said
    return re.sub(r"([\d\]])e(\$-\$)?(\d+)",
                  lambda hit: rf"{hit[1]}$\times10^{{{'-' if hit[2] else ''}{hit[3]}}}$",
                  said)  # fmt: skip


def factored(text: str) -> str:
    """Write a figure and its interval with one power of ten behind both: ``1.6 [1.1, 2.3]e10``.

    Left as they are where there is none, or where the ends are too far apart for one.
    """
    found = re.findall(NUMBER, text)
    whole = [digits for digits, power in found if not power] if "[" in text else []
    if any(len(x) > 6 for x in whole) and all(x.endswith(",000") for x in whole):
        text = re.sub(THOUSANDS, "e3", text)
        found = re.findall(NUMBER, text)
    powers = [int((power or "0").replace(MINUS, "-")) for _, power in found]
    if not is_figure(text) or not any(powers) or max(powers) - min(powers) > MOST_APART:
        return text
    most = max(powers)
    told = iter(zip(found, powers, strict=True))

    def mantissa(_: re.Match[str]) -> str:
        (digits, _), power = next(told)
        places = len(digits.partition(".")[2]) + most - power
        value = float(digits.replace(",", "").replace(MINUS, "-")) * 10.0 ** (power - most)
        return f"{value:,.{places}f}".replace("-", MINUS)

    said, dagger, mark = re.sub(NUMBER, mantissa, text).partition(" †")
    return f"{said}e{most}{dagger}{mark}".replace("-", MINUS)


def escape(text: str) -> str:
    """Make any text safe in LaTeX, on one line; a character that LaTeX may not know by its code."""
    said = "".join(SPECIAL.get(x) or formula(x) or known(x) for x in " ".join(text.split()))
    said = said.replace(FENCE * 2, "").replace(FENCE, "$")
    return re.sub(r"(\d) \\%", r"\1\\,\\%", said)


def formula(character: str) -> str:
    """Return a character of formulas between fences, or nothing."""
    said = MATH.get(character, "")
    return f"{FENCE}{said}{' ' * said[-1].isalpha()}{FENCE}" if said else ""


def known(character: str) -> str:
    """Return a character that every LaTeX knows, or the code of another."""
    base = unicodedata.normalize("NFD", character)
    plain = " " <= base[0] <= "~" and all(mark in MARKS for mark in base[1:])
    return character if plain or character in LETTERS else f"(U+{ord(character):04X})"
