"""Figures become verdicts that hold together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vdbench.comparison.judging import judged
from vdbench.comparison.rows import Candidate, Comparison, Where
from vdbench.statistics import Estimate
from vdbench.statistics.contrast import Contrast
from vdbench.statistics.contrasts import (
    difference_of_means,
    one_look,
    ratio_of_means,
)

WHERE = Where("p", "initial", 16, "local", "local")


def ends(low: float, high: float, ratio: bool = True) -> Contrast:
    """A contrast with the same interval at every level."""
    middle = math.sqrt(low * high) if ratio else (low + high) / 2
    return Contrast(ratio, lambda alpha: Estimate(middle, low, high, 50))


def verdict(low: float, high: float, metric: str = "variance.total", **more: object) -> str:
    measure = "convergence" if "convergence" in metric else "variance"
    contrast = ends(low, high, measure == "variance")
    made = Candidate(WHERE, measure, metric, contrast, (1.0, 1.0), "1", **more)  # type: ignore[arg-type]
    (row,), _ = judged([made], 0.95, 0.05)
    return row.verdict


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1.01, 1.02, "WORSE"),  # sure, though small
        (0.9, 0.99, "BETTER"),
        (0.97, 1.04, "SAME"),
        (1 / 1.05, 1.05, "SAME"),
        (0.94, 1.04, "INCONCLUSIVE"),
        (0.97, 1.06, "INCONCLUSIVE"),
        (0.0, math.inf, "INCONCLUSIVE"),
    ],
)
def test_the_table_of_verdicts(low: float, high: float, said: str) -> None:
    assert verdict(low, high) == said


def test_more_of_an_elbo_is_better() -> None:
    metric = "convergence.final_elbo"
    assert verdict(1.0, 2.0, metric) == "BETTER"
    assert verdict(-2.0, -1.0, metric) == "WORSE"
    assert verdict(-2.0, 1.0, metric, margin=lambda t: 100 * t) == "SAME"
    assert verdict(-2.0, 1.0, metric, margin=lambda t: 10 * t) == "INCONCLUSIVE"


def test_what_rounding_can_do_is_no_difference() -> None:
    assert verdict(1.00001, 1.00002, rounding=1e-4) == "SAME"
    assert verdict(1.00001, 1.00002) == "WORSE"
    assert verdict(1.00001, 1.0002, rounding=1e-4) == "WORSE"


def test_one_family_at_one_level_without_what_is_the_same_number() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.gamma(2.0, 1.0, (2, 100))

    def candidate(new: np.ndarray) -> Candidate:
        contrast = ratio_of_means(new, a, one_look)
        return Candidate(WHERE, "variance", "variance.total", contrast, (1.0, 1.0), "1")

    none = Candidate(
        WHERE, "throughput", "time.seconds_per_gradient", None, (1.0, 1.0), "s", why="no"
    )
    rows, family = judged([candidate(b)] * 3 + [candidate(a), none], 0.95, 0.05)
    assert family == 3
    known = ratio_of_means(b, a, one_look)
    assert (rows[0].low, rows[0].high) == pytest.approx(
        (known.at(0.05 / 3).low, known.at(0.05 / 3).high)
    )
    assert rows[0].p == pytest.approx(min(1.0, 3 * known.p()))
    assert [row.why for row in rows if row.verdict == "INCONCLUSIVE"][-1] == "no"


def test_a_number_is_proposed_where_it_is_inconclusive_and_only_there() -> None:
    a, b = np.random.default_rng(1).gamma(2.0, 1.0, (2, 30))
    made = Candidate(
        WHERE, "variance", "variance.total", ratio_of_means(a, b, one_look), (1.0, 1.0), "1"
    )
    seeds = Candidate(
        WHERE, "convergence", "test.error", difference_of_means(a[:2], b[:2]), (1.0, 1.0), "percent",
        margin=lambda t: 2 * t,
    )  # fmt: skip
    rows, family = judged([made, seeds], 0.95, 0.05)
    assert set(rows[0].needed) == {"measures.variance.first_units", "measures.variance.max_units"}
    assert not rows[1].needed
    assert "no number up to" in rows[1].why
    found = Comparison("a", "b", 0.95, 0.05, family, rows, [])
    assert found.needed == rows[0].needed
    sure = Candidate(WHERE, "variance", "variance.total", ends(2, 3), (1.0, 1.0), "1")
    (clear,), _ = judged([sure], 0.95, 0.05)
    assert not clear.needed
