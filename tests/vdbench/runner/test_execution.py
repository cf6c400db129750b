"""A run measures all that the contract promises, in whatever order."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from tiny_runs import BY_PLACE, LABELS, SCORE, TINY, sorted_rows, with_measures

import vdbench
from vdbench import schema
from vdbench.estimation import registry
from vdbench.measures import memory
from vdbench.measures.memory_process import measure
from vdbench.measures.registry import load
from vdbench.runner import plan, results
from vdbench.runner.finished import Finished
from vdbench.training.trainer import Trainer

BY_ROLE = {
    "efficiency.variance_seconds",
    "ratio.efficiency.variance_seconds",
    "adjusted.relative_bias",
}

ONCE = {"time.seconds_per_gradient", "time.seconds_per_epoch", "ratio.time.seconds_per_gradient",
        "throughput.gradients_per_second", "throughput.examples_per_second", "memory.peak_bytes",
        "convergence.final_elbo", "convergence.seconds_to_target", "test.error", "test.nll"}  # fmt: skip

BY_PAIR = {"pairwise.variance.total", "pairwise.variance.noise", "pairwise.time.seconds_per_gradient",
           "pairwise.efficiency.variance_seconds"}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of these tests' own, shared among them."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder and a registry of the test's own, modules as they were."""
    registry.discover()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith(("vdbench_plugin_", "own_")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def tiny(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run of everything, its memory measured in this process to save ten imports of torch."""

    def rows(job: dict[str, Any], repetitions: int, along: Any) -> dict[str, Any]:
        return {"bytes": np.array([float(measure(job, r)) for r in range(repetitions)])}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "rows", rows)
        return vdbench.run(
            TINY, tmp_path_factory.mktemp("runs") / "tiny", command="vdbench run tiny"
        )


@pytest.fixture(scope="module")
def table(tiny: Finished) -> pd.DataFrame:
    return tiny.results


@pytest.fixture(scope="module")
def about(tiny: Finished) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tiny.folder / "run.json").read_text())
    return found


# -- what a run leaves ------------------------------------------------------------------------------------------


def test_the_table_has_the_columns_and_types_of_the_contract(table: pd.DataFrame) -> None:
    assert list(table.columns) == list(results.COLUMNS)
    pd.testing.assert_series_equal(table.dtypes, results.frame([]).dtypes)
    assert set(table["metric"]) == BY_PLACE | BY_ROLE | ONCE | BY_PAIR | {"convergence.elbo"}


@pytest.mark.parametrize("label", LABELS)
def test_every_estimator_has_every_figure(table: pd.DataFrame, label: str) -> None:
    mine = table[table["label"] == label]
    places = [
        (layer, role) for layer in ("fc1", "fc2", "all") for role in ("mean", "scale", "bias")
    ]
    for metric in BY_PLACE:
        found = mine[mine["metric"] == metric]
        assert sorted(zip(found["layer"], found["role"], strict=True)) == sorted(places), metric
    for metric in BY_ROLE:
        found = mine[mine["metric"] == metric]
        assert set(found["layer"]) == {"all"}
        assert sorted(found["role"]) == ["bias", "mean", "scale"], metric
    for metric in ONCE:
        (found,) = mine[mine["metric"] == metric][["layer", "role"]].to_numpy()
        assert list(found) == ["all", "all"], metric
    for metric in BY_PAIR:
        found = mine[mine["metric"] == metric]
        # variance in each of two layers too
        count = 1 if "time." in metric else 9 if ".variance." in metric else 3
        assert sorted(found["against"]) == sorted(count * [x for x in LABELS if x != label])
    assert list(mine[mine["metric"] == "convergence.elbo"]["step"]) == [0, 5, 10]


def test_every_row_says_where_it_is_from(table: pd.DataFrame) -> None:
    same = {"suite": "tiny", "problem": "digits", "objective": "likelihood", "device": "cpu", "seed": 0,
            "parameterization": "mean-log_variance", "precision": "float32"}  # fmt: skip
    for name, value in same.items():
        assert set(table[name]) == {value}
    trained = table["metric"].str.startswith(("convergence", "test"))
    assert set(table[trained]["checkpoint"]) == {"training"}
    assert set(table[trained]["batch_size"]) == {32}
    assert set(table[~trained]["checkpoint"]) == {"local-1-epochs"}
    assert set(table[~trained]["batch_size"]) == {16}
    score = table[table["estimator"] == "score"]
    assert set(score["options"]) == {'{"baseline":"leave-one-out","samples":2}'}
    assert set(score["samples"]) == {2}
    assert set(table[table["estimator"] != "score"]["options"]) == {"{}"}


def test_every_figure_has_an_interval_or_says_why_not(table: pd.DataFrame) -> None:
    whole = np.isfinite(table[["value", "ci_low", "ci_high"]]).all(axis=1)
    assert set(table["status"]) <= {"ok", "converged", "bounded", "undefined"}
    assert set(table[~whole]["status"]) <= {"bounded", "undefined"}
    assert (table[~whole]["message"] != "").all()
    found = table[whole]
    assert (found["ci_low"] <= found["value"]).all()
    assert (found["value"] <= found["ci_high"]).all()
    assert (table["n"][whole] >= 2).all()
    assert table["level"].between(0.95, 1, inclusive="left").all()
    assert (table["unit"] != "").all()
    # without noise nothing can be divided by the noise, and nothing else is undefined but biases
    undefined = table[
        (table["status"] == "undefined") & ~table["metric"].str.endswith("relative_bias")
    ]
    assert set(undefined["label"][undefined["against"] == ""]) == {"deterministic"}
    assert set(undefined["against"]) == {"", "deterministic"}


def test_variance_is_noise_and_data(table: pd.DataFrame) -> None:
    keys = ["label", "layer", "role"]
    parts = [
        table[table["metric"] == f"variance.{q}"].set_index(keys)[["value", "n"]]
        for q in ("noise", "data", "total")
    ]
    noise, data, total = (part.sort_index() for part in parts)
    assert len(total) == 5 * 9
    np.testing.assert_allclose(noise["value"] + data["value"], total["value"], rtol=1e-4)
    assert (noise["n"] == total["n"]).all()
    assert (noise.loc["deterministic", "value"] == 0).all()
    assert (noise.drop("deterministic")["value"] > 0).all()


def test_the_baseline_is_exactly_one(table: pd.DataFrame) -> None:
    ratios = table[table["metric"].str.startswith("ratio.")]
    assert set(ratios["against"]) == {"naive"}
    baseline = ratios[ratios["label"] == "naive"]
    assert len(baseline) == 2 * 9 + 1 + 3
    assert (baseline[["value", "ci_low", "ci_high"]] == 1).all(axis=None)


def test_pairs_have_a_level_for_all_of_them_together(table: pd.DataFrame) -> None:
    pairs = table[table["metric"].str.startswith("pairwise.")]
    single = pairs["layer"] != "all"
    # ten pairs of five estimators, in each of two layers; by the largest error where that reaches less far
    bonferroni = np.where(single, 1 - 0.05 / 20, 1 - 0.05 / 10)
    detail = pairs["detail"].map(json.loads)
    reach = detail.map(lambda facts: facts.get("largest_error", np.nan)).to_numpy(dtype=float)
    by_error = np.isfinite(reach)
    variance = pairs["metric"].str.startswith("pairwise.variance").to_numpy()
    assert by_error.any()
    assert not by_error[~variance].any()
    np.testing.assert_allclose(pairs["level"][~by_error], bonferroni[~by_error])
    np.testing.assert_allclose(pairs["level"][by_error], 1 - 2 * norm.sf(reach[by_error]))
    assert (pairs["level"][by_error] < bonferroni[by_error]).all()
    assert (pairs["level"][by_error] > 0.95).all()
    assert set(pairs["metric"][single]) == {"pairwise.variance.total", "pairwise.variance.noise"}
    adjusted = table[table["metric"] == "adjusted.relative_bias"]
    np.testing.assert_allclose(adjusted["level"], 1 - 0.05 / 15)  # five estimators, three roles
    rest = table.drop(pairs.index).drop(adjusted.index)
    np.testing.assert_allclose(rest["level"], 0.95)


def test_efficiency_is_variance_times_seconds(table: pd.DataFrame) -> None:
    def one(label: str, metric: str, role: str) -> float:
        found = table[(table["label"] == label) & (table["metric"] == metric)]
        (value,) = found[(found["layer"] == "all") & (found["role"] == role)]["value"]
        return float(value)

    for label in LABELS:
        seconds = one(label, "time.seconds_per_gradient", "all")
        rate = one(label, "throughput.gradients_per_second", "all")
        assert rate == pytest.approx(1 / seconds)
        assert one(label, "throughput.examples_per_second", "all") == pytest.approx(16 * rate)
        for role in ("mean", "scale", "bias"):
            expected = seconds * one(label, "variance.total", role)
            assert one(label, "efficiency.variance_seconds", role) == pytest.approx(expected)


def test_the_target_is_nine_tenths_of_what_the_baseline_gains(table: pd.DataFrame) -> None:
    curve = table[(table["label"] == "naive") & (table["metric"] == "convergence.elbo")]["value"]
    expected = curve.iloc[0] + 0.9 * (curve.iloc[-1] - curve.iloc[0])
    messages = table[table["metric"] == "convergence.seconds_to_target"]["message"]
    (target,) = set(messages.str.extract(r"target (\S+) nats")[0])
    assert float(target) == pytest.approx(expected, rel=1e-5)


def test_the_record_says_what_was_run_and_where(about: Mapping[str, Any]) -> None:
    assert about["schema"] == schema.RUN
    assert load({k: v for k, v in about["suite"].items() if k != "measures"} | {
        "measures": TINY["measures"]}) == load(TINY)  # fmt: skip
    expected = {"seed": 0, "baseline": "naive", "reference": "naive", "level": 0.95, "device": "cpu",
                "command": "vdbench run tiny", "only": [], "plugins": []}  # fmt: skip
    assert {name: about[name] for name in expected} == expected
    assert about["wall_seconds"] > 0
    assert about["started"] <= about["finished"]
    assert about["threads"] >= 1
    assert {"environment", "git", "versions", "chunks"} <= set(about)
    assert about["versions"]["torch"]


def test_the_record_says_what_estimators_and_problems_are(about: Mapping[str, Any]) -> None:
    assert list(about["estimators"]) == LABELS
    local, score = about["estimators"]["local"], about["estimators"][SCORE]
    assert set(local) == {"name", "options", "objective", "unbiased", "independent_examples", "laws",
                          "version", "summary"}  # fmt: skip
    assert (local["objective"], local["unbiased"], local["laws"]) == ("elbo", True, ["normal"])
    assert local["summary"]
    assert score["options"] == {"baseline": "leave-one-out", "samples": 2}
    digits = about["problems"]["digits"]
    assert digits["dataset"] == "digits"
    assert digits["layers"] == ["fc1", "fc2"]
    assert digits["parameters"] == 2 * (64 * 8 + 8 * 10) + 8 + 10
    assert digits["parameterization"] == "mean-log_variance"
    assert "64" in digits["description"]


def test_the_record_says_how_every_cell_ended(about: Mapping[str, Any]) -> None:
    cells = plan.cells(load(TINY))
    found = {(c["measure"], c["estimator"]): c for c in about["cells"]}
    assert set(found) == {(cell.measure, cell.label) for cell in cells}
    assert len(about["cells"]) == len(cells) == 25
    for (measured, _), cell in found.items():
        assert cell["status"] in (
            ("converged", "bounded") if measured == "variance" else ("ok", "bounded")
        )
        assert cell["reason"]
        assert cell["n"] >= 2
        assert cell["seconds"] > 0
        assert cell["problem"] == "digits"
    assert all(v >= 0 for v in about["chunks"].values())
    assert len(about["chunks"]) == 5


def test_a_run_leaves_no_half_written_file(tiny: Finished) -> None:
    assert tiny.failed == 0
    assert {p.name for p in tiny.folder.iterdir()} == {
        "blocks", "checkpoints", "results.parquet", "run.json",
    }  # fmt: skip
    assert all(p.suffix == ".parquet" for p in (tiny.folder / "blocks").iterdir())


# -- what figures do not depend on ------------------------------------------------------------------------------


def test_figures_depend_on_neither_order_nor_company(tiny: Finished) -> None:
    turned = {**TINY, "estimators": TINY["estimators"][::-1]}
    turned["measures"] = {m: TINY["measures"][m] for m in ("variance", "bias", "convergence")}
    every = tiny.results
    own = every["metric"].isin(
        BY_PLACE | {"convergence.elbo", "convergence.final_elbo", "test.nll"}
    )
    drop = ("seconds",)
    for only, labels in (((), LABELS), (("local",), ["naive", "local"])):
        made = vdbench.run(turned, f"run-{len(only)}", only=only).results
        assert set(made["label"]) == set(labels)
        expected = every[own & every["label"].isin(labels)]
        made = made[made["metric"].isin(set(expected["metric"]))]
        pd.testing.assert_frame_equal(
            sorted_rows(made, drop), sorted_rows(expected, drop), check_exact=True
        )


def test_the_seed_changes_the_figures(tiny: Finished) -> None:
    other = vdbench.run(with_measures("variance", checkpoints=TINY["checkpoints"]), "run",
                        settings=["seed=1"], only=["local"])  # fmt: skip
    both = [t[(t["metric"] == "variance.total") & (t["label"] == "local")]["value"].to_numpy()
            for t in (tiny.results, other.results)]  # fmt: skip
    assert len(both[0]) == len(both[1]) == 9
    assert (both[0] != both[1]).all()


def test_a_checkpoint_is_trained_once(
    tiny: Finished, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def advance(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "advance", advance)
    content = with_measures("bias", checkpoints=TINY["checkpoints"])
    assert vdbench.run(content, "run", only=["local"]).failed == 0  # from the cache
    hidden = cache.with_name("hidden")
    cache.rename(hidden)
    try:
        assert vdbench.run(content, "run", only=["local"]).failed == 0  # from the run folder
        (Path("run") / "results.parquet").unlink()
        shutil.rmtree(Path("run") / "blocks")
        again = vdbench.run(content, "run", only=["local"])
        assert again.failed == 0
        assert len(again.results)
        assert not cache.exists()
    finally:
        hidden.rename(cache)


def test_a_longer_training_goes_on_from_a_shorter_one(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three epochs after one take two epochs of steps, and end where three in one go end."""
    steps: list[int] = []
    advance = Trainer._advance
    monkeypatch.setattr(Trainer, "_advance", lambda self: (steps.append(1), advance(self)))

    def digests(out: str, *epochs: int) -> list[str]:
        content = with_measures(
            "bias", checkpoints=[{"epochs": e, "batch_size": 256} for e in epochs]
        )
        assert vdbench.run(content, out, settings=["seed=77"], only=["local"]).failed == 0
        files = sorted((Path(out) / "checkpoints").iterdir())
        return [f.name + hashlib.sha256(f.read_bytes()).hexdigest() for f in files]

    chained = digests("chained", 1, 3)
    taken = len(steps)
    for file in (cache / "checkpoints").iterdir():
        file.unlink()
    alone = digests("alone", 3)
    assert set(alone) < set(chained)
    assert len(steps) - taken == taken
