from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import reports
from reports.output.terminal import time_cell
from reports.results.groups import groups_of
from reports.results.load import load
from reports.results.ranking import Contest, contest, order
from reports.sections.headline import REST
from reports.sections.summary_sentences import dearer
from reports.sections.summary_table import headline_note, ratio_text
from reports.words.verdicts import sizes, verdict


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
    frame = load([run_folder]).frame.drop(columns=["run", "detail"])
    kept = (frame["problem"] == "digits-mlp") & (frame["checkpoint"] == "initial")
    return frame[kept].to_dict("records")


def about(lines: list[str], lead: str) -> str:
    """Return the one line on a subject."""
    found = [line for line in lines if line.startswith(f"{lead}: ")]
    assert len(found) == 1, lines
    return found[0]


def test_a_clear_winner_is_named_with_its_margin_certainty_and_cost(run_folder: Path) -> None:
    lines = reports.headline([run_folder])
    assert lines[0].startswith(
        "digits-mlp · checkpoint initial · batch 128. Use local: it has the lowest variance × time for the means μ and "
        "the scales log σ²: 0.154 [0.142, 0.165] × naive for the means μ and 0.196 "
    )
    assert lines[0].endswith(
        "Its variance × time is significantly lower than that of all 3 others (where the intervals of the ratios do "
        "not overlap; adjusted for multiple comparisons)."
    )
    assert lines[1] == (
        "Variance: Gradient with respect to the means μ (mean): local is lowest, 0.115 [0.106, 0.124] × naive. "
        "local is significantly lower than all 3 others. Gradient with respect to the scales log σ² (scale): local is "
        "lowest, 0.146 [0.135, 0.158] × naive. local is significantly lower than all 3 others. "
        "score(samples=4, baseline=leave-one-out) stopped at max_units before the requested precision. "
        "Ratios have intervals that hold together at 95 % within a place and kind of parameter; verdicts rest on "
        "them; n = 400 units of four gradients each."
    )
    assert lines[3] == "Time per gradient: local 830 [805, 855] µs (1.34 [1.29, 1.39] × naive)."


def test_training_that_favours_another_says_so(run_folder: Path) -> None:
    line = reports.headline([run_folder])[2]
    assert line == (
        "Training: After equal numbers of steps, naive has the highest ELBO, −960 [−978, −942] nats. naive reaches "
        "the target first, after 200 [190, 210] ms. Ranked estimators only; intervals at 95 %, verdicts adjusted for "
        "multiple comparisons. This differs from the recommendation."
    )


def test_training_without_clear_intervals_is_inconclusive(
    run_folder: Path, make_run: Callable[..., Path]
) -> None:
    rows = load([run_folder]).frame.drop(columns=["run", "detail"]).to_dict("records")
    rows = [row for row in rows if row["problem"] == "digits-mlp"]
    wide = {"ci_low": -2000.0, "ci_high": -300.0}
    rows = changed(rows, {"metric": "convergence.final_elbo", "label": "local"}, **wide)
    said = {"message": "target -905.5 nats, reached by 5 of 5 seeds"}  # as in runs of schema 1
    rows = changed(rows, {"metric": "convergence.seconds_to_target"}, **said)
    line = about(reports.headline([make_run(rows)]), "Training")
    assert "the highest ELBO is inconclusive between naive and local (−960 [−978, −942] " in line
    assert " nats). naive reaches the target of −905.5 nats first, after 200 [" in line


def test_equal_times_to_the_target_are_not_said_to_be_first(
    run_folder: Path, make_run: Callable[..., Path]
) -> None:
    rows = load([run_folder]).frame.drop(columns=["run", "detail"]).to_dict("records")
    rows = [row for row in rows if row["problem"] == "digits-mlp"]
    where = {"metric": "convergence.seconds_to_target", "label": "per-example"}
    rows = changed(rows, where, ci_low=0.2)
    line = about(reports.headline([make_run(rows)]), "Training")
    assert (
        "Who reaches the target first is inconclusive between naive and per-example (200 [190, 210] ms"
        in line
    )
    assert "reaches the target first, after" not in line


