"""Contrasts: p-values and intervals agree, with textbook tests too, and the units named are enough."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vdbench import statistics
from vdbench.statistics import contrast, contrasts
from vdbench.statistics.proportions import at_least
from vdbench.statistics.sequential import student


def rows(seed: int, n: int, mean: float = 1.0) -> np.ndarray:
    return mean * np.random.default_rng(seed).gamma(2.0, 0.5, n)


@pytest.mark.parametrize("seed", range(4))
def test_p_values_are_those_of_the_intervals_and_no_smaller_than_textbook_ones(seed: int) -> None:
    a, b = rows(seed, 40, 1.8), rows(seed + 100, 40)
    p = contrasts.difference_of_means(a, b, shared=True).p()
    # intervals over seeds are longer than Student's, and end at 0 at this level
    assert p >= 0.98 * stats.ttest_rel(a, b).pvalue
    found = statistics.seed_mean(a - b, 1 - p)
    assert min(abs(found.low), abs(found.high)) < 0.02 * (found.high - found.low)
    welch = contrasts.difference_of_means(a, b[:25], shared=False)
    # degrees of freedom are rounded down: at most one less
    assert welch.p() == pytest.approx(stats.ttest_ind(a, b[:25], equal_var=False).pvalue, rel=0.1)


@pytest.mark.parametrize(
    "kind", ["means", "apart", "medians", "medians apart", "product", "ratios"]
)
def test_a_p_value_is_where_the_interval_begins_to_exclude_no_difference(kind: str) -> None:
    a, b = rows(1, 60, 1.7), rows(2, 60)
    made = {
        "means": lambda: contrasts.ratio_of_means(a, b, contrasts.one_look),
        "apart": lambda: contrasts.ratio_of_independent_means(a, b, (contrasts.one_look,) * 2),
        "medians": lambda: contrasts.ratio_of_medians(a, b, True),
        "medians apart": lambda: contrasts.ratio_of_medians(a, b, False),
        "product": lambda: contrasts.product(
            contrasts.ratio_of_means(a, b, contrasts.one_look),
            contrasts.ratio_of_medians(a, b, True),
        ),
        "ratios": lambda: contrasts.difference_of_ratios((a, b), (b, b), True),
    }[kind]()
    p = made.p()
    assert 0 < p < 1
    wide, narrow = made.at(p / 1.3), made.at(min(0.999, p * 1.3))
    assert wide.low <= made.null <= wide.high
    assert not narrow.low < made.null < narrow.high


def test_the_order_of_the_two_does_not_matter() -> None:
    a, b = rows(3, 50, 1.1), rows(4, 50)
    for make in (
        lambda x, y: contrasts.ratio_of_means(x, y, contrasts.one_look),
        lambda x, y: contrasts.ratio_of_independent_means(x, y, (contrasts.one_look,) * 2),
        lambda x, y: contrasts.ratio_of_medians(x, y, True),
    ):
        one, other = make(a, b), make(b, a)
        assert one.p() == pytest.approx(other.p(), rel=1e-6)
        assert one.needed(0.01, 0.05) == other.needed(0.01, 0.05)
        there, back = one.at(0.05), other.at(0.05)
        assert (there.low, there.high) == pytest.approx((1 / back.high, 1 / back.low))


def test_what_is_equal_zero_or_too_few_gives_no_false_certainty() -> None:
    a = rows(5, 20)
    assert contrasts.ratio_of_means(a, a, contrasts.one_look).identical
    few = contrasts.ratio_of_medians(a[:5], 3 * a[:5], True)
    assert 2 * 0.5**5 <= few.p() < 0.08  # five of five rounds, two-sided
    assert few.needed(0.05, 0.05) is None
    assert np.isnan(contrasts.difference_of_ratios((a, a - a.mean()), (a, a), True).at(0.05).value)
    assert contrasts.difference_of_means([1.0], [2.0], False).p() == 1.0
    assert contrasts.difference_of_means([1.0, 2.0], [1.0, 2.5], True).needed(0.05, 0.1) is None
    wild = contrasts.difference_of_means(100 * a, a[::-1], True)
    assert wild.needed(0.05, 1e-3) is None


@pytest.mark.parametrize("shared", [True, False])
def test_the_units_named_make_the_interval_half_the_tolerance(shared: bool) -> None:
    """With a chance of 95 % at least; 400 samples fall below 370 with probability 1e-4 where it is 95 %."""
    generator = np.random.default_rng(7)
    enough = 0
    for _ in range(400):
        a, b = generator.gamma(2.0, 0.5, (2, 64))
        if shared:
            made = contrasts.ratio_of_means(a, b, contrasts.one_look)
        else:
            made = contrasts.ratio_of_independent_means(a, b, (contrasts.one_look,) * 2)
        needed = made.needed(0.01, 0.05)
        assert needed is not None
        # of gamma(2), the squared coefficient of variation is 1/2; both add to 1
        half = student(contrasts.one_look(0.01), needed["units"]) / needed["units"] ** 0.5
        enough += half <= np.log1p(0.05) / 2
    p = at_least(enough, 400, contrast.SURE)
    assert p > 1e-4, f"{enough} of 400 numbers of units were enough (p = {p:.2g})"


def test_figures_that_happen_to_be_equal_are_not_known_to_be() -> None:
    """Errors of three seeds are counted in examples: that they agree says nothing of the next seed."""
    a = [2.5, 2.5, 3.0]
    chance = contrasts.difference_of_means(a, a)
    assert (chance.p(), chance.needed(0.05, 1.0)) == (1.0, None)
    assert np.isinf([chance.at(0.05).low, chance.at(0.05).high]).all()
    assert contrasts.difference_of_means(a, a, identical=True).identical
    apart = contrasts.difference_of_means([2.5, 2.5], [2.5, 2.5, 2.5], shared=False)
    assert np.isinf(apart.at(0.5).high)


def test_a_coarse_count_widens_a_ratio_for_good() -> None:
    a, b = [3e6] * 6, [2e6] * 6
    made = contrasts.ratio_of_independent_means(a, b, (contrasts.one_look,) * 2)
    sure = contrasts.widened(made, 0.01).at(0.05)
    assert (sure.low, sure.high) == pytest.approx((1.5 / 1.01, 1.5 * 1.01))
    coarse = contrasts.widened(made, 1.0)
    assert (coarse.p(), coarse.needed(0.05, 0.05)) == (1.0, None)
