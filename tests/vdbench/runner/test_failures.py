"""What fails in a run says why, and the others go on."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from tiny_runs import BY_PLACE, TINY, sorted_rows, with_measures

import vdbench

pytestmark = pytest.mark.usefixtures("elsewhere")

BROKEN = """\
from dataclasses import dataclass, field

import torch

import vdbench

DECLARED = dict(objective="elbo", unbiased=True, laws=("normal",), independent_examples=False)


class Base(vdbench.Pathwise):
    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean + q.scale * noise(layer.name, q.mean.shape))


@vdbench.register("raises", **DECLARED)
@dataclass(frozen=True)
class Raises(Base):
    def preactivation(self, layer, x, q, noise):
        raise RuntimeError("no idea\\nwhat to do")


@vdbench.register("misshaped", **DECLARED)
@dataclass(frozen=True)
class Misshaped(Base):
    def __call__(self, *args):
        value, gradients = super().__call__(*args)
        return vdbench.Gradient(value, {k: v.sum() for k, v in gradients.items()})


@vdbench.register("incomplete", **DECLARED)
@dataclass(frozen=True)
class Incomplete(Base):
    def __call__(self, *args):
        value, gradients = super().__call__(*args)
        gradients.pop("fc1.mean")
        return vdbench.Gradient(value, gradients)


@vdbench.register("infinite", **DECLARED)
@dataclass(frozen=True)
class Infinite(Base):
    def __call__(self, *args):
        value, gradients = super().__call__(*args)
        return vdbench.Gradient(value, {k: v / 0 for k, v in gradients.items()})


@vdbench.register("huge", **DECLARED)
@dataclass(frozen=True)
class Huge(Base):
    def __call__(self, *args):
        value, gradients = super().__call__(*args)
        return vdbench.Gradient(value, {k: v * 1e30 for k, v in gradients.items()})


@vdbench.register("twice", **DECLARED)
@dataclass(frozen=True)
class Twice(Base):
    def preactivation(self, layer, x, q, noise):
        noise(layer.name, q.mean.shape)
        return super().preactivation(layer, x, q, noise)


@vdbench.register("undeclared", **{**DECLARED, "laws": ()})
@dataclass(frozen=True)
class Undeclared(Base):
    pass


@vdbench.register("global", **{**DECLARED, "laws": ()})
@dataclass(frozen=True)
class Global(Base):
    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean + q.scale * torch.randn(q.mean.shape))


@vdbench.register("unfit", **DECLARED)
@dataclass(frozen=True)
class Unfit(Base):
    def fit(self, problem, parameters, key):
        raise ValueError("cannot be fitted")
"""

CAUSES = {
    "raises": "RuntimeError: no idea (traceback in errors.log)",
    "misshaped": "estimator 'misshaped' returns a gradient of shape () for ",
    "incomplete": "estimator 'incomplete' must return one gradient for each free parameter; "
    "missing or superfluous: fc1.mean.",
    "twice": "estimator 'twice' asks twice for the noise fc1 of shape (8, 64)",
    "undeclared": "estimator 'undeclared' declares the noise laws [] and asks for ['normal'].",
    "unfit": "ValueError: cannot be fitted (traceback in errors.log)",
}


@pytest.fixture
def broken() -> tuple[str, list[str]]:
    """A plug-in of estimators that fail, and their names."""
    Path("broken.py").write_text(BROKEN)
    names = [
        "raises",
        "misshaped",
        "incomplete",
        "infinite",
        "huge",
        "twice",
        "undeclared",
        "global",
        "unfit",
    ]
    return "broken.py", names  # fmt: skip


def test_what_fails_says_why_and_the_others_go_on(broken: tuple[str, list[str]]) -> None:
    plugin, names = broken
    measures = ("variance", "bias", "convergence")
    content = with_measures(*measures, estimators=["naive", *names, "local"])
    made = vdbench.run(content, "run", plugins=[plugin])
    table = made.results
    failed = table[table["status"] == "failed"]
    assert set(failed["label"]) == set(names)
    assert failed["value"].isna().all()
    assert made.failed == len(failed)
    for name, cause in CAUSES.items():
        mine = failed[failed["label"] == name]
        assert sorted(mine["metric"]) == sorted(measures), name  # one row a cell
        assert mine["message"].str.startswith(cause).all(), name
        assert (table["label"] == name).sum() == 3
    causes = failed.set_index(["label", "metric"])["message"]
    for name, how in (("variance", "gradient"), ("bias", "gradient"), ("convergence", "diverged")):
        assert how in causes["infinite", name]
    assert "overflows float32" in causes["huge", "variance"]
    assert "overflows float32" in causes["huge", "bias"]
    assert "random" in causes["global", "variance"]
    good = table[table["label"].isin(["naive", "local"])]
    alone = vdbench.run(with_measures(*measures, estimators=["naive", "local"]), "alone").results
    own = BY_PLACE | {"convergence.elbo"}
    pd.testing.assert_frame_equal(
        sorted_rows(good[good["metric"].isin(own)], ("seconds",)),
        sorted_rows(alone[alone["metric"].isin(own)], ("seconds",)),
        check_exact=True,
    )
    log = Path("run/errors.log").read_text()
    assert "what to do" in log
    assert 'raise RuntimeError("no idea' in log
    about = json.loads(Path("run/run.json").read_text())
    ended = {(c["estimator"], c["measure"]): c["status"] for c in about["cells"]}
    assert sum(status == "failed" for status in ended.values()) == made.failed
    assert about["plugins"] == ["broken.py"]


def test_without_the_baseline_there_are_no_ratios(broken: tuple[str, list[str]]) -> None:
    content = with_measures(
        "variance", "convergence", estimators=["raises", "local"], baseline="raises"
    )
    table = vdbench.run(content, "run", plugins=[broken[0]]).results
    assert not table["metric"].str.startswith("ratio.").any()
    assert "convergence.seconds_to_target" not in set(table["metric"])
    assert (table[table["label"] == "local"]["status"] != "failed").all()


def test_a_training_that_diverges_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    measures = {"convergence": TINY["measures"]["convergence"] | {"learning_rate": 1e30}}
    made = vdbench.run(with_measures(estimators=["naive"], measures=measures), "run")
    assert made.failed == 1
    (row,) = made.results.to_dict("records")
    assert "diverged" in row["message"]
    assert math.isnan(row["value"])


def test_a_checkpoint_that_cannot_be_trained_fails_its_cells() -> None:
    checkpoints = ["initial", {"epochs": 1, "learning_rate": 1e30, "batch_size": 256}]
    content = with_measures("variance", checkpoints=checkpoints, estimators=["naive", "local"])
    table = vdbench.run(content, "run").results
    failed = table[table["status"] == "failed"]
    assert set(failed["checkpoint"]) == {"local-1-epochs"}
    assert failed["message"].str.startswith("checkpoint local-1-epochs: training ").all()
    assert len(failed) == 2
    assert set(table[table["status"] != "failed"]["checkpoint"]) == {"initial"}
