"""Runs of several problems, sizes, precisions and options, and of a network of the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_runs import TINY, sorted_rows, with_measures

import vdbench

pytestmark = pytest.mark.usefixtures("elsewhere")

OWN = """\
import vdbench
import vdbench.datasets
from torch import nn
from vdbench.problems.gaussian import ThetaLogAlpha
from vdbench.problems.priors import LogUniformPrior


def make(width):
    net = nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10))
    return vdbench.noisy(
        net, vdbench.datasets.load("digits"), prior=LogUniformPrior(), parameterization=ThetaLogAlpha(0.2)
    )
"""


def test_problems_sizes_precision_and_objective(tmp_path: Path) -> None:
    (tmp_path / "own_network.py").write_text(OWN)
    fixed = {"widths": [4], "prior": "log-uniform",
             "parameterization": {"kind": "theta-log_alpha", "alpha": 0.5, "learned": False}}  # fmt: skip
    problems = [
        {"name": "dropout", "options": fixed},
        {"name": "mine", "factory": "own_network:make", "options": {"width": 3}},
    ]
    measures = {"variance": {"first_units": 8, "max_units": 8},
                "convergence": TINY["measures"]["convergence"] | {"batch_size": None}}  # fmt: skip
    content = with_measures() | {
        "problems": problems, "batch_sizes": [4, 8], "precision": "float64", "objective": "elbo",
        "estimators": ["naive", "local"], "measures": measures,
    }  # fmt: skip
    made = vdbench.run(content, "run")
    assert made.failed == 0
    table = made.results
    cells = table[["problem", "checkpoint", "batch_size", "label"]].drop_duplicates()
    assert len(cells) == 2 * 2 * 2 * 2
    assert set(table["precision"]) == {"float64"}
    assert set(table["objective"]) == {"elbo"}
    assert set(table["parameterization"]) == {"theta-log_alpha"}
    roles = {p: set(t["role"]) for p, t in table.groupby("problem")}
    assert roles == {"dropout": {"theta", "bias", "all"}, "mine": {"theta", "alpha", "bias", "all"}}
    layers = {p: set(t["layer"]) for p, t in table.groupby("problem")}
    assert layers == {"dropout": {"fc1", "fc2", "all"}, "mine": {"0", "2", "all"}}

    # −KL's gradient is no random number: it moves the signal, not the variance
    plain = vdbench.run({**content, "objective": "likelihood"}, "plain").results
    for metric, same in (("variance.total", True), ("snr", False)):
        both = [sorted_rows(t[t["metric"] == metric])["value"].to_numpy() for t in (table, plain)]
        assert np.allclose(*both, rtol=1e-8) == same


def test_options_given_as_lists_are_run_each(tmp_path: Path) -> None:
    grid = {"name": "score", "options": {"samples": [2, 4]}}
    made = vdbench.run(
        with_measures("variance", estimators=[grid], baseline="score(samples=2)"), "run"
    )
    assert set(made.results["label"]) == {"score(samples=2)", "score(samples=4)"}
    assert set(made.results["samples"]) == {2, 4}
