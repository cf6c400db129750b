"""The one table of verdicts, on ratios and on differences."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdbench.statistics.verdicts import (
    Verdict,
    adjusted_level,
    difference_verdict,
    judge_difference,
    judge_ratio,
    ratio_verdict,
)

LOWER, HIGHER, EQUIVALENT, INCONCLUSIVE = Verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.5, 0.9, LOWER),
        (0.99, 0.999, LOWER),  # sure, though small
        (1.1, 1.2, HIGHER),
        (0.96, 1.04, EQUIVALENT),
        (1.0, 1.0, EQUIVALENT),
        (0.9, 1.0, INCONCLUSIVE),  # an end at 1 is not below 1
        (0.94, 1.04, INCONCLUSIVE),
        (0.96, 1.06, INCONCLUSIVE),
        (math.nan, math.nan, INCONCLUSIVE),
        (0.0, math.inf, INCONCLUSIVE),
    ],
)
def test_ratios(low: float, high: float, verdict: Verdict) -> None:
    assert ratio_verdict(low, high, 0.05) is verdict


def test_differences_are_equivalent_only_within_a_tolerance_that_is_given() -> None:
    assert difference_verdict(-2, -1) is LOWER
    assert difference_verdict(1, 2) is HIGHER
    assert difference_verdict(-0.1, 0.1) is INCONCLUSIVE
    assert difference_verdict(-0.1, 0.1, 0.1) is EQUIVALENT
    assert difference_verdict(-0.1, 0.2, 0.1) is INCONCLUSIVE
    assert ratio_verdict(1.0, 1.0, 0) is INCONCLUSIVE


@given(low=st.floats(0.01, 100), factor=st.floats(1, 10))
def test_the_other_way_round_is_the_opposite(low: float, factor: float) -> None:
    high = low * factor
    if 1 not in (low, high) and not math.isclose(low, 1 / 1.05) and not math.isclose(high, 1.05):
        assert ratio_verdict(1 / high, 1 / low) is ratio_verdict(low, high).opposite


def test_an_interval_is_widened_to_the_level_over_all_comparisons() -> None:
    found = judge_ratio((0.5, 0.4, 0.9), own=0.95, level=0.95, comparisons=10)
    z = NormalDist().inv_cdf
    factor = z(1 - 0.05 / 20) / z(0.975)
    assert found.widened
    assert found.level == pytest.approx(0.995) == pytest.approx(adjusted_level(0.95, 10))
    assert math.log(found.high / 0.5) == pytest.approx(factor * math.log(0.9 / 0.5))
    assert found.high > 0.9
    plain = judge_difference((-1.0, -1.9, -0.1), own=0.95, level=0.95, comparisons=10)
    assert plain.high == pytest.approx(-1 + 0.9 * factor)
    assert plain.verdict is INCONCLUSIVE
    assert judge_difference((-1.0, -1.9, -0.1), 0.95, 0.95).verdict is LOWER


@pytest.mark.parametrize("interval", [(0.0, 0.0, 0.0), (1.0, 0.5, math.inf), (math.nan,) * 3])
def test_what_cannot_be_widened_is_left(interval: tuple[float, float, float]) -> None:
    found = judge_ratio(interval, own=0.9, level=0.99)
    assert not found.widened
    assert found.level == 0.9
    assert judge_ratio((0.5, 0.4, 0.9), own=0.999, level=0.99).high == 0.9


def test_words() -> None:
    assert [v.words(0.1) for v in Verdict] == [
        "significantly lower", "significantly higher", "equivalent within ±10 %", "inconclusive",
    ]  # fmt: skip
    assert [v.compared() for v in Verdict] == ["BETTER", "WORSE", "SAME", "INCONCLUSIVE"]
    assert LOWER.compared(less_is_better=False) == "WORSE"
