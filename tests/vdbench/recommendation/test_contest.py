"""Candidates drawn from known laws: who is eliminated, and how often wrongly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from vdbench.recommendation.contest import BYTES, SECONDS, Contest, Plan, Question, Taken
from vdbench.recommendation.forecast import ahead
from vdbench.statistics.proportions import at_most

TIME, SIZE = Question(SECONDS, "mean"), Question(BYTES, "mean")


def taken(
    rng: np.random.Generator,
    units: int,
    variance: float,
    seconds: float,
    size: int = 32,
    rounds: int = 60,
) -> Taken:
    """Skewed rows of a known mean, and noisy times of a known median."""
    rows = variance * rng.gamma(2.0, 0.5, units)
    times = seconds * np.exp(0.1 * rng.standard_normal(rounds))
    return Taken(size, {"mean": rows}, times, [2**24] * 3, 2**18)


def contest(
    each: Sequence[Taken], plan: Plan, error: float = 0.05, zone: float = 0.05, *questions: Question
) -> Contest:
    return Contest(plan, dict(enumerate(each)), questions or (TIME,), error, zone, len(each))


def until(each: Sequence[Taken], plan: Plan, number: int) -> list[Taken]:
    """What there is at a look."""
    n, r = plan.looks[number], plan.rounds[number]
    return [Taken(t.batch_size, {"mean": t.rows["mean"][:n]}, t.seconds[:r]) for t in each]


def run(each: Sequence[Taken], plan: Plan, error: float, zone: float = 0.05) -> Contest:
    """A whole contest: looks one after the other, as long as something is open."""
    found = contest(until(each, plan, 0), plan, error, zone)
    for number in range(len(plan.looks)):
        found.taken.update(enumerate(until(each, plan, number)))
        found.look()
        if not found.open:
            break
    return found


def test_equal_candidates_are_eliminated_no_more_often_than_the_error_rate() -> None:
    plan, error, runs = Plan.of(64, 64, 512, 24), 0.2, 300
    wrong = 0
    for seed in range(runs):
        rng = np.random.default_rng((1, seed))
        each = [taken(rng, plan.looks[-1], 1, 1, rounds=plan.rounds[-1]) for _ in range(2)]
        wrong += len(run(each, plan, error, zone=0.0).left[TIME]) < 2
    assert at_most(wrong, runs, error) > 1e-4, f"{wrong} of {runs} at an error rate of {error}"


def test_the_best_stays_and_a_planted_difference_is_found() -> None:
    plan = Plan.of(64, 64, 2048, 24)
    for seed in range(12):
        rng = np.random.default_rng((2, seed))
        truth = [(1, 1), (0.5, 1.2), (1, 0.55), (3, 1)]  # 1, 0.6, 0.55, 3
        each = [taken(rng, plan.looks[-1], v, s, rounds=plan.rounds[-1]) for v, s in truth]
        found = run(each, plan, 0.05)
        assert 2 in found.left[TIME]
        assert not {0, 3} & set(found.left[TIME])
        assert all(best in (1, 2) for best, _ in list(found.beaten[TIME].values())[-1:])


def test_the_zone_settles_what_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    plan = Plan.of(64, 64, 65_536, 24)
    n = plan.looks[-1]
    each = [taken(rng, n, 1, 1, rounds=plan.rounds[-1]) for _ in range(2)]
    found = contest(each, plan, zone=0.2)
    found.look()
    assert found.settled(TIME)
    assert 0 <= found.regret(TIME) <= 0.2
    assert not found.active
    tight = contest(each, plan, zone=0.0)
    assert tight.open == [TIME]
    assert tight.active == [0, 1]


def test_units_are_paired_at_one_minibatch_size_alone() -> None:
    rng = np.random.default_rng(4)
    plan = Plan(64, (1024,), (60,))
    one = taken(rng, 1024, 1, 1)
    same = Taken(32, {"mean": 2 * one.rows["mean"]}, one.seconds)
    other = Taken(64, {"mean": 2 * one.rows["mean"]}, one.seconds)
    paired = contest([one, same], plan).ratio(TIME, 1, 0)
    apart = contest([one, other], plan).ratio(TIME, 1, 0)
    assert (paired.low, paired.value, paired.high) == pytest.approx((2, 2, 2))
    assert apart.value == pytest.approx(2)
    assert apart.low < 1.9 < 2.1 < apart.high


def test_the_level_of_one_interval_pays_for_all_pairs_and_questions() -> None:
    rng = np.random.default_rng(5)
    each = [taken(rng, 64, 1, 1) for _ in range(5)]
    found = contest(each, Plan(64, (64,), (24,)), 0.05, 0.05, TIME, SIZE)
    assert found.alpha == pytest.approx(0.05 / (10 * 2))


def test_bytes_are_known_up_to_how_they_are_counted() -> None:
    plan = Plan(64, (64,), (24,))
    rng = np.random.default_rng(6)
    one, two = taken(rng, 64, 1, 1), taken(rng, 64, 1, 1)
    two.rows, two.peaks = dict(one.rows), [2**25, 2**25 + 4096, 2**25]
    ratio = contest([one, two], plan, 0.05, 0.05, SIZE).ratio(SIZE, 1, 0)
    assert ratio.value == pytest.approx(2)
    assert ratio.low == pytest.approx((2**25 - 2**18) / (2**24 + 2**18))
    assert ratio.high == pytest.approx((2**25 + 4096 + 2**18) / (2**24 - 2**18))


def test_a_candidate_that_fails_is_out() -> None:
    rng = np.random.default_rng(7)
    found = contest([taken(rng, 64, 1, 1) for _ in range(3)], Plan(64, (64,), (24,)))
    found.lost(2)
    assert found.left[TIME] == [0, 1]


def test_what_a_failed_candidate_beat_is_left_again() -> None:
    """Nothing is known of the two that remain, so none of them may be named."""
    plan = Plan.of(64, 64, 2048, 24)
    rng = np.random.default_rng(5)
    each = [taken(rng, 64, v, 1) for v in (1.0, 0.01, 1.0)]
    found = contest(each, plan)
    found.look()
    assert found.left[TIME] == [1]
    del found.taken[1]
    found.lost(1)
    found.look()
    assert sorted(found.left[TIME]) == [0, 2]
    assert not found.beaten[TIME]
    assert found.open == [TIME]


def test_looks_and_rounds_grow() -> None:
    plan = Plan.of(64, 64, 65_536, 24)
    assert plan.looks[:4] == (64, 128, 192, 256)
    assert plan.rounds[:3] == (24, 48, 72)
    assert plan.looks[-1] >= 65_536
    assert all(b / a <= 2 for a, b in zip(plan.looks, plan.looks[1:], strict=False))
    assert list(plan.rounds) == sorted(plan.rounds)
    assert all(n % 64 == 0 for n in plan.looks)


def test_what_is_forecast_settles_it() -> None:
    """With as many units more as the forecast says, the comparison is settled in most cases."""
    plan = Plan.of(64, 64, 65_536, 24)
    settled = 0
    for seed in range(20):
        rng = np.random.default_rng((8, seed))
        each = [taken(rng, 40_000, v, 1, rounds=40_000) for v in (1.0, 1.3)]
        first = [Taken(32, {"mean": t.rows["mean"][:192]}, t.seconds[:72]) for t in each]
        found = contest(first, plan)
        found.look()
        steps = ahead(found, 1.0, {0: 0.5, 1: 0.5})
        if not steps:
            settled += 1
            continue
        assert steps[0].minutes >= 1
        assert not steps[0].measured
        factor = steps[0].minutes * 1.3  # two more looks or so
        n = next(n for n in plan.looks if n >= 192 * factor)
        more = [
            Taken(32, {"mean": t.rows["mean"][:n]}, t.seconds[: math.ceil(72 * factor)])
            for t in each
        ]
        after = contest(more, plan)
        after.look()
        settled += not after.open
    assert (
        settled >= 14
    )  # each is more likely than not: fewer than 14 of 20 has probability 0.003 at 0.85
