"""The measure training: cells, figures, pairs by seed, resumption, and what a suite may say of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vdbench
from vdbench.errors import InputError
from vdbench.measures.registry import load
from vdbench.runner import execution, plan
from vdbench.statistics import seed_mean
from vdbench.training.trainer import Trainer

FIXED = {"kind": "theta-log_alpha", "alpha": 0.5, "learned": False}
LEARNED = {"kind": "theta-log_alpha", "alpha": 0.5}


def problem(name: str, form: object, **more: Any) -> dict[str, Any]:
    options = {"widths": [6], "parameterization": form, "prior": "log-uniform"}
    return {"name": name, "options": options, **more}


TINY: dict[str, Any] = {
    "name": "variants",
    "threads": 1,
    "problems": [
        problem("none", FIXED, estimators=["deterministic"], training={"kl_weight": 0}),
        problem("A", LEARNED, estimators=["local"], training={"log_alpha_bounds": [None, 0]}),
        problem("additive", "mean-log_variance", estimators=["naive", "local"],
                training={"schedule": "linear", "warm_up": 1}),
    ],
    "batch_sizes": [64],
    "estimators": ["deterministic", "naive", "local"],
    "baseline": "local",
    "baseline_problem": "none",
    "measures": {
        "training": {
            "epochs": 3, "seeds": 3, "batch_size": 256, "learning_rate": 0.01, "samples": 4,
            "examples": 200, "evaluations": 2, "prune": 0.0,
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> execution.Finished:
    return vdbench.run(TINY, tmp_path_factory.mktemp("runs") / "whole")


def changed(**training: Any) -> dict[str, Any]:
    measures = {"training": {**TINY["measures"]["training"], **training}}
    return {**TINY, "measures": measures}


def final(table: pd.DataFrame, metric: str, name: str, layer: str = "all") -> pd.Series[Any]:
    rows = table[(table.metric == metric) & (table.problem == name) & table.step.isna()]
    (found,) = [row for _, row in rows[rows.layer == layer].iterrows()]
    return found


def test_cells_are_the_problems_with_their_own_estimators(whole: execution.Finished) -> None:
    cells = json.loads((whole.folder / "run.json").read_text())["cells"]
    found = [(c["problem"], c["estimator"], c["measure"], c["batch_size"], c["n"]) for c in cells]
    assert found == [
        ("none", "deterministic", "training", 256, 3),
        ("A", "local", "training", 256, 3),
        ("additive", "naive", "training", 256, 3),
        ("additive", "local", "training", 256, 3),
    ]
    assert whole.failed == 0
    assert not (whole.folder / "checkpoints").exists(), "no place was measured"


def test_every_figure_is_there_with_its_interval_over_seeds(whole: execution.Finished) -> None:
    table, epochs = whole.results, pd.read_parquet(whole.folder / "training.parquet")
    assert set(table.checkpoint) == {"trained"}
    assert set(table.status) == {"ok"}
    mine = epochs[(epochs.problem == "A") & (epochs.metric == "final.test.nll")]
    estimate, row = seed_mean(mine.value.to_numpy(), 0.95), final(table, "test.nll", "A")
    assert (row.value, row.ci_low, row.ci_high) == (estimate.value, estimate.low, estimate.high)
    assert (row.n, row.unit, row.level) == (3, "nats/example", 0.95)
    for metric in ("test.error", "test.error.mean_weights", "test.ece", "training.elbo"):
        assert math.isfinite(final(table, metric, "A").value)
    elbo, fit, kl = (
        final(table, f"training.{name}", "A").value
        for name in ("elbo", "expected_log_likelihood", "kl")
    )
    assert elbo == pytest.approx(fit - kl)
    assert final(table, "alpha.log_median", "A", "fc1").value <= 1e-6
    curve = table[(table.metric == "test.error") & (table.problem == "A") & table.step.notna()]
    assert curve.step.tolist() == [0, 10, 15]  # epochs 0, 2 and 3 of 5 steps
    assert curve.seconds.is_monotonic_increasing
    assert curve.value.iloc[-1] == final(table, "test.error", "A").value


def test_sparsity_is_said_by_layer(whole: execution.Finished) -> None:
    table = whole.results
    rows = table[(table.metric == "sparsity.share") & (table.label == "local")]
    rows = rows[rows.problem == "additive"]
    assert list(rows.layer) == ["fc1", "fc2", "all"]
    share, compression = rows.value.iloc[-1], final(table[table.label == "local"],
                                                    "sparsity.compression", "additive")  # fmt: skip
    assert 0 < share < 100
    assert compression.value > 1
    assert final(table, "sparsity.share", "none").value == 0  # log ½ is below 0
    whole_error = final(table, "test.error.mean_weights", "none").value
    assert final(table, "sparsity.error", "none").value == whole_error


def test_differences_are_paired_by_seed(whole: execution.Finished) -> None:
    table, epochs = whole.results, pd.read_parquet(whole.folder / "training.parquet")
    seeds = epochs[epochs.metric == "final.test.nll"].pivot(
        index="seed", columns=["problem", "estimator"], values="value"
    )
    each = (seeds["A", "local"] - seeds["none", "deterministic"]).to_numpy()
    row = final(table, "difference.test.nll", "A")
    assert (row.value, row.ci_low) == (seed_mean(each, 0.95).value, seed_mean(each, 0.95).low)
    assert (row.against, row.message) == ("none", "minus none (deterministic), paired by seed")
    level = 1 - 0.05 / 3  # three cells are compared
    wide = final(table, "adjusted.difference.test.nll", "A")
    assert wide.level == pytest.approx(level)
    assert wide.ci_low == seed_mean(each, level).low < row.ci_low
    assert "none" not in set(table[table.metric.str.contains("difference")].problem)


def test_differences_that_cancel_are_zero() -> None:
    from vdbench.measures.training_metrics import _exact_zero

    values = [5 * 100 / 360 - 4 * 100 / 360, 100 / 360, -2 * 100 / 360]
    found = _exact_zero(seed_mean(values, 0.95), values)
    assert found.value == 0
    assert found.low < -0.1
    other = seed_mean([1e-13, 3e-13], 0.95)
    assert _exact_zero(other, [1e-13, 3e-13]) == other


def test_seeds_share_initial_weights_minibatches_and_samples(tmp_path: Path) -> None:
    """The same recipe under two names is the same training, and its difference is exactly 0."""
    same = [problem(name, LEARNED, estimators=["local"]) for name in ("one", "other")]
    other = problem("weighed", LEARNED, estimators=["local"], training={"kl_weight": 0.5})
    table = vdbench.run(
        {**TINY, "problems": [*same, other], "baseline_problem": "one"}, tmp_path / "run"
    ).results
    row = final(table, "difference.test.nll", "other")
    assert (row.value, row.ci_low, row.ci_high) == (0, 0, 0)
    assert final(table, "difference.test.nll", "weighed").value != 0
    start = table[(table.step == 0) & (table.metric == "test.nll")].groupby("problem").value.first()
    assert start["one"] == start["weighed"]


def timeless(folder: Path) -> pd.DataFrame:
    table = pd.read_parquet(folder / "results.parquet").drop(columns="seconds")
    table = table[~table.metric.str.contains("seconds")]
    return table.reset_index(drop=True)


@pytest.mark.parametrize("changes", [{}, {"schedule": "cosine", "validation": 0.2, "patience": 1}])
def test_a_run_that_is_killed_goes_on_in_the_middle_of_a_training(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {**changed(**changes), "problems": TINY["problems"][1:2], "baseline_problem": None}
    undisturbed = vdbench.run(wanted, tmp_path / "whole")
    advance, steps = Trainer.advance, []

    def counted(self: Trainer, count: int) -> None:
        if len(steps) == 5 and not kill.pop("done", None):
            kill["done"] = True
            raise KeyboardInterrupt
        steps.append(count)
        advance(self, count)

    kill: dict[str, bool] = {}
    monkeypatch.setattr(Trainer, "advance", counted)
    with pytest.raises(KeyboardInterrupt):
        vdbench.run(wanted, tmp_path / "part")
    before = len(steps)
    assert before == 5
    vdbench.run(wanted, tmp_path / "part")
    pd.testing.assert_frame_equal(timeless(tmp_path / "part"), timeless(undisturbed.folder))
    total = pd.read_parquet(tmp_path / "part" / "training.parquet")
    epochs = total[total.metric == "running.kl"]
    assert len(steps) == len(epochs), "no epoch was trained twice"
    monkeypatch.setattr(Trainer, "advance", lambda *_: pytest.fail("what is stored is read"))
    vdbench.run(wanted, tmp_path / "part")


def test_a_training_that_diverges_fails_and_the_others_go_on(tmp_path: Path) -> None:
    broken = problem("broken", LEARNED, estimators=["local"], training={"learning_rate": 1e30})
    finished = vdbench.run({**TINY, "problems": [TINY["problems"][0], broken]}, tmp_path / "run")
    table = finished.results
    assert finished.failed == 1
    (row,) = [row for _, row in table[table.status == "failed"].iterrows()]
    assert (row.problem, row.metric) == ("broken", "training")
    assert "training with local diverged at step" in row.message
    assert math.isfinite(final(table, "test.error", "none").value)
    assert not table.metric.str.contains("difference").any()


def test_all_weights_pruned_have_no_compression(tmp_path: Path) -> None:
    wanted = {**changed(prune=-50.0), "problems": TINY["problems"][:1]}
    table = vdbench.run(wanted, tmp_path / "run").results
    row = final(table, "sparsity.compression", "none")
    assert (row.status, math.isnan(row.value)) == ("undefined", True)
    assert final(table, "sparsity.share", "none").value == 100


def test_a_problem_s_estimators_hold_for_every_measure() -> None:
    measures = {"variance": {}, "convergence": {}, "training": {}}
    checked = load({**TINY, "measures": measures})
    found = {(c.problem, c.label) for c in plan.cells(checked)}
    assert found == {("none", "deterministic"), ("A", "local"), ("additive", "naive"),
                     ("additive", "local")}  # fmt: skip
    assert {c.measure for c in plan.cells(checked)} == {"variance", "convergence", "training"}


def test_work_is_counted_from_the_examples() -> None:
    checked = load(changed(validation=0.2, patience=1))
    cell = next(c for c in plan.cells(checked) if c.problem == "A")
    # 1,437 less 287 leaves 1,150: 4 steps an epoch; 2 or 3 epochs, 3 seeds
    assert plan.work(checked, cell, {"A": 1437}) == (24, 36)


def test_marks_are_epochs_spread_evenly() -> None:
    from vdbench.measures.training import Plan
    from vdbench.schedules import Recipe
    from vdbench.suite.schema import TrainingSpec

    assert Plan(TrainingSpec(epochs=10, evaluations=4), Recipe()).tracking.marks == (0, 2, 5, 8, 10)
    assert Plan(TrainingSpec(epochs=2, evaluations=9), Recipe()).tracking.marks == (0, 1, 2)


def replaced(place: int, **more: Any) -> dict[str, Any]:
    problems = list(TINY["problems"])
    problems[place] = {**problems[place], **more}
    return {**TINY, "problems": problems}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (replaced(1, estimators=["loca"]), "problem 'A': 'loca' is none of the suite's estimators. "
         "Did you mean 'local'?"),
        (replaced(1, estimators=[]), "problems.1.estimators: list should have at least 1 item"),
        (replaced(1, training={"epoch": 3}), "training of problem 'A': unknown key 'epoch'. "
         "Did you mean 'epochs'?"),
        (replaced(1, training={"epochs": 0}), "training of problem 'A': epochs: input should be"),
        (replaced(1, training={"seeds": 9}), "seeds is one for all problems"),
        (replaced(1, training={"schedule": "linnear"}), "schedule 'linnear' is unknown. "
         "Did you mean 'linear'?"),
        (replaced(1, training={"log_alpha_bounds": [1, 0]}), "lower bound on log α, 1, is above"),
        (replaced(1, training={"patience": 2}), "problem 'A' has patience without validation"),
        (changed(kl_weight=-1), "measures.training.kl_weight: input should be greater than or"),
        (changed(seeds=1), "measures.training.seeds: input should be greater than or equal to 2"),
        (changed(sample=3), "unknown key 'sample' in measures.training. Did you mean 'samples'?"),
        ({**TINY, "baseline_problem": "non"}, "baseline_problem 'non' is none of the suite's "
         "problems. Did you mean 'none'?"),
        ({**TINY, "measures": {"variance": {}}}, "problem 'none' changes training, which the suite "
         "does not measure"),
    ],
)  # fmt: skip
def test_what_a_suite_may_not_say_is_refused_in_one_sentence(
    wanted: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(wanted)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_validation_must_leave_a_minibatch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1000 is more than the 719 training examples that valid"):
        vdbench.run(changed(batch_size=1000, validation=0.5), tmp_path / "run")


def test_a_run_from_before_these_keys_is_gone_on_with(tmp_path: Path) -> None:
    """Keys that have come since stand at their defaults, which change nothing."""
    plain = {
        "name": "old", "threads": 1, "problems": [{"name": "digits", "options": {"widths": [4]}}],
        "batch_sizes": [16], "estimators": ["local"], "baseline": "local",
        "measures": {"variance": {"first_units": 4, "max_units": 8}},
    }  # fmt: skip
    first = vdbench.run(plain, tmp_path / "run").results
    path = tmp_path / "run" / "run.json"
    about = json.loads(path.read_text())
    for name in ("estimators", "training"):
        del about["suite"]["problems"][0][name]
    del about["suite"]["baseline_problem"]
    about["suite"]["measures"] |= {"memory": None, "bias": None}  # as not asked for was written
    path.write_text(json.dumps(about))
    blocks = {p.name for p in (tmp_path / "run" / "blocks").iterdir()}
    again = vdbench.run(plain, tmp_path / "run").results
    pd.testing.assert_frame_equal(first, again)
    assert {p.name for p in (tmp_path / "run" / "blocks").iterdir()} == blocks
    with pytest.raises(InputError, match=r"suite.batch_sizes.0 was 16 and is now 17"):
        vdbench.run({**plain, "batch_sizes": [17]}, tmp_path / "run")


def test_the_parameters_that_a_training_gave_are_kept(tmp_path: Path) -> None:
    """Of the best epoch under validation, else the last ones; nothing else of its state."""
    from vdbench.measures.training import keep_result

    path = tmp_path / "state.npz"
    names = {"parameter/a": 1.0, "adam/exp_avg/a": 2.0, "tracked/numbers": 3.0}
    for more, kept in (({}, 1.0), ({"tracked/best/a": 4.0}, 4.0)):
        np.savez(path, **{name: np.array(x) for name, x in {**names, **more}.items()})
        for _ in range(2):
            keep_result(path)
            with np.load(path) as saved:
                values = {name: float(saved[name]) for name in saved.files if name != "seal"}
                assert values == {"parameter/a": kept}
    keep_result(tmp_path / "none.npz")


def test_the_table_of_epochs_has_every_seed(whole: execution.Finished) -> None:
    epochs = pd.read_parquet(whole.folder / "training.parquet")
    mine = epochs[(epochs.metric == "running.elbo") & (epochs.problem == "A")]
    assert sorted(zip(mine.seed, mine.epoch, strict=True)) == [
        (s, e) for s in range(3) for e in (1.0, 2.0, 3.0)
    ]
    assert np.isfinite(mine.value).all()
    files = list((whole.folder / "training").glob("*.npz"))
    assert len(files) == 4 * 3
    for file in files:
        with np.load(file) as saved:
            assert {name.partition("/")[0] for name in saved.files} == {"parameter", "seal"}
    rates = epochs[(epochs.metric == "learning_rate") & (epochs.problem == "additive")]
    assert rates[rates.estimator == "local"].value.tolist()[:3] == pytest.approx(
        [0.01 * (1 - step / 15) for step in (4, 9, 14)]
    )
