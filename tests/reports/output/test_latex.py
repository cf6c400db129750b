from __future__ import annotations

import re

import pytest

from reports.document import Table
from reports.output.latex import NARROW, escape, factored, latex


def structure(text: str) -> list[str]:
    """Check that a float is whole and its rows are of one width; return its rows."""
    opened = re.findall(r"\\begin\{(\w+)\}", text)
    assert sorted(opened) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    assert opened[:2] == ["table", "tabular"]
    for rule in ("toprule", "midrule", "bottomrule", "caption{", "label{"):
        assert text.count(f"\\{rule}") == 1
    inside = re.sub(r"\\[{}%]", "", text)
    assert inside.count("{") == inside.count("}")
    spec = re.search(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", text)
    assert spec is not None
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r" \\")]
    assert rows
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(spec[1]) - 1, row
    return rows


def test_every_special_character_is_escaped() -> None:
    assert escape(r"a_b & 5 % $x$ #1 {y} ~ ^ \ ` <b> |") == (
        r"a\_b \& 5\,\% \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{} "
        r"\textasciigrave{} $<$b$>$ $|$"
    )


def test_formulas_are_joined_and_dollars_are_not() -> None:
    assert escape("σ² −∞ $²") == r"$\sigma ^2$ $-\infty $ \$$^2$"


def test_letters_that_latex_may_not_know_become_codes() -> None:
    assert escape("Schrödinger 日 ą \0x\ny") == "Schrödinger (U+65E5) (U+0105) (U+0000)x y"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("1.6e10 [1.1e10, 2.3e10] †", "1.6 [1.1, 2.3]e10 †"),
        ("−3e8 [−2.2e9, 1.6e9]", "−0.3 [−2.2, 1.6]e9"),
        ("5e−4 [−1.1e−3, 2.2e−3]", "0.5 [−1.1, 2.2]e−3"),
        ("980,000 [950,000, 1e6]", "0.980 [0.950, 1]e6"),
        ("117,000 [107,000, 127,000]", "117 [107, 127]e3"),
        ("1 [1e−9, 2e6]", "1 [1e−9, 2e6]"),
        ("38,000 [35,000, 41,000]", "38,000 [35,000, 41,000]"),
        ("100,000", "100,000"),
        ("0.5 [0.4, 0.6] ms", "0.5 [0.4, 0.6] ms"),
        ("local(a=1e10)", "local(a=1e10)"),
    ],
)
def test_one_power_of_ten_serves_a_figure_and_its_interval(text: str, short: str) -> None:
    assert factored(text) == short


def numbers(text: str) -> list[float]:
    """Read the numbers of a figure, with the power of ten behind its bracket."""
    head, _, power = text.partition("]e")
    scale = 10.0 ** int(power.replace("−", "-") or 0) if power else 1.0
    found = re.findall(r"−?[\d.,]*\d(?:e−?\d+)?", head)
    return [float(x.replace("−", "-").replace(",", "")) * scale for x in found]


@pytest.mark.parametrize(
    "text",
    ["4.1e8 [3.8e8, 4.5e8]", "2,000,000 [−100,000, 2,100,000]", "7e−6 [1.25e−4, 1.5e−3]"],
)
def test_a_power_of_ten_taken_out_changes_no_number(text: str) -> None:
    assert numbers(factored(text)) == pytest.approx(numbers(text), rel=1e-12)
    assert len(numbers(text)) == 3


def test_a_table_is_a_whole_float() -> None:
    rows = [
        ["fc1", "local_1", "1.2e−5 [1.1e−5, 1.3e−5] †"],
        ["fc1", "a & b", "0 (exact)"],
        ["all", "x", "–"],
    ]
    table = Table(
        ["layer", "estimator", "total 100 %"], rows, "A caption: α.", notes=("† bounded.",)
    )
    text = latex(table, "quick-x", blocks=1)
    said = structure(text)
    assert said[1] == r"fc1 & local\_1 & 1.2 [1.1, 1.3]$\times10^{-5}$$\,^\dagger $ \\"
    assert said[2] == r" & a \& b & 0 (exact) \\"  # the layer is said once
    assert text.count(r"\addlinespace") == 1
    assert r"\caption{A caption: $\alpha $.}" in text
    assert r"\label{tab:quick-x}" in text
    assert r"$^\dagger $ bounded." in text


def test_no_row_begins_with_what_the_row_before_would_take() -> None:
    rows = structure(latex(Table(["a"], [["[5pt]"], ["*"]], "c"), "x"))
    assert rows[1:] == [r"{}[5pt] \\", r"{}* \\"]


def test_type_shrinks_with_width_and_names_break_only_where_it_cannot() -> None:
    name = "score(baseline=leave-one-out, samples=4)"
    figures = ["12.34 [11.1, 13.5]"] * 6

    def size(columns: int) -> str:
        table = Table(["n"] * (columns + 1), [[name, *figures[:columns]]], "c")
        text = latex(table, "x")
        structure(text)
        return text

    assert r"\small" in size(1)
    assert r"\footnotesize" in size(2)
    assert r"\scriptsize" in size(3)
    assert r"\begin{tabular}[t]" not in size(3)
    assert r"score(baseline=leave-one-out, \\ samples=4)\end{tabular}" in size(4)
    assert len("score(baseline=leave-one-out,") > NARROW  # is broken between words alone


def test_long_headings_break_over_short_columns() -> None:
    rows = structure(latex(Table(["peak memory (MiB)"], [["1.5"]], "c"), "x"))
    assert rows[0] == r"\begin{tabular}[b]{@{}r@{}}peak \\ memory \\ (MiB)\end{tabular} \\"


def test_a_table_without_rows_is_whole_too() -> None:
    text = latex(Table(["a", "b"], [], "c"), "x")
    assert structure(text) == [r"a & b \\"]
