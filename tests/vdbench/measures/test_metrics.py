"""From rows to figures, on numbers made up so that the answer is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vdbench import statistics
from vdbench.estimation.options import get
from vdbench.measures import bias, convergence, throughput_metrics, variance_metrics
from vdbench.measures.cells import Cell
from vdbench.measures.metrics import LookSchedule, MetricValue, UnitRows
from vdbench.problems.problem import Group
from vdbench.runner import results
from vdbench.statistics import Estimate

SIZES = {Group("fc1", "mean"): 30, Group("fc2", "mean"): 10, Group("fc2", "bias"): 2}
SCHEDULE = LookSchedule(statistics.looks(8, 32), 0.95, 0.05)
QUANTITIES = ("noise", "data", "total", "signal")


def rows(seed: int = 0, n: int = 32, noise: float = 1.0) -> UnitRows:
    """Unit rows with noise + data = total, as the variance measure gives them."""
    generator = np.random.Generator(np.random.PCG64(seed))
    table: dict[str, Any] = {}
    for group in SIZES:
        parts = {q: generator.chisquare(5, n) for q in QUANTITIES}
        parts["noise"] *= noise
        parts["total"] = parts["noise"] + parts["data"]
        table |= {f"{group.layer}|{group.role}|{q}": parts[q] for q in QUANTITIES}
    return UnitRows(table, SIZES)


def chosen(
    found: list[MetricValue], metric: str, layer: str = "all", role: str = "mean"
) -> MetricValue:
    (one,) = [f for f in found if (f.metric, f.layer, f.role) == (metric, layer, role)]
    return one


def test_all_layers_together_are_averaged_by_size() -> None:
    made = rows()
    assert made.groups() == [*SIZES, Group("all", "mean"), Group("all", "bias")]
    one, two = (made.table[f"{layer}|mean|total"] for layer in ("fc1", "fc2"))
    np.testing.assert_allclose(made.of(Group("all", "mean"), "total"), (30 * one + 10 * two) / 40)
    np.testing.assert_array_equal(
        made.of(Group("all", "bias"), "noise"), made.table["fc2|bias|noise"]
    )


def test_variance_says_which_figures_are_precise_enough() -> None:
    made = rows()
    made.table["fc1|mean|noise"] = np.full(32, 2.0)
    found = variance_metrics.variance(made, SCHEDULE)
    assert len(found) == 4 * len(made.groups())
    assert chosen(found, "variance.noise", "fc1").status == "converged"
    assert chosen(found, "variance.noise", "fc1").estimate == Estimate(2, 2, 2, 32)
    assert chosen(found, "variance.total", "fc2").status == "bounded"
    width, where, aim = variance_metrics.widest(made, SCHEDULE)
    # not the aggregate over layers: precision is asked for layer by layer
    assert where.split(" of ")[1] in {f"{g.layer} {g.role}" for g in SIZES}
    widths = [
        statistics.positive_mean(made.of(g, q), SCHEDULE.z(32)).relative_half_width
        for g in SIZES
        for q in ("noise", "total")
    ]
    assert (width, aim) == (max(widths), SCHEDULE.precision)


def test_noise_and_data_add_up_to_the_total() -> None:
    found = variance_metrics.variance(rows(), SCHEDULE)
    for group in rows().groups():
        parts = [
            chosen(found, f"variance.{q}", group.layer, group.role).estimate.value
            for q in ("noise", "data", "total")
        ]
        assert parts[0] + parts[1] == pytest.approx(parts[2], rel=1e-12)


def test_signal_to_noise_is_the_root_of_signal_over_total() -> None:
    made = rows()
    for group in SIZES:
        made.table[f"{group.layer}|{group.role}|signal"] = 9 * made.of(group, "total")
    assert chosen(variance_metrics.variance(made, SCHEDULE), "snr").estimate.value == pytest.approx(
        3
    )


def test_a_ratio_to_itself_is_exactly_one() -> None:
    found = variance_metrics.variance_ratios(rows(), rows(), SCHEDULE, "naive")
    assert len(found) == 2 * len(rows().groups())
    assert {f.estimate for f in found} == {Estimate(1, 1, 1, 32)}
    assert {f.against for f in found} == {"naive"}


def test_ratios_use_all_units_of_both() -> None:
    short, long = rows(n=16), rows(2, n=32)
    found = chosen(
        variance_metrics.variance_ratios(short, long, SCHEDULE, "naive"), "ratio.variance.total"
    )
    z = SCHEDULE.between(16, 32)
    a, b = (x.of(Group("all", "mean"), "total") for x in (short, long))
    assert found.estimate == statistics.ratio(a, b, z)
    assert found.level == SCHEDULE.level


def test_the_units_of_a_rigid_pair_are_enough() -> None:
    short, long = rows(n=16), rows(n=32)
    long.table.update({k: np.r_[2 * v, v] for k, v in short.table.items()})
    for f in variance_metrics.variance_ratios(short, long, SCHEDULE, "naive"):
        e = f.estimate
        assert (e.low, e.value, e.high) == pytest.approx((0.5, 0.5, 0.5), rel=1e-12)


def test_pairs_are_compared_at_an_adjusted_level() -> None:
    """Ten pairs; where a row is about one of two layers, twenty comparisons."""
    plain = variance_metrics.variance_ratios(rows(), rows(1), SCHEDULE, "naive")
    pairs = variance_metrics.variance_ratios(rows(), rows(1), SCHEDULE, "naive", comparisons=10)
    assert {f.metric for f in pairs} == {"pairwise.variance.total", "pairwise.variance.noise"}
    assert {f.layer for f in pairs} == {"all", "fc1", "fc2"}
    assert {round(f.level, 12) for f in pairs if f.layer == "all"} == {0.995}
    assert {round(f.level, 12) for f in pairs if f.layer != "all"} == {0.9975}
    assert {f.level for f in plain} == {0.95}
    one = chosen(plain, "ratio.variance.total").estimate
    other = chosen(pairs, "pairwise.variance.total").estimate
    assert one.value == other.value
    assert other.low < one.low < one.high < other.high


def test_layers_that_the_other_has_not_are_left_out() -> None:
    other = rows()
    few = UnitRows(
        {k: v for k, v in other.table.items() if not k.startswith("fc2|bias")},
        {g: s for g, s in SIZES.items() if g.role != "bias"},
    )
    found = variance_metrics.variance_ratios(rows(), few, SCHEDULE, "naive")
    assert {f.role for f in found} == {"mean"}


def test_relative_bias_is_a_root_and_names_the_reference() -> None:
    table = {
        f"{g.layer}|{g.role}|{q}": np.full(8, value)
        for g in SIZES
        for q, value in (("bias2", 0.04), ("reference2", 4.0))
    }
    found = bias.values(UnitRows(table, SIZES), 0.95, "naive", estimators=5)
    for figure in found:
        assert figure.estimate.value == pytest.approx(0.1)
        assert figure.message == "reference: naive"
    roles = len({group.role for group in SIZES})
    adjusted = [figure for figure in found if figure.metric == "adjusted.relative_bias"]
    assert {figure.layer for figure in adjusted} == {"all"}
    assert len(adjusted) == roles
    assert adjusted[0].level == pytest.approx(1 - 0.05 / (5 * roles))
    assert {f.level for f in found if f.metric == "relative_bias"} == {0.95}


def times(**seconds: list[float]) -> dict[str, Any]:
    """A table of the throughput pass, its rounds in no order."""
    flat = [(name, r, s) for name, each in seconds.items() for r, s in enumerate(each)]
    flat = [flat[i] for i in np.random.Generator(np.random.PCG64(0)).permutation(len(flat))]
    name, round_, second = zip(*flat, strict=True)
    return {
        "estimator": np.array(name, dtype=object),
        "round": np.array(round_),
        "seconds": np.array(second),
    }


TIMES = times(naive=[1, 2, 3, 4, 5, 6, 7, 8, 100.0], local=[2, 4, 6, 8, 10, 12, 14, 16, 200.0])


def test_throughput_is_the_inverse_of_the_median_time() -> None:
    seconds, rate, examples = throughput_metrics.values(
        TIMES, "local", 32, throughput_metrics.Levels(0.95)
    )
    whole = throughput_metrics.epoch(seconds, 56)
    assert (whole.metric, whole.unit) == ("time.seconds_per_epoch", "s")
    assert (whole.estimate.value, whole.estimate.low) == (
        56 * seconds.estimate.value,
        56 * seconds.estimate.low,
    )
    assert seconds.estimate == Estimate(10, 4, 16, 9)
    assert rate.estimate == Estimate(1 / 10, 1 / 16, 1 / 4, 9)
    assert examples.estimate == Estimate(3.2, 2, 8, 9)
    assert [f.unit for f in (seconds, rate, examples)] == ["s", "gradients/s", "examples/s"]


def test_an_interval_that_reaches_to_zero_has_an_inverse_without_end() -> None:
    assert throughput_metrics._inverse(Estimate(2, 0, 4, 9)) == Estimate(0.5, 0.25, math.inf, 9)
    assert throughput_metrics._inverse(Estimate(2, -math.inf, math.inf, 3)) == Estimate(
        0.5, 0, math.inf, 3
    )


def test_times_are_compared_round_by_round() -> None:
    one = throughput_metrics.time_ratio(TIMES, "local", "naive", throughput_metrics.Levels(0.95))
    assert one.estimate == Estimate(2, 2, 2, 9)
    assert (one.metric, one.against) == ("ratio.time.seconds_per_gradient", "naive")
    crossed = times(naive=list(range(1, 10)), local=list(range(9, 0, -1)))
    # the ratios by round are 9, 4, 7/3, … 1/4, 1/9; paired by rank they would all be 1
    assert throughput_metrics.time_ratio(
        crossed, "local", "naive", throughput_metrics.Levels(0.95)
    ).estimate == Estimate(1, 0.25, 4, 9)
    pair = throughput_metrics.time_ratio(
        TIMES, "local", "naive", throughput_metrics.Levels(0.9), comparisons=5
    )
    assert (pair.metric, round(pair.level, 12)) == ("pairwise.time.seconds_per_gradient", 0.98)


def test_efficiency_multiplies_variance_and_seconds() -> None:
    variances = variance_metrics.variance(rows(), SCHEDULE)
    seconds = throughput_metrics.values(TIMES, "naive", 32, throughput_metrics.Levels(0.95))[0]
    found = throughput_metrics.efficiency(variances, seconds)
    assert [(f.layer, f.role) for f in found] == [("all", "mean"), ("all", "bias")]
    total = chosen(variances, "variance.total").estimate
    one = chosen(found, "efficiency.variance_seconds")
    assert one.estimate.value == pytest.approx(5 * total.value)
    assert one.estimate.low < 5 * total.low
    assert one.estimate.high > 5 * total.high
    assert one.unit == "gradient^2·s"


def test_efficiency_of_ratios_keeps_what_kind_of_ratio_it_is() -> None:
    for comparisons, kind in ((0, "ratio"), (3, "pairwise")):
        ratios = variance_metrics.variance_ratios(rows(), rows(1), SCHEDULE, "naive", comparisons)
        time = throughput_metrics.time_ratio(
            TIMES, "local", "naive", throughput_metrics.Levels(0.95), comparisons
        )
        for figure in throughput_metrics.efficiency(ratios, time):
            assert figure.metric == f"{kind}.efficiency.variance_seconds"
            assert (figure.unit, figure.against) == ("1", "naive")


def training(*elbo: float, error: float = 5.0) -> dict[str, Any]:
    count = len(elbo)
    return {
        "step": np.arange(count) * 10,
        "seconds": np.arange(count) * 2.0,
        "elbo": np.array(elbo),
        "nll": np.full(count, 0.3),
        "error": np.full(count, error),
    }


def test_curves_are_means_over_seeds() -> None:
    found = convergence.values([training(-9, -3), training(-7, -1)], 0.95, None)
    curve = [f for f in found if f.metric == "convergence.elbo"]
    assert [(f.step, f.seconds, f.estimate.value) for f in curve] == [(0, 0, -8), (10, 2, -2)]
    assert all(f.estimate.low < f.estimate.value < f.estimate.high for f in curve)
    rest = {f.metric: f.estimate.value for f in found if f.metric != "convergence.elbo"}
    assert rest == {"convergence.final_elbo": -2, "test.error": 5, "test.nll": 0.3}


def test_a_regression_has_no_test_error() -> None:
    seeds = [training(-9, -3, error=math.nan), training(-7, -1, error=math.nan)]
    assert "test.error" not in {f.metric for f in convergence.values(seeds, 0.95, None)}


def test_seconds_to_a_target_are_interpolated_and_averaged_as_logs() -> None:
    seeds = [training(-8, -4, 0), training(-8, -7.5, -4)]
    one = convergence.values(seeds, 0.95, -6.0)[-1]
    assert one.metric == "convergence.seconds_to_target"
    assert one.estimate.value == pytest.approx(math.sqrt(1 * (2 + 2 * 1.5 / 3.5)))
    assert one.message == "target -6 nats, reached by 2 of 2 seeds"
    assert one.status == "ok"


@pytest.mark.parametrize("second", [(-8, -7, -6.5), (-5, -4, 0)])
def test_a_target_missed_or_passed_at_the_start_has_no_time(second: tuple[float, ...]) -> None:
    one = convergence.values([training(-8, -4, 0), training(*second)], 0.95, -6.0)[-1]
    assert math.isnan(one.estimate.value)
    assert one.status == "bounded"
    assert one.message.startswith("target -6 nats, reached by ")


CELL = Cell("digits", "initial", 16, get("score", samples=2), "variance")
ABOUT = {
    "suite": "tiny", "objective": "likelihood", "parameterization": "mean-log_variance",
    "precision": "float32", "device": "cpu", "seed": 0,
}  # fmt: skip


def row(estimate: Estimate, **more: Any) -> dict[str, Any]:
    (one,) = results.rows(CELL, ABOUT, [MetricValue("snr", estimate, 0.95, "1", **more)])
    return one


def test_a_row_has_every_column_and_no_other() -> None:
    for made in (row(Estimate(2, 1, 3, 8)), results.failure(CELL, ABOUT, "why")):
        assert set(made) == set(results.COLUMNS)
    assert (made["metric"], made["status"], made["message"]) == ("variance", "failed", "why")
    assert (made["estimator"], made["options"], made["samples"]) == ("score", '{"samples":2}', 2)
    assert made["label"] == "score(samples=2)"


def test_figures_without_a_value_or_an_interval_say_so() -> None:
    nothing = Estimate(math.nan, math.nan, math.nan, 8)
    wide = Estimate(2, 0, math.inf, 8)
    made = row(nothing)
    assert made["status"] == "undefined"
    assert made["message"] == "no value: the denominator is not above zero"
    assert row(nothing, message="reference: naive")["message"].endswith("zero; reference: naive")
    made = row(wide, message="reference: naive")
    assert made["status"] == "bounded"
    assert made["message"] == "n = 8 is too small for a finite interval; reference: naive"
    made = row(nothing, status="bounded", message="not reached")
    assert (made["status"], made["message"]) == ("bounded", "not reached")
    made = row(Estimate(2, 1, 3, 8), message="fine")
    assert (made["status"], made["message"]) == ("ok", "fine")


def test_a_ratio_to_an_exact_zero_is_undefined() -> None:
    silent = rows(1, noise=0.0)
    (zero,) = {f.estimate for f in variance_metrics.variance_ratios(silent, rows(), SCHEDULE, "naive")
               if f.metric == "ratio.variance.noise"}  # fmt: skip
    assert zero == Estimate(0, 0, 0, 32)
    found = variance_metrics.variance_ratios(rows(), silent, SCHEDULE, "deterministic")
    for made in results.rows(CELL, ABOUT, found):
        expected = "undefined" if made["metric"] == "ratio.variance.noise" else "ok"
        assert made["status"] == expected


def test_the_table_has_its_types_even_when_empty() -> None:
    table = results.frame([])
    assert list(table.columns) == list(results.COLUMNS)
    assert table["batch_size"].dtype == "int64"
    assert table["value"].dtype == "float64"