def test_an_interval_that_contains_1_is_inconclusive(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    where, new = ratio_to("local", "per-example", 0.97, 0.93, 1.012)
    folder = make_run(changed(rows, where | {"role": "mean"}, **new))
    line = about(reports.headline([folder]), "Variance")
    assert (
        "(mean): local has the smallest estimate, 0.115 [0.106, 0.124] × naive. local is significantly lower than 2 "
        "others. "
        "The comparison with per-example (ratio 0.97 [0.93, 1.01]) is inconclusive. Gradient with respect to the scales"
    ) in line
    group = groups_of(load([folder]))[0]
    assert verdict(group, "local") == (
        "mean: smallest estimate, inconclusive against per-example; scale: lowest"
    )
    assert verdict(group, "per-example") == (
        "mean: inconclusive against local; scale: significantly higher"
    )
    assert verdict(group, "naive") == "significantly higher"


def test_an_interval_within_the_tolerance_is_equivalent(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    where, new = ratio_to("local", "per-example", 0.99, 0.97, 1.012)
    folder = make_run(changed(rows, where | {"role": "mean"}, **new))
    line = about(reports.headline([folder]), "Variance")
    assert "It is equivalent within ±5 % to per-example (ratio 0.990 [0.970, 1.012])." in line
    group = groups_of(load([folder]))[0]
    assert verdict(group, "per-example") == (
        "mean: equivalent within ±5 % to local; scale: significantly higher"
    )


def test_several_inconclusive_comparisons_are_told_together(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    for other in ("per-example", "naive"):
        where, new = ratio_to("local", other, 0.97, 0.93, 1.012)
        rows = changed(rows, where, **new)
    line = about(reports.headline([make_run(rows)]), "Variance")
    assert "The comparisons with naive (ratio 0.97 [0.93, 1.01]) and per-example (ratio " in line
    assert "are inconclusive" in line


def test_an_end_at_1_is_not_below_1(rows: list[dict], make_run: Callable[..., Path]) -> None:
    where, new = ratio_to("local", "naive", 0.9, 0.8, 1.0)
    lines = reports.headline([make_run(changed(rows, where, **new))])
    assert "The comparison with naive (ratio 0.90 [0.80, 1.00]) is inconclusive" in about(
        lines, "Variance"
    )


@pytest.mark.parametrize("new", [{"value": math.nan}, {"metric": "other"}])
def test_no_comparison_is_told(rows: list[dict], make_run: Callable[..., Path], new: dict) -> None:
    where, _ = ratio_to("local", "naive", 0, 0, 0)
    folder = make_run(changed(rows, where, **new))
    line = about(reports.headline([folder]), "Variance")
    assert "It is not compared with naive." in line
    assert verdict(groups_of(load([folder]))[0], "local") == (
        "smallest estimate, not compared with naive"
    )


def test_zeros_are_equal(rows: list[dict], make_run: Callable[..., Path]) -> None:
    zero = {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    for label in ("local", "naive"):
        where = {"metric": "variance.total", "label": label, "role": "mean"}
        rows = changed(rows, where, **zero)
    folder = make_run(rows)
    line = about(reports.headline([folder]), "Variance")
    assert "the means μ (mean): naive and local are all exactly 0." in line
    found = contest(groups_of(load([folder]))[0], "variance.total", "mean")
    assert found.zeros
    assert set(found.beaten) == {"per-example", rows[-1]["label"]}


def test_the_baseline_may_win(rows: list[dict], make_run: Callable[..., Path]) -> None:
    two = [item for item in rows if item["label"] in ("naive", "per-example")]
    two = changed(two, {"metric": "variance.total", "label": "naive"}, value=1.0)
    where, new = ratio_to("naive", "per-example", 0.5, 0.4, 0.6)
    line = about(reports.headline([make_run(changed(two, where, **new))]), "Variance")
    assert (
        "naive, the baseline, is lowest. The next smallest estimate is that of per-example, 0.2"
        in line
    )
    assert "naive is significantly lower than per-example." in line


def test_the_next_one_to_the_baseline_is_named_for_each_kind_of_parameter(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    two = [item for item in rows if item["label"] in ("naive", "per-example")]
    group = groups_of(load([make_run(two)]))[0]
    won = [Contest(role, "naive", ["per-example"], {}) for role in group.headline_roles()]
    said = sizes(group, won, "variance.total")
    assert said.count("The next smallest estimate is that of per-example") == len(won) > 1
    assert "× naive for the means μ. The next" in said
    assert said.endswith("× naive for the scales log σ²")


def test_another_objective_is_never_ranked(run_folder: Path) -> None:
    group = groups_of(load([run_folder]))[0]
    assert verdict(group, "deterministic") == "not ranked"
    assert order(group)[-1] == "deterministic"
    assert contest(group, "variance.total", "mean").leader == "local"


def test_a_biased_estimator_is_never_ranked(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    folder = make_run(rows)
    group = groups_of(load([folder]))[0]
    group.run.info["estimators"]["local"]["unbiased"] = False
    assert verdict(group, "local") == "not ranked"
    assert contest(group, "variance.total", "mean").leader == "per-example"


def test_one_estimator_has_nothing_to_be_compared_with(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    alone = [item for item in rows if item["label"] == "local" and not item["against"]]
    lines = reports.headline([make_run(alone, baseline="local")])
    assert lines[0].endswith("Nothing to compare: local is the only ranked estimator.")
    assert "the means μ (mean): local is the only ranked estimator." in lines[1]


def test_efficiency_is_won_only_where_intervals_are_apart(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    where = {"metric": "ratio.efficiency.variance_seconds", "label": "local", "role": "mean"}
    lines = reports.headline([make_run(changed(rows, where, ci_high=1.05))])
    assert lines[0].endswith(
        "No clear winner by variance × time: for the means μ, local has the smallest estimate, inconclusive against "
        "naive; for the scales log σ², local is lowest."
    )
    line = about(lines, "Variance × time")
    assert (
        "The comparison with naive (overlapping intervals: 0.15 [0.14, 1.78] and 1) is" in line
    ), line


def test_two_winners_are_no_open_question(rows: list[dict], make_run: Callable[..., Path]) -> None:
    some = [
        row for row in rows if row["label"] in ("naive", "local") and "variance" in row["metric"]
    ]
    some = [row for row in some if "seconds" not in row["metric"]]
    where, new = ratio_to("naive", "local", 0.5, 0.4, 0.6)
    turned = changed(some, {**where, "role": "mean"}, **new)
    turned = changed(
        turned, {"metric": "variance.total", "label": "naive", "role": "mean"}, value=1.0
    )
    line = reports.headline([make_run(turned)])[0]
    assert (
        "No one estimator is the lowest for all parameters by variance: for the means μ, naive is lowest"
        in line
    )
    group = groups_of(load([make_run(turned)]))[0]
    found = [contest(group, "variance.total", role) for role in group.headline_roles()]
    group.draws.update(local=2, naive=1)
    assert dearer(group, found, "variance.total") == (
        " Of draws and passes a gradient of local takes 2, that of others 1 at least."
    )
    assert dearer(group, found, "efficiency.variance_seconds") == ""


def test_paired_efficiency_is_preferred(rows: list[dict], make_run: Callable[..., Path]) -> None:
    extra = [
        item | {"metric": "pairwise.efficiency.variance_seconds"}
        for item in rows
        if item["metric"] == "pairwise.variance.total"
    ]
    line = reports.headline([make_run(rows + extra)])[0]
    assert line.endswith(
        "significantly lower than that of all 3 others (adjusted for multiple comparisons)."
    )


def test_without_time_variance_decides_and_says_so(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    rows = [item for item in rows if "variance." in item["metric"]]
    rows = [item for item in rows if "efficiency" not in item["metric"]]
    line = reports.headline([make_run(rows)])[0]
    assert (
        "By variance of one gradient, local is lowest: it has the lowest variance for the means μ and the "
        "scales log σ²: " in line
    )
    assert line.endswith("(adjusted for multiple comparisons). Time was not measured.")


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


def test_the_terminal_table_explains_its_marks(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    def table(status: str) -> str:
        console = Console(width=160, record=True, file=io.StringIO())
        console.print(
            reports.headline_table([make_run([row | {"status": status} for row in rows])])
        )
        return console.export_text()

    said = "† stopped at its limit (such as max_units) before the requested precision."
    assert said in table("bounded")
    assert "†" not in table("ok")


def biased(like: dict, label: str, low: float, role: str = "scale") -> dict:
    """Make a row of the check for bias from any other row of the run."""
    where = {"metric": "adjusted.relative_bias", "label": label, "layer": "all", "role": role}
    return like | where | {"value": 0.94, "ci_low": low, "ci_high": 0.96, "unit": "1"}


def test_a_biased_winner_is_accused_and_not_ranked(
    rows: list[dict], make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    folder = make_run([*rows, biased(rows[0], "local", 0.89)], reference="naive")
    lines = reports.headline([folder])
    assert ". Use local" not in lines[0]
    assert lines[1] == (
        "Bias: local is declared unbiased, but its relative bias against naive is 0.94 [0.89, 0.96] with respect to "
        "the scales log σ² (scale). It is therefore not ranked (95 %, adjusted for multiple comparisons)."
    )
    group = groups_of(load([folder]))[0]
    assert verdict(group, "local") == "biased"
    assert order(group)[-2:] == ["deterministic", "local"]
    text = report(folder)
    assert "- **Bias:** local is declared unbiased, but" in text
    assert "| local | none found; at most 0.03 |" in text
    assert "| declared unbiased; not ranked |" in text
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(reports.headline_table([folder]))
    assert "local (biased, not ranked)" in console.export_text()


def test_bias_in_any_role_counts(rows: list[dict], make_run: Callable[..., Path]) -> None:
    folder = make_run([*rows, biased(rows[0], "local", 0.89, "bias")], reference="naive")
    assert "with respect to the biases of the layers (layer bias)" in about(
        reports.headline([folder]), "Bias"
    )


@pytest.mark.parametrize(
    ("label", "low", "reference"),
    [("local", 0.0, "naive"), ("local", 0.9, "local"), ("deterministic", 0.9, "naive")],
)
def test_none_is_accused_without_evidence_or_as_the_reference(
    rows: list[dict], make_run: Callable[..., Path], label: str, low: float, reference: str
) -> None:
    lines = reports.headline([make_run([*rows, biased(rows[0], label, low)], reference=reference)])
    assert ". Use local" in lines[0]
    assert not [line for line in lines if line.startswith("Bias")]


def test_the_table_says_whose_bias_was_not_checked(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    def said(more: list[dict], name: str) -> str:
        return headline_note(groups_of(load([make_run(rows + more, name=name)])))

    labels = list(dict.fromkeys(item["label"] for item in rows))
    checks = {label: biased(rows[0], label, -0.1) for label in labels}
    assert said([], "none").endswith(" Bias not checked.")
    assert said([checks["naive"], checks[labels[-1]]], "some").endswith(
        "Bias not checked: per-example."
    )
    assert "not checked" not in said(list(checks.values()), "all")


def test_only_the_roles_of_noisy_weights_are_ranked(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    one = [item for item in rows if item["role"] != "scale"]
    line = reports.headline([make_run(one, name="one")])[0]
    assert "lowest variance × time for the means μ: 0.154 [0.142, 0.165] × naive." in line
    none = [item for item in rows if item["role"] not in ("scale", "mean")]
    line = reports.headline([make_run(none, name="none")])[0]
    assert "Not ranked: this run has no variance over all layers" in line


def test_without_time_the_baseline_has_no_product(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    rows = [item for item in rows if item["metric"].startswith(("variance.", "ratio.variance."))]
    group = groups_of(load([make_run(rows)]))[0]
    assert ratio_text(group, "efficiency.variance_seconds", "naive", "mean") == "–"
    assert ratio_text(group, "variance.total", "naive", "mean") == "1 (baseline)"
    assert time_cell(group, "naive") == "–"


def test_the_unit_of_a_time_is_on_both_lines(run_folder: Path) -> None:
    group = groups_of(load([run_folder]))[0]
    assert time_cell(group, "naive") == "620 µs\n[601, 639] µs"


def test_many_places_with_one_estimator_are_named_together(
    rows: list[dict], make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    one = [row for row in rows if row["label"] == "local"]
    places = [dict(row, problem=f"{row['problem']}-{k}") for k in range(4) for row in one]
    folder = make_run(places)
    lines = reports.headline([folder])
    assert sum("With one estimator each" in line for line in lines) == 1
    assert not any("Nothing to compare" in line for line in lines)
    text = report(folder)
    short = text.partition("## Results by place")[2].partition("\n## ")[0]
    assert "With one estimator each, these problems have nothing to compare by variance: " in short
    assert short.count("-3") == 1


def test_zeros_up_to_rounding_error_are_equal(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    """1e-14 and 3e-14 of the baseline's variance are what rounding leaves of 0: neither is lower."""
    base = next(r["value"] for r in rows if r["metric"] == "variance.total" and r["label"] == "naive"
                and (r["layer"], r["role"]) == ("all", "mean"))  # fmt: skip
    for label, share in (("local", 1e-14), ("per-example", 3e-14)):
        where = {"metric": "variance.total", "label": label, "role": "mean", "layer": "all"}
        value = share * base
        rows = changed(rows, where, value=value, ci_low=0.9 * value, ci_high=1.1 * value)
    folder = make_run(rows)
    found = contest(groups_of(load([folder]))[0], "variance.total", "mean")
    assert found.zeros
    assert found.rounded
    assert "naive" in found.beaten
    line = about(reports.headline([folder]), "Variance")
    assert "are all 0 up to rounding error" in line


def test_many_places_have_one_answer_each_and_no_tables(
    rows: list[dict], make_run: Callable[..., Path]
) -> None:
    few, many = (
        make_run(
            [row | {"batch_size": size} for size in range(1, count + 1) for row in rows],
            name=f"run-{count}",
        )
        for count in (4, 5)
    )
    lines = {folder: reports.headline([folder]) for folder in (few, many)}
    assert lines[many][-1] == REST
    assert len([line for line in lines[many] if line.startswith("digits-mlp · ")]) == 5
    assert not any(line.startswith("Variance: ") for line in lines[many])
    assert sum(line.startswith("Variance: ") for line in lines[few]) == 4
    shown = {}
    for folder in (few, many):
        console = Console(width=160, file=io.StringIO())
        console.print(reports.headline_table([folder]))
        shown[folder] = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown[few].count("estimator ") == 4
    assert shown[many] == "The tables of 5 places are in the report.\n"
