"""Shares, their intervals and tests, against scipy's own and against enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from vdbench.statistics.proportions import at_least, at_most, holm, share

COUNTS = [(0, 1), (1, 1), (0, 20), (20, 20), (3, 7), (1900, 2000), (1, 5000)]


@pytest.mark.parametrize(("count", "n"), COUNTS)
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_interval_is_clopper_and_pearsons(count: int, n: int, level: float) -> None:
    found = share(count, n, level)
    expected = binomtest(count, n).proportion_ci(level, "exact")
    assert (found.value, found.n) == (count / n, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_the_interval_holds_whatever_the_share() -> None:
    """Exactly, by enumeration: the probability of all counts whose interval holds p."""
    n, level = 30, 0.9
    intervals = [share(count, n, level) for count in range(n + 1)]
    for p in np.linspace(0, 1, 101):
        held = [e.low - 1e-12 <= p <= e.high + 1e-12 for e in intervals]
        assert binom.pmf(np.arange(n + 1), n, p)[held].sum() >= level - 1e-12, p


@pytest.mark.parametrize(("count", "n"), COUNTS)
@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
def test_p_values_are_the_binomials(count: int, n: int, p: float) -> None:
    less = binomtest(count, n, p, alternative="less").pvalue
    greater = binomtest(count, n, p, alternative="greater").pvalue
    assert at_least(count, n, p) == pytest.approx(less, rel=1e-9, abs=1e-300)
    assert at_most(count, n, p) == pytest.approx(greater, rel=1e-9, abs=1e-300)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.01]) == pytest.approx([0.02, 0.02])
    assert holm([0.01, 0.3], families=10) == pytest.approx([0.2, 1.0])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_family_wise_rate() -> None:
    """Of families in which nothing is wrong, a hundredth is called wrong: also where tests depend on each other."""
    rng, families, count = np.random.default_rng(1979), 4000, 20
    common = rng.random((families, 1))
    for values in (rng.random((families, count)), (common + rng.random((families, count))) % 1):
        wrong = sum(min(holm(list(row))) <= 0.05 for row in values)
        p = binomtest(wrong, families, 0.05, alternative="greater").pvalue
        assert p > 1e-4, f"{wrong} of {families} families, p = {p:.2g}"


@pytest.mark.parametrize(("count", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_what_is_no_count_is_refused(count: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected a count"):
        share(count, n, 0.95)
    with pytest.raises(ValueError, match="expected a count"):
        at_least(count, n, 0.5)


def test_a_level_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="level must lie"):
        share(1, 2, 1.0)
