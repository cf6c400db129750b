"""Judging repetitions: coverage, false alarms, power; what would flatter them is said, and what is wrong rejected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from vdbench.errors import InputError
from vdbench.measures.instrument import (
    coverage_metrics,
    error_rates,
    repeated_measures,
    repeated_variance,
    series,
    workload,
)
from vdbench.measures.instrument.error_rates import Pairs
from vdbench.measures.instrument.evidence import Evidence, Truth
from vdbench.measures.instrument.series import Address, Series
from vdbench.measures.metrics import LookSchedule, UnitRows
from vdbench.measures.registry import load
from vdbench.measures.variance_metrics import variance_ratios, widest
from vdbench.problems.problem import Group
from vdbench.suite import schema

GROUP = Group("fc1", "mean")
SCHEDULE = LookSchedule((64, 128), 0.95, 0.2)


def address(metric: str, label: str = "naive", layer: str = "fc1", against: str = "") -> Address:
    return Address(label, metric, layer, "mean", against)


def made(low: Any, high: Any, level: float = 0.95, n: int = 64) -> Series:
    low, high = np.array(low, dtype=float), np.array(high, dtype=float)
    count = len(low)
    value = np.where(np.isfinite(low + high), (low + high) / 2, 1.0)
    return Series(np.arange(count), value, low, high, level, np.full(count, n))


def covering(hits: int, count: int, level: float = 0.95) -> Series:
    """Intervals [0, 2], of which so many hold 1 and the others are [2, 4]."""
    miss = np.arange(count) >= hits
    return made(np.where(miss, 2.0, 0.0), np.where(miss, 4.0, 2.0), level)


def evidence(found: dict[Address, Series], truth: Truth | None = None) -> Evidence:
    return Evidence(found, dict.fromkeys(found, truth or Truth(1.0)), 0.95, precision=0.2)


# Coverage


def test_coverage_is_the_share_that_holds_the_truth() -> None:
    found = evidence({address("variance.noise"): covering(1900, 2000)})
    (judged,) = found.judged.values()
    assert judged.share.value == 0.95
    assert judged.status == "ok"
    (figure, least) = coverage_metrics.values(found, "naive")
    assert (figure.metric, figure.layer, figure.role) == ("coverage.variance.noise", "fc1", "mean")
    assert figure.estimate.n == 2000
    assert "at least 95 % not rejected, p = 0.51 (Holm over 1 figures); truth 1" in figure.message
    assert (least.metric, least.estimate) == ("coverage.smallest", figure.estimate)
    assert "variance.noise of fc1 mean" in least.message


def test_coverage_below_its_level_is_rejected_family_wise() -> None:
    """Of 20 figures, Holm's first step is at 1/2000."""
    edge = max(k for k in range(1800, 1900) if binom.cdf(k, 2000, 0.95) <= 0.01 / 20)
    for hits, status in ((edge, "rejected"), (edge + 1, "ok")):
        found = {address(f"variance.{k}"): covering(1950, 2000) for k in range(19)}
        found[address("variance.noise")] = covering(hits, 2000)
        judged = evidence(found).judged
        assert judged.pop(address("variance.noise")).status == status
        assert all(j.status == "ok" for j in judged.values())
        shared = replace(evidence(found), families=2).judged
        assert shared[address("variance.noise")].p == pytest.approx(
            min(1, 40 * binom.cdf(hits, 2000, 0.95))
        )


def test_each_figure_is_tested_at_its_own_level() -> None:
    found = {
        address("variance.noise"): covering(960, 1000),
        address("pairwise.variance.noise", against="local"): covering(960, 1000, 0.995),
    }
    judged = evidence(found).judged
    assert [j.status for j in judged.values()] == ["ok", "rejected"]
    smallest = [
        f for f in coverage_metrics.values(evidence(found), "naive") if "smallest" in f.metric
    ]
    assert [f.metric for f in smallest] == ["coverage.smallest", "coverage.smallest.adjusted"]
    assert smallest[1].status == "rejected"
    assert "to local; at least 99.5 % rejected" in smallest[1].message


