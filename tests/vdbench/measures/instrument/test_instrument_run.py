"""The suite `instrument` in small: it runs, is resumed block by block, records what fails, and ends in a report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import vdbench
from vdbench import siblings
from vdbench.errors import CellError
from vdbench.estimation.base import Estimator
from vdbench.measures import variance_units
from vdbench.measures.cells import Cell, Outcome
from vdbench.measures.context import Context
from vdbench.measures.instrument import crash_recovery, repeated_variance, workload
from vdbench.measures.instrument.false_alarms import FalseAlarms
from vdbench.measures.instrument.launcher import Launcher
from vdbench.measures.instrument.runs import contexts
from vdbench.measures.progress import Quiet
from vdbench.measures.session import Session, Site
from vdbench.measures.stopping import look_schedule
from vdbench.measures.variance import Variance
from vdbench.runner import execution
from vdbench.store import Store

SMALL = [
    "problems.0.options.widths=[4]",
    "checkpoints.0.epochs=1",
    "estimators=[deterministic, naive, local]",
    "measures.variance={precision: 0.4, first_units: 16, max_units: 64}",
    "measures.bias={units: 8, draws: 1}",
    "measures.convergence.steps=2",
    "measures.convergence.seeds=2",
    "measures.coverage={repetitions: 12, truth_units: 512, trainings: 3, passes: 2}",
    "measures.false_alarms.comparisons=6",
    "measures.power={comparisons: 5, differences: [0.1, 2.0], precisions: [0.3]}",
    "measures.kills=false",
]
TIMED = r"time|throughput|efficiency|seconds_to_target|coverage\.smallest"  # the smallest may be of a time


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of these tests' own, and blocks of few repetitions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(workload, "BLOCK", 4)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> execution.Finished:
    """A run that nobody disturbed."""
    return vdbench.run("instrument", tmp_path_factory.mktemp("runs") / "whole", settings=SMALL)


def untimed(finished: execution.Finished) -> pd.DataFrame:
    table = finished.results.drop(columns="seconds")
    return table[~table["metric"].str.contains(TIMED)].reset_index(drop=True)


def test_everything_is_measured(done: execution.Finished) -> None:
    assert done.failed == 0
    table = done.results
    for part in ("total", "noise"):
        for begin in ("coverage.", "coverage.ratio.", "coverage.pairwise.", "false_alarms.",
                      "false_alarms.pooled.", "power.independent.", "power.shared.", "wrong.shared."):  # fmt: skip
            assert f"{begin}variance.{part}" in set(table["metric"]), begin
    for metric in ("coverage.variance.data", "coverage.snr", "coverage.relative_bias", "coverage.smallest",
                   "coverage.adjusted.relative_bias", "coverage.convergence.final_elbo",
                   "coverage.ratio.time.seconds_per_gradient", "coverage.stopped_at"):  # fmt: skip
        assert metric in set(table["metric"])
    about = table[table["metric"].str.match("coverage|false|power|wrong")]
    assert about[["value", "ci_low", "ci_high"]].notna().all().all()
    assert about["value"].between(0, 1).all()
    assert (about["level"] == 0.95).all()


def test_counts_are_those_asked_for(done: execution.Finished) -> None:
    table = done.results.set_index("metric")["n"]
    assert set(table["coverage.variance.total"]) == {12}
    assert set(table["coverage.convergence.final_elbo"]) == {3}
    assert set(table["coverage.ratio.time.seconds_per_gradient"]) == {2}
    assert set(table["false_alarms.variance.total"]) == {6}
    assert set(table["power.shared.variance.noise"]) == {5}
    power = done.results[done.results["metric"] == "power.independent.variance.total"]
    assert set(power["step"]) == {0.1, 2.0}
    assert set(power.loc[power["label"] == "naive", "against"]) == {
        "precision=0.4",
        "precision=0.3",
    }
    assert set(power.loc[power["label"] == "local", "against"]) == {"precision=0.4"}
    # three times as large is seen by every comparison of runs at ±40 %
    assert (power.loc[power["step"] == 2, "value"] == 1).all()


def test_every_figure_has_one_row(done: execution.Finished) -> None:
    table = done.results
    about = table[table["metric"].str.match("coverage|false|power|wrong")]
    key = ["label", "metric", "layer", "role", "against", "step"]
    assert not about.duplicated(key).any()
    # what is exact without question is not counted as covered
    exact = about[(about["label"] == "deterministic") & about["metric"].str.contains("noise")]
    assert exact.empty


class Stop(Quiet):
    """Interrupts a run at its so many-th block of repetitions."""

    def __init__(self, after: int) -> None:
        self.left = after

    def detail(self, text: str) -> None:
        if " of 3 estimators" in text or text.startswith(("truth", "bias", "trainings")):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt


@pytest.mark.long
def test_it_is_resumed_block_by_block(done: execution.Finished, tmp_path: Path) -> None:
    out = tmp_path / "run"
    kept: dict[str, int] = {}
    for after in (2, 9):
        with pytest.raises(KeyboardInterrupt):
            vdbench.run("instrument", out, settings=SMALL, progress=Stop(after))
        now = {p.name: p.stat().st_mtime_ns for p in (out / "blocks").iterdir()}
        assert kept.items() <= now.items()
        assert len(now) > len(kept)
        kept = now
    again = vdbench.run("instrument", out, settings=SMALL)
    now = {p.name: p.stat().st_mtime_ns for p in (out / "blocks").iterdir()}
    assert kept.items() <= now.items()
    pd.testing.assert_frame_equal(untimed(again), untimed(done), check_exact=True)


def test_done_again_nothing_is_measured(
    done: execution.Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = done.results

    def refuse(*_: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(variance_units, "rows", refuse)
    monkeypatch.setattr(repeated_variance, "rows", refuse)
    vdbench.run("instrument", done.folder, settings=SMALL)
    pd.testing.assert_frame_equal(done.results, before, check_exact=True)


def test_false_alarms_stand_on_coverages_repetitions(done: execution.Finished) -> None:
    """12 runs in blocks of 4 serve three measures; power at another precision has 10 of its own."""
    runs = [b for b in blocks(done.folder) if b["measure"] == "instrument.runs"]
    spans = sorted((b["aim"], *b["span"]) for b in runs)
    assert spans == [(0.3, 0, 4), (0.3, 4, 8), (0.3, 8, 12), (0.4, 0, 4), (0.4, 4, 8), (0.4, 8, 12)]


def blocks(folder: Path) -> list[dict[str, Any]]:
    """Addresses of the blocks of a run."""
    files = (folder / "blocks").glob("*.parquet")
    return [json.loads(pq.read_schema(file).metadata[b"vdbench"]) for file in files]


def test_a_repetition_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetition 3 of each estimator, measured by the call that a run makes: the same rows, n and reason."""
    compared = []

    class There:
        """A site at which the measure `variance` meets repetition 3."""

        def __init__(self, own: Context) -> None:
            self.own = own

        def context(self, estimator: Estimator) -> There:
            return self

        def at(self, name: str) -> Context:
            return self.own.at("repetition", 3)

    def compare(
        measure: FalseAlarms, session: Session, site: Site, cells: Sequence[Cell]
    ) -> list[Outcome]:
        for cell, own in zip(cells, contexts(site, cells), strict=True):
            other = replace(session, store=Store(tmp_path / "other"))
            (outcome,) = Variance().measure(other, There(own), [cell])  # type: ignore[arg-type]
            stopped = repeated_variance.run(own, look_schedule(session.suite), 3)
            said = (outcome.status, outcome.reason, outcome.n)
            assert said == (stopped.status, stopped.reason, stopped.rows.n)
            assert set(stopped.rows.table) == set(outcome.data.table)
            for name, column in outcome.data.table.items():
                assert (column == stopped.rows.table[name]).all(), name
            compared.append(cell.label)
        return []

    monkeypatch.setattr(FalseAlarms, "measure", compare)
    settings = [*SMALL, "measures.coverage=false", "measures.power=false"]
    finished = vdbench.run("instrument", tmp_path / "run", settings=settings)
    assert finished.failed == 0, finished.results["message"].tolist()
    assert compared == ["deterministic", "naive", "local"]


