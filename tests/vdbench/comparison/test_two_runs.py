"""``vdbench.compare``: what is compared, how it is judged, and what is refused."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import vdbench
from vdbench.comparison import reading
from vdbench.comparison.rows import SETTINGS
from vdbench.measures.variance_metrics import variance_ratios
from vdbench.store import digest, records

TIMES = ("time.seconds_per_gradient", "efficiency.variance_seconds")


def changed(run: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A run with another record, and its seal."""
    content = records.read(run / "run.json")
    change(content)
    (run / "run.json").write_text(records.text(content))
    return run


def other(settings: dict[str, Any], folder: Path, **options: Any) -> Path:
    """A run of variance alone, with other keys of the suite and options of the problem."""
    suite = {
        "name": "compared",
        "threads": 1,
        "problems": [{"name": "p", "options": {"widths": [6], **options}}],
        "batch_sizes": [16],
        "estimators": ["local"],
        "baseline": "local",
        "measures": {"variance": {"first_units": 4, "max_units": 4}},
        **settings,
    }
    return vdbench.run(suite, folder).folder


def test_the_same_code_is_the_same_but_for_times(runs: Path) -> None:
    found = vdbench.compare(runs / "base", runs / "new")
    for row in found.rows:
        if row.metric in TIMES:
            assert (row.verdict, row.p) == ("INCONCLUSIVE", 1.0)
            assert "two sessions" in row.why
        else:
            assert (row.verdict, row.why) == ("SAME", "the same numbers in both"), row
    assert {row.metric for row in found.rows} == {
        "variance.total", "relative_bias", "convergence.final_elbo", "training.elbo", "test.error", "test.nll",
        "test.ece", *TIMES,
    }  # fmt: skip
    assert (found.refused, found.family) == ([], 0)
    assert (found.exit_code(), found.exit_code(strict=True)) == (0, 1)
    only = vdbench.compare(runs / "base", runs / "new", metrics=["variance.total"], only=["local"])
    assert {(row.new, row.metric) for row in only.rows} == {("local", "variance.total")}
    assert only.exit_code(strict=True) == 0


def test_times_of_one_pass_are_compared_and_those_of_two_only_where_asked_for(
    runs: Path, elsewhere: Path
) -> None:
    same = Path(shutil.copytree(runs / "base", elsewhere / "again"))
    rows = [r for r in vdbench.compare(runs / "base", same).rows if r.metric in TIMES]
    assert {row.verdict for row in rows} == {"SAME"}
    asked = vdbench.compare(runs / "base", runs / "new", timing=True)
    rows = [row for row in asked.rows if row.metric == TIMES[0]]
    assert all(math.isfinite(row.value) and "two sessions" in row.why for row in rows)
    assert asked.family == 2 * 4  # a time and variance × time in three roles, for each estimator


def test_two_estimators_of_one_run(runs: Path) -> None:
    found = vdbench.compare(runs / "base", base="naive", new="local")
    (scale,) = (
        r for r in found.rows if (r.metric, r.layer, r.role) == ("variance.total", "all", "scale")
    )
    assert scale.verdict == "BETTER"
    assert all(row.paired for row in found.rows)
    turned = vdbench.compare(runs / "base", base="local", new="naive")
    (back,) = (
        r for r in turned.rows if (r.metric, r.layer, r.role) == ("variance.total", "all", "scale")
    )
    assert back.verdict == turned.verdict == "WORSE"
    assert (back.low, back.high) == pytest.approx((1 / scale.high, 1 / scale.low))
    assert turned.exit_code() == 1
    assert found.family == len(found.rows)


def test_intervals_are_those_that_a_run_writes_for_as_many_comparisons(runs: Path) -> None:
    found = vdbench.compare(runs / "base", base="naive", new="local")
    run = reading.read(runs / "base")
    local, naive = (run.units(("p", "initial", 16, n, "variance"))[0] for n in ("local", "naive"))
    written = variance_ratios(local, naive, run.schedule, "naive", found.family)
    for value in written:
        if value.layer == "all" and value.metric.endswith("total"):
            (row,) = (
                r
                for r in found.rows
                if (r.metric, r.layer, r.role) == ("variance.total", "all", value.role)
            )
            estimate = value.estimate
            assert (row.value, row.low, row.high) == pytest.approx(
                (estimate.value, estimate.low, estimate.high), rel=1e-9
            )