def test_a_coarse_truth_is_no_truth() -> None:
    """Half-widths are 1: a standard error of 0.051 is too much, of 0.049 is not."""
    found = {address("snr"): covering(100, 100)}
    (fine,) = evidence(found, Truth(1.0, 0.049)).judged.values()
    (coarse,) = evidence(found, Truth(1.0, 0.051)).judged.values()
    assert (fine.status, coarse.status) == ("ok", "coarse")
    (figure, *_) = coverage_metrics.values(evidence(found, Truth(1.0, 0.051)), "naive")
    assert "its standard error 5.1 % of a half-width; too coarse, more than 5 %" in figure.message
    assert evidence(found, Truth(1.0, np.nan)).judged[address("snr")].status == "coarse"


def test_the_error_of_a_root_is_that_of_its_square() -> None:
    """A truth near zero: its square ± 0.01 beside squares up to 1, whatever the root's own error would be."""
    near = made([0.0] * 9, [1.0] * 9)
    near = replace(near, value=np.zeros(9))
    (judged,) = evidence({address("snr"): near}, Truth(0.0, 0.01, root=True)).judged.values()
    assert judged.coarseness == pytest.approx(0.01)


def test_what_says_nothing_does_not_count_and_what_says_everything_is_told() -> None:
    one = covering(90, 100)
    low, high, value = one.low.copy(), one.high.copy(), one.value.copy()
    low[:20], high[:20] = 0, np.inf
    value[95:] = np.nan
    found = evidence({address("relative_bias"): replace(one, low=low, high=high, value=value)})
    (judged,) = found.judged.values()
    assert (judged.share.n, judged.share.value, judged.undefined) == (95, 90 / 95, 5)
    assert judged.endless == pytest.approx(20 / 95)
    (figure, *_) = coverage_metrics.values(found, "naive")
    assert "5 repetitions gave no value and are not counted" in figure.message
    assert "21 % of intervals have no end" in figure.message


def test_what_is_exact_is_left_out_if_it_is_right() -> None:
    zero = made([0.0] * 9, [0.0] * 9)
    assert evidence({address("variance.noise"): zero}, Truth(0.0)).judged == {}
    (wrong,) = evidence({address("variance.noise"): zero}, Truth(1.0)).judged.values()
    assert (wrong.share.value, wrong.status) == (0.0, "rejected")
    nothing = replace(zero, value=np.full(9, np.nan))
    assert evidence({address("ratio"): nothing}).judged == {}


def test_the_looks_at_which_runs_stopped_are_told() -> None:
    where = Address("naive", repeated_variance.STOP, "all", "all", "")
    stops = replace(
        made([0.1] * 6 + [0.3] * 4, [0.1] * 6 + [0.3] * 4),
        n=np.array([64] * 6 + [128] * 4),
    )
    found = coverage_metrics.values(evidence({where: stops}, Truth(np.nan)), "naive")
    shares = {f.step: f.estimate.value for f in found if f.metric == "coverage.stopped_at"}
    assert shares == {64.0: 0.6, 128.0: 0.4}
    (reached,) = (f for f in found if f.metric == "coverage.converged")
    assert reached.estimate.value == 0.6
    assert "reached ±0.2" in reached.message


def test_the_truth_of_a_training_is_the_mean_of_the_others() -> None:
    value = np.array([1.0, 2.0, 6.0])
    one = replace(made([0, 0, 0], [1, 1, 1]), value=value)
    assert list(repeated_measures.others(one)) == [4.0, 3.5, 1.5]
    truths = repeated_measures.truths(
        {
            address("convergence.final_elbo"): one,
            address(repeated_measures.TIME): one,
            address("relative_bias"): one,
        }
    )
    assert list(truths[address("convergence.final_elbo")]) == [4.0, 3.5, 1.5]  # type: ignore[arg-type]
    assert truths[address(repeated_measures.TIME)] == 1
    assert truths[address("relative_bias")] == 0


