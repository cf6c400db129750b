"""When a cell stops: on width with fine looks, or with a boundary for runs that are stopped by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from small_suites import changed

from vdbench import statistics
from vdbench.certificate.reference_problems import stage
from vdbench.errors import InputError
from vdbench.measures.metrics import APART, MetricValue, UnitRows
from vdbench.measures.registry import load
from vdbench.measures.stopping import Stopped, Stopping, schedule_of
from vdbench.measures.variance import Variance
from vdbench.measures.variance_metrics import variance
from vdbench.problems.problem import Group
from vdbench.runner.results import standing
from vdbench.statistics import Estimate
from vdbench.statistics.sequential import LEAST, two_sided
from vdbench.suite.schema import TargetSpec, VarianceSpec

GROUP = Group("a", "mean")


def run(rows: np.ndarray, spec: VarianceSpec) -> tuple[Stopped, list[tuple[int, int]]]:
    """Stop on rows that noise and total have alike; the blocks that were asked for."""
    stopping, asked = Stopping(schedule_of(spec, 0.95), {GROUP: 1}), []
    for start, stop in stopping.blocks():
        part = rows[start:stop]
        stopping.add({f"a|mean|{q}": part for q in ("noise", "total", "data", "signal")})
        asked.append((start, stop))
    return stopping.stopped, asked


@pytest.mark.parametrize("first_units", [1, 8, 64, 300])
def test_no_run_stops_before_tails_can_be_seen(first_units: int) -> None:
    """Rows that hardly vary are precise at once; still, 100 units are taken, in the blocks asked for."""
    rows = 1 + 1e-6 * np.random.default_rng(0).random(1000)
    stopped, asked = run(rows, VarianceSpec(first_units=first_units, max_units=600))
    assert stopped.converged
    assert stopped.rows.n == first_units * math.ceil(LEAST / first_units)
    assert asked == [(k, k + first_units) for k in range(0, stopped.rows.n, first_units)]


def test_a_run_stops_at_the_first_look_that_is_narrow() -> None:
    rows = np.random.default_rng(1).chisquare(8, 4096)
    spec = VarianceSpec(precision=0.1, first_units=16, max_units=4096)
    stopped, _ = run(rows, spec)
    looks = schedule_of(spec, 0.95).looks
    before = looks[looks.index(stopped.rows.n) - 1]
    widths = [statistics.positive_mean(rows[:n], two_sided(0.95)) for n in (before, stopped.rows.n)]
    assert widths[0].relative_half_width > 0.1 >= widths[1].relative_half_width
    assert stopped.reason == f"±0.1 reached at {stopped.rows.n} units"


TWO = {Group("a", "mean"): 3, Group("a", "scale"): 1, Group("b", "mean"): 1}


def towards(targets: list[dict[str, Any]], **more: Any) -> Stopped:
    """Stop on rows of two layers, those of ``scale`` with a long tail, those of ``b`` between."""
    rng = np.random.default_rng(4)
    rows = {Group("a", "mean"): rng.chisquare(16, 4096), Group("a", "scale"): rng.chisquare(1, 4096),
            Group("b", "mean"): rng.chisquare(4, 4096)}  # fmt: skip
    spec = VarianceSpec(
        first_units=16, max_units=4096, targets=[TargetSpec(**t) for t in targets], **more
    )
    stopping = Stopping(schedule_of(spec, 0.95), TWO)
    for start, stop in stopping.blocks():
        stopping.add(
            {
                f"{g.layer}|{g.role}|{q}": rows[g][start:stop] * (2 if q == "total" else 1)
                for g in TWO
                for q in ("noise", "total", "data", "signal")
            }
        )
    return stopping.stopped


def test_a_run_stops_where_its_targets_are_narrow() -> None:
    """What no target is about is as wide as it is, and is not said to be short of anything."""
    every = towards([], precision=0.1)
    means = towards([{"role": "mean"}], precision=0.1)
    one = towards([{"role": "mean", "layer": "a", "quantity": "noise"}], precision=0.1)
    both = towards(
        [{"role": "mean", "layer": "a", "precision": 0.05}, {"role": "scale", "precision": 0.5}]
    )
    average = towards([{"role": "mean", "layer": "all"}], precision=0.1)
    assert every.rows.n > means.rows.n > average.rows.n >= one.rows.n
    assert all(stopped.converged for stopped in (every, means, one, both, average))
    schedule = schedule_of(VarianceSpec(targets=[TargetSpec(role="mean", layer="a")]), 0.95)
    status = {
        (f.layer, f.role): f.status
        for f in variance(one.rows, schedule)
        if f.metric == "variance.noise"
    }
    assert status == {
        ("a", "mean"): "bounded", ("a", "scale"): "ok", ("b", "mean"): "ok", ("all", "mean"): "ok",
        ("all", "scale"): "ok",
    }  # fmt: skip
    z = two_sided(0.95)
    widths = {g: both.rows.positive(g, "noise", z).relative_half_width for g in TWO}
    assert widths[Group("a", "mean")] <= 0.05
    assert 0.05 < widths[Group("a", "scale")] <= 0.5
    assert both.detail["aim"] in (0.05, 0.5)
    assert both.width <= both.aim
    assert "in all that was asked for" in both.reason


def test_a_target_that_is_not_reached_is_named() -> None:
    """The one that lacks most by its own precision, although another interval is wider."""
    asked = [
        {"role": "mean", "layer": "a", "precision": 0.001},
        {"role": "scale", "precision": 0.9},
    ]
    stopped = towards(asked)
    assert not stopped.converged
    assert stopped.detail["widest"].endswith("of a mean")
    assert stopped.aim == 0.001
    assert "widest" not in stopped.reason
    assert "of a mean has ±" in stopped.reason
    assert stopped.reason.endswith("±0.001 asked")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"layer": "fc9"}, "problem 'rectified' has no layer 'fc9'."),
        ({"role": "means"}, "problem 'rectified' has no role 'means'. Did you mean 'mean'?"),
        ({"layer": "0", "role": "alpha"}, "problem 'rectified' has no role 'alpha'."),
    ],
)
def test_targets_that_are_not_there_are_refused(target: dict[str, str], message: str) -> None:
    problem = stage("rectified").problem
    suite = load(changed({"measures.variance": {"targets": [{"role": "mean"}, target]}}))
    with pytest.raises(InputError) as caught:
        Variance().check_problem(suite, problem)
    assert str(caught.value).startswith("suite 'tiny': measures.variance.targets.1: " + message)


def test_a_few_rows_that_decide_give_no_interval_and_say_what_would_do() -> None:
    rows = np.append(np.random.default_rng(2).random(255), 1e5)
    stopped, _ = run(rows, VarianceSpec(first_units=64, max_units=256))
    needed = stopped.detail["needed"]
    assert stopped.status == "bounded"
    assert needed > 256
    assert stopped.reason.endswith(
        f"too few units for these tails, total of a mean; about {needed:,} would do"
    )
    schedule = schedule_of(VarianceSpec(first_units=64, max_units=256), 0.95)
    total = next(f for f in variance(stopped.rows, schedule) if f.metric == "variance.total")
    assert (total.estimate.low, total.estimate.high) == (0, math.inf)
    status, message, _ = standing(total)
    assert (status, message) == (
        "bounded",
        f"too few units for these tails; about {needed:,} would do",
    )


def test_runs_stopped_by_hand_have_a_boundary() -> None:
    spec = VarianceSpec(first_units=64, max_units=4096, anytime=True)
    hand, width = schedule_of(spec, 0.95), schedule_of(VarianceSpec(), 0.95)
    assert hand.looks == statistics.looks(64, 4096)
    assert [hand.z(n) for n in hand.looks] == list(statistics.critical_values(hand.looks, 0.95))
    assert hand.between(64, 192) == hand.z(64, APART)
    assert hand.between(64, 64) == hand.z(64)
    assert {width.z(n) for n in width.looks} == {two_sided(0.95)} == {width.between(128, 192)}
    rows = np.random.default_rng(3).chisquare(4, 64)
    table = UnitRows(
        {f"a|mean|{q}": rows for q in ("noise", "total", "data", "signal")}, {GROUP: 1}
    )
    wide, narrow = (variance(table, schedule)[0].estimate for schedule in (hand, width))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_what_cannot_be_is_cut_from_the_interval_of_a_figure() -> None:
    made = MetricValue("test.error", Estimate(97.0, 91.0, 103.0, 3), 0.95, "percent")
    assert made.estimate == Estimate(97.0, 91.0, 100, 3)