def test_figures_of_the_base_are_those_of_its_table(runs: Path) -> None:
    table = pd.read_parquet(runs / "base" / "results.parquet")
    for row in vdbench.compare(runs / "base", runs / "new").rows:
        mine = table[
            (table.metric == row.metric) & (table.label == row.base) & (table.layer == row.layer)
            & (table.role == row.role) & (table.checkpoint == row.checkpoint) & (table.against == "")
        ]  # fmt: skip
        assert row.base_value == pytest.approx(mine["value"].iloc[0], rel=1e-6, nan_ok=True), row


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ({"precision": "float64"}, {}, "the precision differs: float32 and float64"),
        ({"objective": "elbo"}, {}, "the objective differs: likelihood and elbo"),
        ({"seed": 1}, {}, "the checkpoint's parameters differ"),
        ({}, {"prior": {"kind": "gaussian", "variance": 2.0}}, "the problem differs: the prior"),
        ({}, {"parameterization": "theta-log_alpha"}, "the problem differs: the coordinates"),
        ({}, {"dataset": "breast-cancer"}, "the problem differs: the likelihood|the data set"),
        ({}, {"widths": [5]}, "the problem differs: the network"),
        (
            {"checkpoints": [{"name": "initial", "epochs": 1, "batch_size": 512}]},
            {},
            "parameters differ",
        ),
        ({"batch_sizes": [8]}, {}, "no block of it|not measured"),
        ({"estimators": ["naive"], "baseline": "naive"}, {}, "not measured"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    elsewhere: Path, settings: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    base = other({}, elsewhere / "one")
    new = other(settings, elsewhere / "two", **options)
    with pytest.raises(vdbench.InputError, match=said) as caught:
        vdbench.compare(base, new)
    assert str(caught.value).count("\n") == 0


def test_another_seed_refuses_variances_and_compares_trainings_unpaired(
    runs: Path, elsewhere: Path
) -> None:
    suite = copy.deepcopy(records.read(runs / "base" / "run.json")["suite"])
    suite["measures"] = {k: suite["measures"][k] for k in ("variance", "convergence")}
    new = vdbench.run({**suite, "seed": 1}, elsewhere / "seed").folder
    found = vdbench.compare(runs / "base", new)
    assert {row.metric for row in found.rows} == {
        "convergence.final_elbo",
        "test.error",
        "test.nll",
    }
    assert not any(row.paired for row in found.rows)
    whys = {refusal.measure: refusal.why for refusal in found.refused}
    assert "parameters differ" in whys["variance"]
    assert whys["training"] == "not measured in seed"
    assert any(text.startswith("seed: 0 and 1") for text in found.differing)


def test_times_of_other_machines_are_refused(runs: Path, copied: Callable[[str], Path]) -> None:
    new = changed(copied("new"), lambda r: r["environment"]["device"].update(name="another"))
    found = vdbench.compare(runs / "base", new, timing=True)
    assert {refusal.measure for refusal in found.refused} == {"throughput"}
    assert "the device differs" in found.refused[0].why
    assert not any(row.metric in TIMES for row in found.rows)


@pytest.mark.parametrize("fault", ["cut", "changed", "lost", "misplaced"])
def test_rows_of_a_damaged_block_are_refused_by_name(
    runs: Path, copied: Callable[[str], Path], fault: str
) -> None:
    new = copied("new")
    blocks = sorted((new / "blocks").iterdir())
    run = reading.read(new)
    (victim, spare) = (
        new / "blocks" / f"{digest(block.address)}.parquet"
        for block in run.blocks
        if block.address["measure"] == "variance" and block.address["units"][0] == 0
    )
    content = victim.read_bytes()
    match fault:
        case "cut":
            victim.write_bytes(content[: len(content) // 2])
        case "changed":
            place = content.rindex(b"vdbench.seal") // 2
            victim.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        case "lost":
            victim.unlink()
        case "misplaced":
            victim.write_bytes(spare.read_bytes())
    before = {path: path.read_bytes() for path in blocks if path.exists()}
    found = vdbench.compare(runs / "base", new)
    (refusal,) = {r for r in found.refused if r.measure == "variance"}
    assert f"blocks/{victim.name}" in refusal.why
    left = {row.new for row in found.rows if row.metric == "variance.total"}
    assert left == {"naive", "local"} - {refusal.estimator}
    assert before == {path: path.read_bytes() for path in blocks if path.exists()}


def test_a_damaged_table_or_record_is_refused(runs: Path, copied: Callable[[str], Path]) -> None:
    new = copied("new")
    (new / "results.parquet").write_bytes(b"nothing")
    with pytest.raises(vdbench.InputError, match=r"results.parquet is damaged"):
        vdbench.compare(runs / "base", new)
    (new / "results.parquet").unlink()
    with pytest.raises(vdbench.InputError, match="the run has not ended"):
        vdbench.compare(runs / "base", new)
    (new / "run.json").write_text("{")
    with pytest.raises(vdbench.InputError, match=r"run.json is damaged"):
        vdbench.compare(runs / "base", new)


def test_a_cell_that_failed_is_named_also_where_it_keeps_older_figures(
    runs: Path, copied: Callable[[str], Path]
) -> None:
    def fail(record: dict[str, Any]) -> None:
        for cell in record["cells"]:
            if cell["estimator"] == "local" and cell["measure"] == "variance":
                cell["kept"] = "the gradient is not finite."

    found = vdbench.compare(runs / "base", changed(copied("new"), fail))
    (refusal,) = (r for r in found.refused if r.measure == "variance")
    assert refusal.why.startswith("failed: the gradient is not finite.")
    assert not any(r.new == "local" and r.metric == "variance.total" for r in found.rows)
    assert found.exit_code(strict=True) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"base": "naive"}, "labels of both estimators"),
        ({}, "expected a second run folder"),
        ({"base": "naive", "new": "locla"}, "Did you mean 'local'"),
        ({"new_run": "base", "metrics": ["variance"]}, "metric 'variance' is unknown"),
        ({"new_run": "base", "only": ["nave"]}, "Did you mean 'naive'"),
        ({"new_run": "base", "tolerance": -0.1}, "tolerance must be"),
        ({"new_run": "base", "level": 1.0}, "level must be"),
        ({"new_run": "nowhere"}, "is not a run folder"),
        ({"new_run": "base/run.json"}, "is not a run folder"),
    ],
)
def test_wrong_arguments_are_refused(
    runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(runs)
    with pytest.raises(vdbench.InputError, match=said):
        vdbench.compare("base", **arguments)


def test_settings_are_keys_of_a_suite() -> None:
    """What is proposed can be given with --set."""
    from vdbench.measures.registry import load

    suite = {
        "name": "s",
        "problems": [{"name": "p"}],
        "batch_sizes": [4],
        "estimators": ["naive"],
        "baseline": "naive",
        "measures": {m: {"epochs": 1} if m == "training" else {} for m in SETTINGS},
    }
    keys = {key for units in SETTINGS.values() for several in units.values() for key in several}
    load(suite, [f"{key}=64" for key in sorted(keys)])