# Verdicts


def rows(seed: int, n: int = 128) -> UnitRows:
    rng = np.random.default_rng(seed)
    table = {f"fc1|mean|{q}": rng.lognormal(0, 0.8, n) for q in ("noise", "total")}
    return UnitRows(table, {GROUP: 7})


def test_scaling_rows_scales_the_interval_and_nothing_else() -> None:
    """What `power` rests on: a difference planted in the rows is one planted in the interval."""
    a, b, factor = rows(1), rows(2), 1.1
    scaled = UnitRows({name: factor * values for name, values in a.table.items()}, a.sizes)
    assert widest(scaled, SCHEDULE)[0] == pytest.approx(widest(a, SCHEDULE)[0], rel=1e-12)
    plain = variance_ratios(a, b, SCHEDULE, "b", comparisons=1)
    planted = variance_ratios(scaled, b, SCHEDULE, "b", comparisons=1)
    for before, after in zip(plain, planted, strict=True):
        ends = [(e.value, e.low, e.high) for e in (before.estimate, after.estimate)]
        assert ends[1] == pytest.approx([factor * x for x in ends[0]], rel=1e-12)


def test_verdicts_are_those_of_intervals_that_exclude_one() -> None:
    one = made([0.8, 0.9, 1.01, 0.5], [1.2, 0.99, 1.3, 1.0])
    assert error_rates.called(one) == (1, 1)
    assert error_rates.called(one, 1.3) == (3, 0)


def pairs(alarms: int, count: int = 1000, labels: tuple[str, ...] = ("a", "b")) -> Pairs:
    """Comparisons of which so many call the first run higher, in the first label; in the second none."""
    found = {}
    for label in labels:
        low = np.where(np.arange(count) < (alarms if label == "a" else 0), 1.01, 0.8)
        found[address("again.variance.noise", label, "all")] = made(low, low + 0.4)
        found[address("shared.variance.noise", label, "all")] = made(low + 0.2, low + 0.3)
    return Pairs(found, 0.95, 0.2)


def test_false_alarms_are_counted_and_pooled() -> None:
    found = error_rates.false_alarms(pairs(60))
    assert set(found) == {"a", "b", ""}
    (a,), (b,), (pooled,) = found["a"], found["b"], found[""]
    assert (a.metric, a.estimate.value) == ("false_alarms.variance.noise", 0.06)
    assert b.estimate.value == 0
    # of comparisons 0 to 59 every other is of a
    assert (pooled.metric, pooled.estimate.value) == ("false_alarms.pooled.variance.noise", 0.03)
    assert pooled.estimate.n == 1000
    assert all(f.status == "ok" for f in (a, b, pooled))
    assert "at most 5 % not rejected" in a.message
    assert "runs at ±0.2, 64 units" in a.message


def test_too_many_false_alarms_are_rejected() -> None:
    found = error_rates.false_alarms(pairs(80))
    assert [f.status for f in (*found["a"], *found["b"], *found[""])] == ["rejected", "ok", "ok"]


def test_what_is_exactly_zero_is_not_compared() -> None:
    both = pairs(60)
    first = address("again.variance.noise", "b", "all")
    nothing = replace(both.series[first], value=np.full(1000, np.nan))
    found = error_rates.false_alarms(replace(both, series={**both.series, first: nothing}))
    assert set(found) == {"a"}


