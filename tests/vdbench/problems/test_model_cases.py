"""The page of small models and data sets says what becomes of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from further_misfits import FURTHER
from misfits import MISFITS

DOCS = Path(__file__).parents[3] / "docs"
sys.path.append(str(DOCS))

from model_cases import outcome  # noqa: E402

MEASURED_FIGURES = {"a likelihood that weighs by detached probabilities"}
"""Sentences with figures of this machine's."""


CASES = MISFITS | FURTHER


@pytest.mark.parametrize("case", CASES)
def test_what_becomes_of_a_case_is_what_the_page_says(case: str) -> None:
    lines = (DOCS / "model-cases.md").read_text(encoding="utf-8").splitlines()
    (said,) = (line for line in lines if line.startswith(f"| {case} |"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = outcome(CASES[case])
    text = said.removeprefix(f"| {case} | ").removesuffix(" |").replace("\\|", "|")
    if case in MEASURED_FIGURES:
        text, found = (t.partition(" changes by ")[0] for t in (text, found))
    assert found == text