def test_a_failing_estimator_is_recorded_and_fails_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks in the middle fails the cells of its measure, with the cause; the others are kept."""

    def broken(*_: Any) -> None:
        raise CellError("the truth is out of reach.")

    monkeypatch.setattr("vdbench.measures.instrument.reference_run.rows", broken)
    finished = vdbench.run("instrument", tmp_path / "run", settings=SMALL)
    assert finished.failed == 3
    failed = finished.results[finished.results["status"] == "failed"]
    assert set(failed["metric"]) == {"coverage"}
    assert set(failed["message"]) == {"the truth is out of reach."}
    assert "false_alarms.variance.total" in set(finished.results["metric"])


@pytest.mark.long
def test_two_estimators_are_enough_and_one_is(tmp_path: Path) -> None:
    finished = vdbench.run(
        "instrument",
        tmp_path / "run",
        settings=[*SMALL, "measures.power=false", "measures.convergence=false"],
        only=["naive"],
    )
    assert finished.failed == 0
    metrics = set(finished.results["metric"])
    assert "coverage.variance.total" in metrics
    assert not any("pairwise" in m for m in metrics if m.startswith("coverage"))


@pytest.mark.usefixtures("undrawn")
def test_the_report_is_written(done: execution.Finished) -> None:
    page = siblings.import_own("reports").write([done.folder])
    assert page.is_file()


# Kills


@pytest.mark.long
def test_kills_are_a_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A campaign of a run smaller still; taken up again it is not run again."""
    tiny = {**crash_recovery.SUITE, "estimators": ["naive", "local"], "checkpoints": ["initial"]}
    monkeypatch.setattr(crash_recovery, "SUITE", tiny)
    settings = [
        *(f"measures.{m}=false" for m in ("throughput", "bias", "convergence", "coverage")),
        *(f"measures.{m}=false" for m in ("false_alarms", "power", "variance")),
        *SMALL[:3],
        "measures.kills={campaigns: 2, kills: 1, report: false}",
    ]
    finished = vdbench.run("instrument", tmp_path / "run", settings=settings)
    assert finished.failed == 0
    table = finished.results.set_index("metric")
    assert list(table.index) == ["kills.equal", "kills.blocks_kept"]
    assert (table["value"] == 1).all()
    assert (table["n"] == 2).all()
    assert "2 kills in 2 campaigns" in table["message"].iloc[0]
    monkeypatch.setattr("vdbench.measures.instrument.kills.Launcher", None)
    again = vdbench.run("instrument", tmp_path / "run", settings=settings)
    pd.testing.assert_frame_equal(again.results, finished.results)


def test_a_run_that_fails_says_why_and_one_that_runs_ends_with_its_helper(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: [")
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(crash_recovery.SUITE))
    with Launcher() as launcher:
        run = launcher.start(tmp_path / "bad.yaml", tmp_path / "out", tmp_path / "cache")
        with pytest.raises(CellError, match=r"the run in out ended with exit code 1: .*not valid"):
            run.finish()
        run = launcher.start(tmp_path / "good.yaml", tmp_path / "run", tmp_path / "cache")
        while not crash_recovery.blocks(tmp_path / "run"):
            assert run.alive
            time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(run.pid, 0)
