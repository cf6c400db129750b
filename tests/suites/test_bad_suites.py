"""Bad suites are refused in one sentence before anything is measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from small_suites import Refused, changed, written

import vdbench
from vdbench.measures.registry import load

pytestmark = pytest.mark.usefixtures("elsewhere")

OPTIONS = "problems.0.options"

FACTORY = "problems.0.factory"

SCORE = "estimators.2"

CLAIM = {"says": "it is low", "metric": "ratio.variance.noise", "estimator": "local"}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"estimaters": []}, r"unknown key 'estimaters'\. Did you mean 'estimators'\?"),
    "unknown key in a measure": (
        {"measures.variance": {"precison": 0.1}},
        r"unknown key 'precison' in measures\.variance\. Did you mean 'precision'\?",
    ),
    "unknown measure": (
        {"measures.varience": {}},
        r"unknown key 'varience' in measures\. Did you mean 'variance'\?",
    ),
    "unknown key in a list": (
        {"problems.0.option": {}},
        r"unknown key 'option' in problems\.0\. Did you mean 'options'\?",
    ),
    "unknown key in a checkpoint": (
        {"checkpoints.0.epoch": 2},
        r"unknown key 'epoch' in checkpoints\.0\. Did you mean 'epochs'\?",
    ),
    "unknown key of nothing like it": (
        {"measures.bias.xyz": 1},
        r"unknown key 'xyz' in measures\.bias\. Expected one of: draws, units\.",
    ),
    "a claim without numbers": (
        {"claims": [CLAIM]},
        r"claims\.0: .*expected low, high or both: the claim is about where the figure lies",
    ),
    "a claim that nothing fulfils": (
        {"claims": [{**CLAIM, "low": 5, "high": 1}]}, r"claims\.0: .*low 5 is above high 1",
    ),
    "a claim about another estimator": (
        {"claims": [{**CLAIM, "low": 1, "estimator": "lokal"}]},
        r"claims\.0\.estimator 'lokal' is not measured in this suite\. Did you mean 'local'\?",
    ),
    "a claim about a list of sizes": (
        {"claims": [{**CLAIM, "low": 1, "over": {"batch_size": [16]}}]},
        r"claims\.0\.over\.batch_size \[16\] is not measured in this suite\.",
    ),
    "a claim about another checkpoint": (
        {"claims": [{**CLAIM, "low": 1, "over": {"checkpoint": "trained"}}]},
        r"claims\.0\.over\.checkpoint 'trained' is not measured in this suite\.",
    ),
    "missing key": ({"baseline": ...}, r"key 'baseline' is missing\."),
    "missing key in a list": ({"problems.0.name": ...}, r"key 'problems\.0\.name' is missing\."),
    "a number for a list": ({"batch_sizes": 16}, r"batch_sizes: .*valid list, not 16\."),
    "a word for a number": ({"batch_sizes.0": "many"}, r"batch_sizes\.0: .*integer, not 'many'\."),
    "a bool for a number": ({"seed": True}, r"seed: .*valid integer, not True\."),
    "a list for a mapping": ({"measures": [1]}, r"measures: .*dictionary.*, not \[1\]\."),
    "a word for a problem": ({"problems.0": "digits"}, r"problems\.0: .*, not 'digits'\."),
    "nothing to run": ({"estimators": []}, r"estimators: .*at least 1 item.*, not \[\]\."),
    "a level above 1": ({"level": 1.5}, r"level: .*less than 1, not 1\.5\."),
    "a precision of 0": (
        {"measures.variance.precision": 0},
        r"measures\.variance\.precision: .*greater than 0, not 0\.",
    ),
    "few examples of nobody": (
        {"measures.variance": {"few_examples": {"locl": 2}, "data_from": "naive"}},
        r"measures\.variance: 'locl' is none of the suite's estimators\. Did you mean 'local'\?",
    ),
    "data from nobody": (
        {"measures.variance": {"few_examples": {"local": 2}, "data_from": "naiv"}},
        r"measures\.variance: 'naiv' is none of the suite's estimators\. Did you mean 'naive'\?",
    ),
    "few examples without data": (
        {"measures.variance": {"few_examples": {"local": 2}}},
        r"few_examples and data_from are given together or not at all\.",
    ),
    "data from one that takes it": (
        {"measures.variance": {"few_examples": {"local": 2}, "data_from": "local"}},
        r"data_from 'local' is itself in few_examples\.",
    ),
    "few examples of shared noise": (
        {"measures.variance": {"few_examples": {"naive": 2}, "data_from": "local"}},
        r"the noise of 'naive' is not independent from example to example",
    ),
    "data from another objective": (
        {
            "estimators.0": "deterministic",
            "baseline": "local",
            "measures.variance": {"few_examples": {"local": 2}, "data_from": "deterministic"},
        },
        r"'local' cannot take its data part from 'deterministic': they are not both unbiased",
    ),
    "data from one with an anchor": (
        {
            "estimators.2": {"name": "svrg", "options": {"of": "local"}},
            "measures.variance": {"few_examples": {"local": 2}, "data_from": "svrg(local)"},
        },
        r"'svrg\(local\)' controls the data part of its variance, which is its own",
    ),
    "more than a minibatch": (
        {"measures.variance": {"few_examples": {"local": 17}, "data_from": "naive"}},
        r"few_examples of 'local' is 17, more than batch size 16\.",
    ),
    "a published figure of no source": (
        {"published": [{"metric": "variance.total", "estimator": "local", "value": 1.0}]},
        r"key 'published\.0\.source' is missing\.",
    ),
    "a batch size of 0": ({"batch_sizes.0": 0}, r"batch_sizes\.0: .*equal to 1, not 0\."),
    "an endless learning rate": (
        {"checkpoints.0.learning_rate": float("inf")},
        r"checkpoints\.0\.learning_rate: .*finite number, not inf\.",
    ),
    "an odd number of weight samples": (
        {"measures.convergence": {"samples": 3}},
        r"measures\.convergence\.samples: .*multiple of 2, not 3\.",
    ),
    "none of two words": ({"objective": "elob"}, r"objective: .*'likelihood' or 'elbo', not 'elob'\."),
    "a name that is no file name": ({"name": "a/b"}, r"name: .*pattern.*, not 'a/b'\."),
    "no measure": ({"measures": {}}, r"measures is empty\. Expected one of: bias, convergence, "),
    "unknown estimator": (
        {"estimators.1": "locl"},
        r"estimator 'locl' is unknown\. Did you mean 'local'\?",
    ),
    "unknown estimator of a checkpoint": (
        {"checkpoints.0.estimator": "locl"},
        r"estimator 'locl' is unknown\. Did you mean 'local'\?",
    ),
    "unknown reference": (
        {"reference": "naiv"},
        r"estimator 'naiv' is unknown\. Did you mean 'naive'\?",
    ),
    "unknown option": (
        {f"{SCORE}.options": {"sample": 2}},
        r"estimator 'score' has no option 'sample'\. Did you mean 'samples'\?",
    ),
    "option of an estimator that has none": (
        {"estimators.1": {"name": "naive", "options": {"samples": 2}}},
        r"estimator 'naive' has no option 'samples'\. It has none\.",
    ),
    "option of the wrong type": (
        {f"{SCORE}.options": {"samples": "two"}},
        r"estimator 'score', option samples: .*integer, not 'two'\.",
    ),
    "option out of range": ({f"{SCORE}.options": {"samples": 0}}, r"score: .*samples ≥ 1, not 0\."),
    "option that is no choice": (
        {f"{SCORE}.options": {"baseline": "loo"}},
        r"score.*baseline.*'leave-one-out'.*'loo'",
    ),
    "a grid of nothing": (
        {f"{SCORE}.options": {"samples": []}},
        r"estimator 'score': an option's list of values is empty\.",
    ),
    "several references": (
        {"reference": {"name": "score", "options": {"samples": [2, 4]}}},
        r"estimator 'score': one is needed here, the options give 2\.",
    ),
    "unknown checkpoint": (
        {"checkpoints": ["inital"]},
        r"checkpoint 'inital' is unknown\. Did you mean 'initial'\?",
    ),
    "unknown data set": ({OPTIONS: {"dataset": "digit"}}, r"problem 'digits': .*'digit'.*'digits'\?"),
    "unknown factory": (
        {FACTORY: "clasification"},
        r"problem 'digits': factory 'clasification' is unknown\. Did you mean 'classification'\?",
    ),
    "unknown option of a factory": (
        {OPTIONS: {"width": [8]}},
        r"problem 'digits': classification has no option 'width'\. Did you mean 'widths'\?",
    ),
    "bad option of a factory": ({OPTIONS: {"widths": [0]}}, r"problem 'digits': widths .*\[0\]"),
    "unknown parameterization": (
        {OPTIONS: {"parameterization": "theta-log_alfa"}},
        r"problem 'digits': .*'theta-log_alfa'.*'theta-log_alpha'\?",
    ),
    "unknown prior": ({OPTIONS: {"prior": "gausian"}}, r"problem 'digits': .*'gausian'.*'gaussian'\?"),
    "no such module": (
        {FACTORY: "own_nowhere:make"},
        r"problem 'digits': there is no module 'own_nowhere'\.",
    ),
    "no such function": (
        {FACTORY: "own_problem:male", OPTIONS: {}},
        r"problem 'digits': module 'own_problem' has no 'male'\.",
    ),
    "a factory that raises": (
        {FACTORY: "own_problem:make", OPTIONS: {}},
        r"problem 'digits': own_problem:make failed with ZeroDivisionError: division by zero",
    ),
    "a factory of something else": (
        {FACTORY: "own_problem:other", OPTIONS: {}},
        r"problem 'digits': own_problem:other returned int, expected the vdbench\.Problem that ",
    ),
    "two estimators alike": ({"estimators.1": "naive"}, r"estimator 'naive' is given twice\."),
    "two problems of one name": (
        {"problems": [{"name": "digits"}, {"name": "digits"}]},
        r"two problems are called 'digits'\.",
    ),
    "two batch sizes alike": ({"batch_sizes": [16, 16]}, r"batch size 16 is given twice\."),
    "two checkpoints of one name": (
        {"checkpoints": ["initial", "initial"]},
        r"two checkpoints are called 'initial'; give one a name\.",
    ),
    "a baseline that is not run": (
        {"baseline": "nave"},
        r"baseline 'nave' is none of the suite's estimators\. Did you mean 'naive'\?",
    ),
    "a batch of more than there is": (
        {"batch_sizes": [16, 10**6]},
        r"batch size 1000000 is more than the \d+ training examples of problem 'digits'\.",
    ),
    "a checkpoint's batch of more than there is": (
        {"checkpoints.0.batch_size": 10**6},
        r"batch size 1000000 is more than the \d+ training examples of problem 'digits'\.",
    ),
    "a training's batch of more than there is": (
        {"measures.convergence": {"batch_size": 10**6}},
        r"batch size 1000000 is more than the \d+ training examples of problem 'digits'\.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_suite_is_refused(kind: str, refused: Refused) -> None:
    Path("own_problem.py").write_text(
        "def make():\n    return 1 / 0\n\n\ndef other():\n    return 3\n"
    )
    changes, expected = BAD[kind]
    said = refused(
        "run",
        written(changed(changes)),
        "--out",
        "run",
        "--allow",
        "own_problem",
        "--allow",
        "own_nowhere",
    )
    assert re.search(expected, said), said
    assert (
        "suite 'suite.yaml': " in said or "suite 'tiny': " in said or "problem 'digits': " in said
    )
    assert not Path("run").exists()


@pytest.mark.parametrize("own", [5, True, 0.5, "score", {"score": 1}])
def test_estimators_of_a_problem_with_exact_variances_are_a_list(own: object) -> None:
    with pytest.raises(vdbench.InputError, match=r"problems\.0\.estimators"):
        load("mohamed2020", [f"problems.0.estimators={json.dumps(own)}"])
