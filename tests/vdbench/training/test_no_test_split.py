"""Data without a test split: figures of a test set are absent, and it is said why; all else is as with one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_training import KEY, classifier, trainer

import reports
import vdbench
from vdbench.datasets import Split
from vdbench.datasets.splits import NO_TEST
from vdbench.errors import InputError
from vdbench.problems.problem import Problem
from vdbench.training.evaluation import evaluate, mean_weights, predict
from vdbench.training.history import Tracker, Tracking

FACTORY = '''
import numpy as np
import torch
from torch import nn

import vdbench
from vdbench.datasets.conversion import as_dataset


class Flat(nn.Module):
    """A network that cannot take zero examples."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(x.reshape(x.shape[0], -1))


def untested():
    x = np.random.default_rng(0).normal(size=(40, 2, 2))
    y = (x.sum((1, 2)) > 0).astype(int)
    return vdbench.noisy(Flat(), as_dataset((x, y)).dataset, keep_weights=False)
'''

SUITE = {
    "name": "untested",
    "problems": [{"name": "mine", "factory": "own_untested:untested"}],
    "batch_sizes": [8],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "threads": 1,
    "measures": {
        "convergence": {"steps": 4, "seeds": 2, "evaluations": 2},
        "training": {"epochs": 2, "seeds": 2, "batch_size": 8, "evaluations": 1, "validation": 0.2, "prune": 3},
    },
}  # fmt: skip


def untested() -> Problem:
    """A problem that has a test split, without it."""
    problem = classifier()
    none = Split(*(t[:0] for t in problem.data.test))
    return replace(problem, data=replace(problem.data, test=none))


def test_the_bound_is_what_it_is_with_a_test_split() -> None:
    with_test, without = classifier(), untested()
    parameters = with_test.initial(KEY)
    one, other = (evaluate(p, parameters, KEY, 4) for p in (with_test, without))
    assert one.elbo == other.elbo
    assert math.isfinite(one.nll)
    assert math.isnan(other.nll)
    assert math.isnan(other.error)


def test_predicting_no_examples_is_refused() -> None:
    for problem, why in ((untested(), f", as {NO_TEST}"), (classifier(), "")):
        parameters = problem.initial(KEY)
        nothing = Split(*(t[:0] for t in problem.data.train))
        with pytest.raises(InputError, match=f"there are no examples to predict{why}; expected"):
            predict(problem, parameters, [mean_weights(problem, parameters)], nothing)


def test_a_training_s_table_has_no_test_figures() -> None:
    rows = {}
    for name, problem in (("with", classifier()), ("without", untested())):
        made = trainer(problem=problem)
        tracker = Tracker(Tracking((0, 1), 4, prune=3.0), KEY)
        tracker.before(made)
        made.advance(made.steps_per_epoch)
        tracker.epoch(made, 1.0)
        tracker.finish(made)
        rows[name] = {(r[2], r[3], r[0], str(r[4])): r[5] for r in tracker.rows}
    of_test = {key for key in rows["with"] if "test." in key[1] or "sparsity.error" in key[1]}
    assert len(of_test) == 3 * 6 + 1
    assert set(rows["with"]) - set(rows["without"]) == of_test
    assert all(rows["without"][key] == rows["with"][key] for key in rows["without"])


def test_a_run_and_its_report_say_so(elsewhere: Path, undrawn: None) -> None:
    (elsewhere / "own_untested.py").write_text(FACTORY)
    done = vdbench.run(SUITE, elsewhere / "run")
    assert not done.failed
    metrics = set(done.results["metric"])
    assert not {m for m in metrics if "test." in m or m == "sparsity.error"}
    assert {"convergence.final_elbo", "training.elbo", "sparsity.compression"} <= metrics
    told = done.results[done.results["metric"] != "convergence.seconds_to_target"]
    assert told["value"].notna().all()
    info = json.loads((elsewhere / "run" / "run.json").read_text())
    assert info["problems"]["mine"]["test_examples"] == 0
    assert all(cell["reason"].endswith(f"; {NO_TEST}") for cell in info["cells"])
    reports.write([elsewhere / "run"], elsewhere / "report")
    text = (elsewhere / "report" / "report.md").read_text()
    assert text.count("The data set has no test split: there are no figures of a test set.") == 2
    assert "Test set" not in text
    assert "test error" not in text.lower()


def test_torch_would_have_failed_on_no_examples() -> None:
    """What the network of the run above does with zero rows: it must never be asked."""
    with pytest.raises(RuntimeError):
        torch.zeros(0, 2, 2).reshape(0, -1)
