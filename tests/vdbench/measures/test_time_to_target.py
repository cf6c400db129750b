"""Trainings to a target: when one ends, which rate is chosen, and the figures of a run against their rows."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import vdbench
from vdbench import problems
from vdbench.errors import CellError, InputError
from vdbench.estimation.options import get
from vdbench.measures.context import Context
from vdbench.measures.registry import load
from vdbench.measures.target_metrics import _seconds
from vdbench.measures.time_to_target import Plan, choose, rows, steps_to
from vdbench.noise import Key
from vdbench.problems.problem import Problem
from vdbench.store import Table
from vdbench.training.trainer import Trainer, evaluate

pytestmark = pytest.mark.usefixtures("one_thread")

KEY = Key(("tests", "time-to-target"))
TARGET = -3300.0
LABELS = ["naive", "grouped", "local", "flipout"]
SUITE: dict[str, Any] = {
    "name": "targets",
    "problems": [{"name": "digits", "options": {"widths": []}}],
    "batch_sizes": [16],
    "estimators": LABELS,
    "baseline": "naive",
    "threads": 1,
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 60},
        "variance": {"first_units": 16, "max_units": 32},
        "time_to_target": {
            "targets": {"digits": TARGET}, "learning_rates": [0.001, 0.03, 0.1], "shared_rate": 0.03,
            "choose_seeds": 1, "seeds": 6, "steps": 60, "samples": 2, "examples": 200,
        },
    },
}  # fmt: skip


@functools.cache
def problem() -> Problem:
    return problems.build("digits", "classification", {"widths": []})


def context(name: str = "local") -> Context:
    return Context(problem(), {}, get(name), name, 16, KEY, {})


def curve(*elbo: float) -> Table:
    return {"step": np.arange(len(elbo)) * 10.0, "elbo": np.array(elbo)}


def test_evaluations_are_a_tenth_apart() -> None:
    marks = list(Plan(0.1, 0.0, 50, 2, None).marks())
    assert marks == [10, 11, 12, 13, 15, 16, 18, 19, 21, 24, 26, 29, 31, 35, 38, 42, 46, 50]
    assert list(Plan(0.1, 0.0, 7, 2, None).marks()) == [7]


def test_a_training_is_that_of_the_trainer_and_ends_at_the_target() -> None:
    """Against a loop that does not stop: the same ELBOs, up to the first that reaches the target."""
    key = KEY / "time-to-target" / 3
    start = problem().initial(key)
    trainer = Trainer(problem(), get("local"), start, 16, 0.03, key)
    want = [evaluate(problem(), start, key, 2, 200).elbo]
    plan = Plan(0.03, TARGET, 60, 2, 200)
    for mark in plan.marks():
        trainer.advance(mark - trainer.step)
        want.append(evaluate(problem(), trainer.parameters, key, 2, 200).elbo)
    last = next(i for i, elbo in enumerate(want) if elbo >= TARGET)
    found = rows(context(), plan, 3)
    assert 1 < last < len(want) - 1, want
    assert found["elbo"].tolist() == want[: last + 1]
    assert found["step"].tolist() == [0, *plan.marks()][: last + 1]
    before, after = found["step"][-2:]
    assert before < steps_to(TARGET, found) <= after


def test_a_training_that_diverges_is_censored() -> None:
    found = rows(context("naive"), Plan(1e30, -1.0, 60, 2, 200), 0)
    assert math.isnan(found["elbo"][-1])
    assert steps_to(-1.0, found) == math.inf


def test_a_target_below_the_start_is_refused() -> None:
    with pytest.raises(
        CellError,
        match=r"target of -1e\+09 nats is reached before training: the ELBO of seed 2 is -",
    ):
        rows(context(), Plan(0.01, -1e9, 60, 2, 200), 2)


def test_the_rate_with_the_shortest_mean_time_is_chosen() -> None:
    never, soon, late = curve(-9, -8, -7), curve(-9, -1, 0), curve(-9, -5, 0)
    assert choose({0.1: [soon, soon], 0.3: [late, late]}, -1, 20) == 0.1
    # one seed that never reaches it counts with all steps: (10 + 20) / 2 against (18 + 18) / 2
    assert steps_to(-1, late) == 18
    assert choose({0.1: [late, late], 0.3: [soon, never]}, -1, 20) == 0.3
    assert choose({0.1: [late, late], 0.3: [soon, never]}, -1, 30) == 0.1


def test_where_none_reaches_it_the_highest_end_is_chosen() -> None:
    low, high, lost = curve(-9, -8, -8), curve(-9, -7, -6), curve(-9, -2, math.nan)
    assert choose({0.1: [low], 0.2: [high], 0.3: [lost]}, -1, 20) == 0.2
    assert choose({0.2: [low], 0.1: [low]}, -1, 20) == 0.1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("targets", {"digit": -1}, "targets has none for problem 'digits'"),
        ("targets", {"digits": -1, "digit": -1}, "there is no problem 'digit'. Did you mean 'digits'?"),
        ("shared_rate", 0.02, "shared_rate 0.02 is none of the learning_rates 0.001, 0.03, 0.1"),
        ("learning_rates", [0.03, 0.03], "a learning rate stands twice"),
        ("seeds", 1, "seeds"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(key: str, value: Any, said: str) -> None:
    measures = {"time_to_target": {**SUITE["measures"]["time_to_target"], key: value}}
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        load({**SUITE, "measures": measures})


def test_several_checkpoints_are_refused() -> None:
    with pytest.raises(InputError, match="the same for all 2 checkpoints; expected one"):
        load({**SUITE, "checkpoints": ["initial", {"epochs": 1}]})


def test_seconds_beyond_a_censored_one_are_as_long() -> None:
    """The first is censored at 10 steps of 2 s: the third, of 30 s, may be shorter or longer than it."""
    found = _seconds(np.array([10.0, 5, 6]), np.array([2.0, 1, 5]), 10)
    assert found.tolist() == [20, 5, 20]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> vdbench.Finished:
    return vdbench.run(SUITE, tmp_path_factory.mktemp("targets") / "run", isolate=False)


def figure(made: vdbench.Finished, label: str, metric: str, role: str = "all") -> Any:
    frame = made.results
    same = (frame["label"] == label) & (frame["metric"] == metric) & (frame["role"] == role)
    (row,) = frame[same & (frame["layer"] == "all")].itertuples()
    return row


def trained(label: str, rate: float) -> list[float]:
    """Steps of the reported seeds, trained anew outside of the run."""
    key = Key(("vdbench", 0, "digits", "initial", 16))
    place = Context(problem(), {}, get(label), label, 16, key, {})
    found = [rows(place, Plan(rate, TARGET, 60, 2, 200), seed) for seed in range(1, 7)]
    return [steps_to(TARGET, table) for table in found]


def test_figures_are_those_of_the_trainings(made: vdbench.Finished) -> None:
    assert made.failed == 0
    for label in ("naive", "local"):
        row = figure(made, label, "target.steps.own")
        detail = json.loads(row.detail)
        times = trained(label, detail["learning_rate"])
        assert row.value == pytest.approx(np.median(times))
        assert detail["reached"] == sum(map(math.isfinite, times))
        assert (row.ci_low, row.ci_high) == pytest.approx((min(times), max(times)))
        seconds = figure(made, label, "target.seconds.own")
        each = figure(made, label, "time.seconds_per_gradient")
        assert seconds.value == pytest.approx(row.value * each.value)
    mine, base = (
        trained(label, json.loads(figure(made, label, "target.steps.own").detail)["learning_rate"])
        for label in ("local", "naive")
    )
    ratio = figure(made, "local", "ratio.target.steps.own")
    assert ratio.value == pytest.approx(np.median(np.array(mine) / base))
    assert ratio.against == "naive"
    adjusted = figure(made, "local", "adjusted.ratio.target.steps.own")
    assert adjusted.level == pytest.approx(1 - 0.05 / 3)
    assert adjusted.ci_low <= ratio.ci_low <= ratio.ci_high <= adjusted.ci_high


def test_rank_correlations_are_those_of_the_figures(made: vdbench.Finished) -> None:
    for role in ("mean", "scale"):
        totals = [figure(made, x, "variance.total", role).value for x in LABELS]
        products = [figure(made, x, "efficiency.variance_seconds", role).value for x in LABELS]
        for name, over in (("steps", totals), ("seconds", products)):
            times = [figure(made, x, f"target.{name}.own").value for x in LABELS]
            found = figure(made, "naive", f"correlation.target.{name}.own", role)
            assert found.value == pytest.approx(spearmanr(over, times).statistic), (role, name)
            assert -1 <= found.ci_low <= found.value <= found.ci_high <= 1


def test_the_report_says_it(made: vdbench.Finished) -> None:
    text = (made.report().parent / "report.md").read_text(encoding="utf-8")
    start = text.index("## Time to a target ELBO")
    part = text[start : text.index("\n## ", start + 1)]
    assert "nats" in part
    assert "variance × time and seconds" in part
    for label in LABELS:
        assert f"| {label} |" in part


def test_the_same_run_again_trains_nothing(
    made: vdbench.Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.results
    monkeypatch.setattr(Trainer, "advance", lambda *_: pytest.fail("a training was begun"))
    again: pd.DataFrame = vdbench.run(SUITE, made.folder, isolate=False).results
    pd.testing.assert_frame_equal(again, before)
