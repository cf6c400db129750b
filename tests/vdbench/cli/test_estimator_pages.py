"""Pages and formulas made from docstrings: complete, up to date, readable."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from vdbench.cli import catalogue, estimator_pages
from vdbench.cli.formulas import formula, plain
from vdbench.estimation import registry

FOLDER = Path(__file__).parents[3] / "docs" / "estimators"


def test_the_pages_are_what_the_docstrings_say() -> None:
    """A page that is missing, left over or older than its docstring: run ``make docs``."""
    made = estimator_pages.pages(estimator_pages.measured(FOLDER))
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    assert sorted(there) == sorted(made)
    old = [name for name, text in made.items() if there[name] != text]
    assert not old, f"run make docs: {old}"


def test_a_page_says_what_was_measured() -> None:
    plain, told = estimator_pages.page("local"), estimator_pages.page("local", "never.")
    assert "Measured" not in plain
    assert "**Measured** on [four problems](../results/estimators.md): never." in told


def test_pages_of_what_is_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("")
    written = estimator_pages.write(tmp_path)
    assert sorted(tmp_path.glob("*.md")) == written
    assert tmp_path / "local.md" in written


@pytest.mark.parametrize("name", registry.names())
def test_a_page_has_every_part(name: str) -> None:
    page = estimator_pages.page(name)
    for part in ("**Formula:** $", "**Claim:**", "**Cost:**", "**Source:**", "| objective class |"):
        assert part in page, part
    for option in catalogue.show(name)["options"]:
        assert option == "none" or f"| `{option.split('=')[0]}` |" in page
    assert "Attributes:" not in page
    assert "``" not in page.replace("```", "")


@pytest.mark.parametrize("name", registry.names())
def test_formulas_are_readable_in_a_terminal(name: str) -> None:
    about = inspect.getdoc(registry.find(name)) or ""
    shown = catalogue.text(catalogue.show(name))
    said = " ".join(plain(part) for part in re.findall(r"\$[^$]+\$", about))
    assert said
    assert not re.search(r"[\\{}$\0]", re.sub(r"[^{}]\{[^{}]*\}", "", said)), said
    assert plain(about) in shown


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac12[g(\varepsilon) + g(-\varepsilon)]", "½[g(ε) + g(−ε)]"),
        (r"\frac1S\sum_{s=1}^S g_s", "1/S Σₛ₌₁^S gₛ"),
        (r"\sqrt{x^2\sigma^2}\,\zeta", "√(x²σ²) ζ"),
        (r"\tfrac{M-1}{M}\mathrm{Cov}[L_i, L_j]", "(M−1)/M Cov[Lᵢ, Lⱼ]"),
        (r"(x_m \circ s_m)\,\Delta W", "(xₘ ∘ sₘ) ΔW"),
        (r"\tilde z = \varphi + \ln\frac u{1-u}", "z̃ = φ + ln u/(1−u)"),
        (r"E_q[\nabla\log q] = 0", "E_q[∇log q] = 0"),
        (r"\lVert n\rVert^{-3} \{a\}", "‖n‖⁻³ {a}"),
        (r"\unknown{x}", "\\unknownx"),
    ],
)
def test_latex_in_letters(latex: str, text: str) -> None:
    assert formula(latex) == text
