"""Targets that are ratios to the baseline: what a cell waits for, takes and reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from tiny_runs import with_measures

import vdbench
from vdbench import statistics
from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.measures.metrics import UnitRows
from vdbench.measures.stopping import Baseline, Stopped, Stopping, schedule_of
from vdbench.measures.variance_metrics import longest
from vdbench.problems.problem import Group
from vdbench.statistics.sequential import two_sided
from vdbench.store import Table
from vdbench.suite.schema import TargetSpec, VarianceSpec

SIZES = {Group("a", "mean"): 3, Group("b", "mean"): 1}
RANDOM = np.random.default_rng(8)
THEIRS = {g: RANDOM.chisquare(1, 4096) for g in SIZES}
MINE = {g: 2 * THEIRS[g] * RANDOM.uniform(0.8, 1.2, 4096) for g in SIZES}


def _table(rows: dict[Group, NDArray[np.float64]], start: int, stop: int) -> Table:
    names = ("noise", "total", "data", "signal")
    return {f"{g.layer}|{g.role}|{q}": rows[g][start:stop] for g in SIZES for q in names}


def _stopped(*targets: dict[str, Any], pairs: int = 6, beside: bool = True) -> Stopped:
    spec = VarianceSpec(
        first_units=16, max_units=4096, precision=0.05, targets=[TargetSpec(**t) for t in targets]
    )
    base = Baseline("naive", SIZES, lambda start, stop: _table(THEIRS, start, stop), pairs)
    stopping = Stopping(schedule_of(spec, 0.95), SIZES, baseline=base if beside else None)
    for start, stop in stopping.blocks():
        stopping.add(_table(MINE, start, stop))
    return stopping.stopped


def test_a_ratio_of_what_goes_together_takes_fewer_units_than_a_figure() -> None:
    figure = _stopped({"layer": "a"})
    ratio = _stopped({"layer": "a", "interval": "ratio"})
    assert (figure.converged, ratio.converged) == (True, True)
    assert ratio.rows.n < figure.rows.n / 4
    assert ratio.detail["widest"].startswith("ratio to naive of ")
    assert ratio.rows.beside is not None
    assert ratio.rows.beside.rows.n == ratio.rows.n
    group = Group("a", "mean")
    found = statistics.ratio(
        ratio.rows.of(group, "total"), ratio.rows.beside.rows.of(group, "total"), two_sided(0.95)
    )
    assert found.relative_half_width <= 0.05


def test_the_interval_of_a_verdict_is_at_the_level_of_all_pairs_and_layers() -> None:
    ratio = _stopped({"interval": "ratio", "precision": 0.01})
    verdict = _stopped({"interval": "verdict", "precision": 0.01})
    average = _stopped({"interval": "verdict", "precision": 0.01, "layer": "all"})
    alone = _stopped({"interval": "ratio", "precision": 0.01, "layer": "all"})
    assert ratio.rows.n < verdict.rows.n
    assert alone.rows.n < average.rows.n
    assert verdict.detail["widest"].endswith("at the level of 12 comparisons")
    assert average.detail["widest"].endswith("at the level of 6 comparisons")


def test_the_baseline_waits_for_nothing_where_only_ratios_are_targets() -> None:
    found = _stopped({"interval": "ratio"}, beside=False)
    assert found.converged
    assert found.rows.n == 112  # the first look
    assert "all targets are intervals of other cells" in found.reason


def test_ratios_use_all_units_that_were_taken_of_the_baseline() -> None:
    mine = _stopped({"interval": "ratio", "precision": 0.01}).rows
    short = UnitRows(_table(THEIRS, 0, 112), SIZES)
    other = UnitRows(_table(MINE, 0, 112), SIZES)
    units = longest({"naive": short, "other": other, "local": mine}, "naive")
    assert units["naive"].n == mine.n
    np.testing.assert_array_equal(
        units["naive"].table["a|mean|total"], THEIRS[Group("a", "mean")][: mine.n]
    )
    assert units["other"] is other
    assert longest({"naive": short, "local": mine}, "local") == {"naive": short, "local": mine}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a cache and a registry of the test's own."""
    registry.discover()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def _table_of(baseline: str, *targets: dict[str, Any], **more: Any) -> pd.DataFrame:
    suite = with_measures(
        "variance", baseline=baseline, estimators=["naive", "local", "deterministic"], **more
    )
    suite["measures"] = {
        "variance": {"first_units": 16, "max_units": 640, "precision": 0.1, "targets": [*targets]}
    }
    return vdbench.run(suite, Path("run"), isolate=False).results


def test_a_run_reaches_the_width_of_its_ratios() -> None:
    table = _table_of("local", {"interval": "ratio", "role": "mean", "layer": "all"})
    totals = table[table["metric"] == "variance.total"]
    n = {label: set(rows["n"]) for label, rows in totals.groupby("label")}
    assert n["local"] == {112}
    ratios = table[
        table["metric"].isin(["ratio.variance.total", "ratio.variance.noise"])
        & (table["layer"] == "all")
        & (table["role"] == "mean")
        & (table["label"] == "naive")
    ]
    assert len(ratios) == 2
    (most,) = n["naive"]
    assert 112 < most < 640
    assert (ratios["n"] == most).all()  # of both: the baseline's units beyond its own cell's
    widths = (ratios["ci_high"] - ratios["ci_low"]) / 2 / ratios["value"]
    assert (widths <= 0.1).all()


BROKEN = """
from dataclasses import dataclass
from vdbench import Pathwise, register


@register(
    "broken", objective="elbo", unbiased=True, laws=("posterior",), independent_examples=False, version="1",
)
@dataclass(frozen=True)
class Broken(Pathwise):
    def preactivation(self, layer, x, q, noise):
        raise RuntimeError("of a test")
"""


def test_without_a_baseline_the_others_are_measured_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "broken_baseline.py").write_text(BROKEN)
    suite = with_measures("variance", baseline="broken", estimators=["broken", "local"])
    suite["measures"] = {
        "variance": {"first_units": 16, "max_units": 112, "targets": [{"interval": "ratio"}]}
    }
    table = vdbench.run(suite, Path("run"), plugins=["broken_baseline.py"], isolate=False).results
    assert set(table["label"][table["status"] == "failed"]) == {"broken"}
    (cell,) = [
        one
        for one in json.loads(Path("run/run.json").read_text())["cells"]
        if one["estimator"] == "local"
    ]
    assert (cell["status"], cell["n"]) == ("bounded", 112)  # it has waited for its own figures
    assert "ratio" not in cell["detail"]["widest"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"anytime": True}, "with anytime, whose intervals depend on both cells' looks."),
        (
            {"few_examples": {"naive": 4}, "data_from": "local"},
            "where the baseline 'naive' is in few_examples; expected a baseline measured on whole minibatches",
        ),
    ],
)
def test_ratios_that_would_be_reported_from_other_units_are_refused(
    more: dict[str, Any], why: str
) -> None:
    suite = with_measures("variance")
    targets = [{"role": "mean"}, {"interval": "ratio"}]
    suite["measures"] = {"variance": {"targets": targets, **more}}
    with pytest.raises(InputError) as caught:
        vdbench.run(suite, Path("run"), isolate=False)
    said = str(caught.value)
    assert "measures.variance: targets.1: a ratio cannot be waited for " in said, said
    assert why in said