def test_power_is_of_the_planted_difference_at_its_step() -> None:
    found = error_rates.power(pairs(0, 10), "a", [0.1, 0.2, 0.3])
    said = {(f.metric, f.step): f.estimate.value for f in found}
    # again: intervals of [0.8, 1.2] exclude 1 once they are scaled by 1.25; shared: [1, 1.1] by anything
    assert [said["power.independent.variance.noise", d] for d in (0.1, 0.2, 0.3)] == [0, 0, 1]
    assert [said["power.shared.variance.noise", d] for d in (0.1, 0.2, 0.3)] == [1, 1, 1]
    assert not any(value for (metric, _), value in said.items() if metric.startswith("wrong"))
    assert {f.against for f in found} == {"precision=0.2"}
    assert "+10 % planted, runs at ±0.2, 64 units" in found[0].message
    lower = made([0.1] * 10, [0.5] * 10)
    wrong = Pairs({address("again.variance.noise", "a", "all"): lower}, 0.95, 0.2)
    shares = {f.metric: f.estimate.value for f in error_rates.power(wrong, "a", [0.1])}
    assert shares == {"power.independent.variance.noise": 0, "wrong.independent.variance.noise": 1}


# Work, and what is refused


def test_repetitions_are_shared_among_measures() -> None:
    asked = {
        "variance": {"first_units": 8, "max_units": 256, "precision": 0.2},
        "coverage": {"repetitions": 30, "truth_units": 256},
        "false_alarms": {"comparisons": 20},
        "power": {"comparisons": 10, "precisions": [0.1]},
    }
    measures = schema.MeasuresSpec.model_validate(asked)
    assert workload.wanted(measures) == {"coverage": 30, "false_alarms": 40, "power": 20}
    assert workload.gradients(measures, "coverage", False) == (30 * 416 + 1024, 30 * 1024 + 1024)
    assert workload.gradients(measures, "false_alarms", False) == (10 * 416, 10 * 1024)
    assert workload.gradients(measures, "power", False) == (0, 0)
    # twice the precision: four times the units
    assert workload.gradients(measures, "power", True) == (20 * 416, 20 * 4 * 1024)
    assert workload.spans(100, 120) == [(0, 50), (50, 100)]
    assert workload.spans(101, 120) == [(0, 50), (50, 100), (100, 120)]
    assert workload.spans(7) == [(0, 7)]


def test_figures_survive_their_table() -> None:
    writer = series.Writer()
    figures = variance_ratios(rows(1), rows(2), SCHEDULE, "b", comparisons=1)
    for repetition in (0, 1):
        for figure in figures:
            writer.add(repetition, "a", figure)
    found = series.read([writer.table()])
    assert list(found) == [Address("a", f.metric, f.layer, f.role, "b") for f in figures]
    for figure, one in zip(figures, found.values(), strict=True):
        e = figure.estimate
        assert (one.value[1], one.low[1], one.high[1]) == (e.value, e.low, e.high)
        assert (one.level, list(one.n)) == (figure.level, [128] * 2)
        assert list(one.first(1).repetition) == [0]


BASE: dict[str, Any] = {
    "name": "tiny",
    "problems": [{"name": "digits"}],
    "batch_sizes": [8],
    "estimators": ["naive", "local"],
    "baseline": "naive",
}


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        ({"coverage": {}}, "measures.coverage needs at least one of variance, "),
        ({"false_alarms": {}}, "measures.false_alarms compares variances; expected measures.vari"),
        ({"power": {}, "bias": {}}, "measures.power compares variances"),
        (
            {"coverage": {}, "variance": {"few_examples": {"local": 2}, "data_from": "naive"}},
            "measures.coverage repeats measurements on whole minibatches; expected no few_examples",
        ),
        ({"variance": {}, "coverage": {"repetition": 5}}, "Did you mean 'repetitions'"),
        ({"variance": {}, "power": {"differences": []}}, "at least 1 item"),
        ({"variance": {}, "coverage": {"truth_units": 10}}, "greater than or equal to 256"),
    ],
)
def test_what_cannot_be_repeated_is_refused(measures: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load({**BASE, "measures": measures})


def test_options_are_set_from_outside() -> None:
    changed = load("instrument", ["measures.coverage.repetitions=50", "measures.kills=false"])
    assert changed.measures.coverage is not None
    assert changed.measures.coverage.repetitions == 50
    assert changed.measures.kills is None
