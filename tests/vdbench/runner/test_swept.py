"""Problems that differ in one option: checkpoints from the same weights, trainings compared at the same value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import vdbench
from vdbench import problems
from vdbench.measures.cells import SWEPT
from vdbench.measures.registry import load
from vdbench.problems.identity import fingerprint
from vdbench.runner.checkpoints import parameters
from vdbench.suite.schema import CheckpointSpec, EstimatorSpec


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("epochs", [0, 1])
def test_swept_problems_have_the_same_weights(epochs: int, tmp_path: Path) -> None:
    spec = CheckpointSpec(
        epochs=epochs, estimator=EstimatorSpec(name="deterministic"), batch_size=256
    )
    found = {}
    for alpha, origin in ((0.1, SWEPT), (2.0, SWEPT), (0.5, None)):
        name = f"a-{alpha:g}"
        options: dict[str, Any] = {
            "widths": [4],
            "parameterization": {"kind": "theta-log_alpha", "alpha": alpha},
            "prior": "none",
        }
        problem = problems.build(name, "classification", options)
        prints = fingerprint(problem)
        found[name], _ = parameters(
            problem, spec, 0, prints, tmp_path / "run", lambda said: None, origin
        )
    thetas = {name: values["fc1.theta"] for name, values in found.items()}
    alphas = {name: values["fc1.log_alpha"] for name, values in found.items()}
    assert torch.equal(thetas["a-0.1"], thetas["a-2"])
    assert not torch.equal(thetas["a-0.1"], thetas["a-0.5"])  # the random numbers of its own
    # a network without noise leaves alpha where it is
    assert alphas["a-2"].exp().item() == pytest.approx(2.0, rel=1e-5)
    assert alphas["a-0.1"].exp().item() == pytest.approx(0.1, rel=1e-5)


def test_trainings_are_compared_with_the_baseline_group_at_the_same_value(tmp_path: Path) -> None:
    sweep = {"key": "options.widths", "axis": "units", "values": {4: [4], 8: [8]}}
    noise = {"kind": "theta-log_alpha", "alpha": 0.5, "learned": False}
    made = {
        "name": "widths",
        "problems": [
            {"name": "none", "options": {"parameterization": "point", "prior": "none"}, "sweep": sweep,
             "estimators": ["deterministic"]},
            {"name": "noise", "options": {"parameterization": noise, "prior": "none"}, "sweep": sweep,
             "estimators": ["local"]},
        ],
        "baseline_problem": "none",
        "batch_sizes": [256],
        "estimators": ["deterministic", "local"],
        "baseline": "local",
        "measures": {"training": {"epochs": 5, "seeds": 2, "batch_size": 256, "samples": 2,
                                  "evaluations": 1, "examples": 50}},
        "scales": {"small": {"measures.training.epochs": 1}},
    }  # fmt: skip
    finished = vdbench.run(made, tmp_path / "run", settings=["scale=small"])
    assert not finished.failed
    table = finished.results
    rows = table[table["metric"] == "difference.test.error"]
    assert list(zip(rows["problem"], rows["against"], strict=True)) == [
        ("noise-4", "none-4"), ("noise-8", "none-8"),
    ]  # fmt: skip
    errors = table[(table["metric"] == "test.error") & table["step"].isna()].set_index("problem")[
        "value"
    ]
    for row in rows.itertuples():
        assert row.value == pytest.approx(errors[row.problem] - errors[row.against], abs=1e-9)
    epochs = table[(table["metric"] == "training.epochs") & table["step"].isna()]
    assert set(epochs["value"]) == {1.0}
    again = load(made, ["scale=small"])
    assert again.scale == "small"
