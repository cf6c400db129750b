"""When a cell stops: on width with fine looks, or with a boundary for runs that are stopped by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vdbench import statistics
from vdbench.measures.metrics import APART, MetricValue, UnitRows
from vdbench.measures.stopping import Stopped, Stopping, schedule_of
from vdbench.measures.variance_metrics import variance
from vdbench.problems.problem import Group
from vdbench.runner.results import standing
from vdbench.statistics import Estimate
from vdbench.statistics.sequential import LEAST, two_sided
from vdbench.suite.schema import VarianceSpec

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
