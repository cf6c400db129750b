from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import reports
from reports.groups import groups_of
from reports.load import load
from reports.summary import contest, order, verdict


def changed(rows: list[dict], where: dict, **new: object) -> list[dict]:
    """Give the rows that have all of some values others."""
    hit = [all(item[k] == v for k, v in where.items()) for item in rows]
    return [item | new if here else item for item, here in zip(rows, hit, strict=True)]


def ratio_to(label: str, other: str, value: float, low: float, high: float) -> tuple[dict, dict]:
    where = {"metric": "pairwise.variance.total", "label": label, "against": other}
    return where, {"value": value, "ci_low": low, "ci_high": high}


@pytest.fixture
def rows(run_folder: Path) -> list[dict]:
    """Rows of the first group: variance and cost."""
    frame = load([run_folder]).frame.drop(columns="run")
    kept = (frame["problem"] == "digits-mlp") & (frame["checkpoint"] == "initial")
    return frame[kept].to_dict("records")


def test_a_clear_winner_is_named_with_its_margin_certainty_and_cost(run_folder: Path) -> None:
    lines = reports.headline([run_folder])
    assert lines[0] == (
        "digits-mlp · checkpoint initial · batch 128. Lowest variance: local in mean and scale: "
        "mean 0.115 [0.111, 0.118] × naive, scale 0.146 [0.142, 0.151] × naive; established "
        "against all 3 others (intervals at 95 %; verdicts at 95 % over all pairs together; "
        "n = 400)."
    )
    assert "Lowest variance × seconds: local in mean and scale: mean 0.154" in lines[1]
    assert lines[2].endswith(
        "Cost of a gradient: local 0.83 [0.81, 0.85] ms (1.34 [1.29, 1.39] × naive)."
    )


def test_an_interval_that_contains_1_is_unclear(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    where, new = ratio_to("local", "per-example", 0.97, 0.93, 1.012)
    line = reports.headline([make_run(changed(rows, where | {"role": "mean"}, **new))])[0]
    assert "mean: UNCLEAR: local, 0.115 [0.111, 0.118] × naive is lowest" in line
    assert "but not told apart from per-example (local / per-example = 0.97 [0.93, 1.01])" in line
    assert "established against naive, score(samples=4, baseline=leave-one-out)" in line
    assert "scale: local, 0.146 [0.142, 0.151] × naive, established against all 3 others" in line


def test_an_end_at_1_is_not_below_1(rows: list[dict], make_run: Callable[..., Path]) -> None:
    where, new = ratio_to("local", "naive", 0.9, 0.8, 1.0)
    assert "UNCLEAR" in reports.headline([make_run(changed(rows, where, **new))])[0]


@pytest.mark.parametrize("new", [{"value": math.nan}, {"metric": "other"}])
def test_no_comparison_is_unclear(
    rows: list[dict], make_run: Callable[..., Path], new: dict
) -> None:
    where, _ = ratio_to("local", "naive", 0, 0, 0)
    line = reports.headline([make_run(changed(rows, where, **new))])[0]
    assert "naive (no paired comparison)" in line


def test_zeros_tie(rows: list[dict], make_run: Callable[..., Path]) -> None:
    zero = {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    for label in ("local", "naive"):
        where = {"metric": "variance.total", "label": label, "role": "mean"}
        rows = changed(rows, where, **zero)
    folder = make_run(rows)
    assert "mean: TIE of naive, local, all exactly 0" in reports.headline([folder])[0]
    found = contest(groups_of(load([folder]))[0], "variance.total", "mean")
    assert found.tied
    assert set(found.beaten) == {"per-example", rows[-1]["label"]}


def test_the_baseline_may_win(rows: list[dict], make_run: Callable[..., Path]) -> None:
    two = [item for item in rows if item["label"] in ("naive", "per-example")]
    two = changed(two, {"metric": "variance.total", "label": "naive"}, value=1.0)
    where, new = ratio_to("naive", "per-example", 0.5, 0.4, 0.6)
    line = reports.headline([make_run(changed(two, where, **new))])[0]
    assert "naive in mean and scale: mean the baseline, with per-example next at 0.230" in line
    assert "established against per-example" in line


def test_another_objective_is_never_ranked(run_folder: Path) -> None:
    group = groups_of(load([run_folder]))[0]
    assert verdict(group, "deterministic") == "other objective: shown for scale, not ranked"
    assert order(group)[-1] == "deterministic"
    assert contest(group, "variance.total", "mean").leader == "local"


def test_a_biased_estimator_is_never_ranked(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    folder = make_run(rows)
    group = groups_of(load([folder]))[0]
    group.run.info["estimators"]["local"]["unbiased"] = False
    assert verdict(group, "local") == "biased: shown, not ranked"
    assert contest(group, "variance.total", "mean").leader == "per-example"


def test_one_estimator_has_nothing_to_be_compared_with(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    alone = [item for item in rows if item["label"] == "local" and not item["against"]]
    line = reports.headline([make_run(alone, baseline="local")])[0]
    assert "mean: local alone, nothing to compare it with; scale: local alone" in line


def test_efficiency_is_won_only_where_intervals_are_apart(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    where = {"metric": "ratio.efficiency.variance_seconds", "label": "local", "role": "mean"}
    line = reports.headline([make_run(changed(rows, where, ci_high=1.05))])[1]
    assert "mean: UNCLEAR: local, 0.2 [0.1, 1.1] × naive is lowest" in line
    assert "not told apart from naive (its 0.2 [0.1, 1.1] overlaps 1)" in line


def test_paired_efficiency_is_preferred(rows: list[dict], make_run: Callable[..., Path]) -> None:
    extra = [
        item | {"metric": "pairwise.efficiency.variance_seconds"}
        for item in rows
        if item["metric"] == "pairwise.variance.total"
    ]
    line = reports.headline([make_run(rows + extra)])[1]
    assert "(verdicts at 95 % over all pairs together)" in line


def test_without_variance_nothing_is_ranked(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    timed = [item for item in rows if item["metric"].startswith(("time.", "throughput."))]
    lines = reports.headline([make_run(timed)])
    assert "Not ranked: this run has no variance" in lines[0]
    assert "naive 620 [601, 639] µs (the baseline)" in lines[1]


def test_the_terminal_table_shows_every_estimator(run_folder: Path) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(reports.headline_table([run_folder]))
    text = console.export_text()
    for word in ("local", "per-example", "naive", "score(", "(not ranked)", "0.115", "failed"):
        assert word in text
