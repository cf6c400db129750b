"""Whether rounding matters: the rule, and how the report tells it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.results.estimate import Estimate
from reports.results.rounding import MATTERS, NOT, OPEN, Case

Row = dict[str, Any]
Interval = tuple[float, float, float]
INF = math.inf
SURE: Interval = (1.0, 0.99, 1.01)


def case(variance: Interval, bias: Interval, error: Interval) -> Case:
    estimates = (Estimate(*interval) for interval in (variance, bias, error))
    return Case("run", ("p", "initial", 32), "tf32", "local", "mean", *estimates)


@pytest.mark.parametrize(
    ("variance", "bias", "error", "verdict"),
    [
        (SURE, (0.01, 0.0, 0.02), (0.2, 0.1, 0.3), NOT),
        (SURE, (0.01, 0.0, INF), (0.01, 0.005, 0.02), NOT),  # the bias is no more than the error
        (SURE, (math.nan,) * 3, (0.01, 0.005, 0.02), NOT),
        (SURE, (0.01, 0.0, INF), (0.2, 0.1, 0.3), OPEN),
        (SURE, (0.04, 0.03, 0.06), (0.2, 0.1, 0.3), OPEN),
        (SURE, (0.07, 0.06, 0.08), (0.2, 0.1, 0.3), MATTERS),
        ((1.2, 1.1, 1.3), (0.0, 0.0, 0.01), (0.2, 0.1, 0.3), MATTERS),
        ((0.8, 0.7, 0.9), (0.0, 0.0, 0.01), (0.2, 0.1, 0.3), MATTERS),
        ((1.04, 1.0, 1.08), (0.0, 0.0, 0.01), (0.01, 0.005, 0.02), OPEN),
        ((1.0, 0.0, INF), (0.0, 0.0, 0.01), (0.01, 0.005, 0.02), OPEN),
        ((math.nan,) * 3, (math.nan,) * 3, (math.nan,) * 3, OPEN),
    ],
)
def test_the_rule(variance: Interval, bias: Interval, error: Interval, verdict: str) -> None:
    assert case(variance, bias, error).verdict == verdict


def rows(figure: Callable[..., Row], precision: str, variance: Interval, **more: Any) -> list[Row]:
    of = {"variance": variance, "bias": (0.01, 0.0, 0.02), "error": (0.2, 0.1, 0.3)}
    return [
        figure("local", f"{kind}rounding.{name}", *interval, **{
            "precision": precision, "role": "mean", "unit": "1", "status": "ok", **more,
        })
        for name, interval in of.items() for kind in ("", "adjusted.")
    ]  # fmt: skip


def test_the_report_answers_with_the_precision_that_matters_most(
    make_run: Callable[..., Path], report: Callable[..., str], figure: Callable[..., Row]
) -> None:
    found = rows(figure, "tf32", SURE) + rows(figure, "bf16", (1.5, 1.4, 1.6))
    found += rows(figure, "bf16", SURE, role="scale")
    said = report(make_run(found))
    assert (
        "**bf16: rounding matters in 1 of 2 cases (mean at digits-mlp: local), does not in 1. tf32: rounding does "
        in said
    )
    assert "in any of 1 cases (variance within ±1 %)" in said
    assert "| bf16 | local | matters at digits-mlp | does not matter at any of 1 |" in said
    assert "Nothing was measured that estimators can be compared by" not in said
    assert "The run has no rows to report on" not in said


def test_a_run_that_measured_variance_too_is_answered_by_that(
    make_run: Callable[..., Path],
    report: Callable[..., str],
    figure: Callable[..., Row],
    first_rows: list[Row],
) -> None:
    without = report(make_run(first_rows, "without"))
    said = report(make_run(first_rows + rows(figure, "bf16", SURE), "with"))
    assert "## Rounding of products" in said
    assert said.count("· bf16") == without.count("· bf16") == 0
    start = "## Results by place"
    assert said.partition(start)[2][:500] == without.partition(start)[2][:500]
