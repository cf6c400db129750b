"""Wrapped estimators in suites and runs: how they are written, and that every measure takes them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import vdbench
from vdbench import InputError
from vdbench.cli import catalogue
from vdbench.estimation.options import canonical, label, options
from vdbench.measures.registry import load
from vdbench.runner import plan

PLUGIN = """\
from dataclasses import dataclass

import vdbench


@vdbench.register(
    "plugged", objective="elbo", unbiased=True, laws=("normal",), independent_examples=False
)
@dataclass(frozen=True)
class Plugged(vdbench.Pathwise):
    '''Naive sampling from a file.'''

    times: int = 1

    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean + q.scale * noise(layer.name, q.mean.shape))
"""


pytestmark = [pytest.mark.usefixtures("elsewhere"), pytest.mark.long]


def labels(*estimators: Any) -> list[str]:
    """What a suite's estimators are called."""
    content = {
        "name": "wrapped",
        "problems": [{"name": "digits"}],
        "batch_sizes": [16],
        "estimators": ["naive", *estimators],
        "baseline": "naive",
        "measures": {"variance": {}},
    }
    return [label(e) for e in plan.estimators(load(content))][1:]


def test_what_is_wrapped_is_a_name_or_a_name_with_options() -> None:
    score = {"name": "score", "options": {"samples": 3}}
    assert labels({"name": "samples", "options": {"of": "local", "samples": 4}}) == [
        "samples(local, samples=4)"
    ]
    assert labels({"name": "antithetic", "options": {"of": score}}) == [
        "antithetic(score(samples=3))"
    ]
    assert labels("antithetic") == ["antithetic(naive)"]


def test_lists_are_grids_on_every_level() -> None:
    score = {"name": "score", "options": {"samples": [2, 3], "baseline": ["none", "leave-one-out"]}}
    assert labels(
        {"name": "samples", "options": {"of": ["naive", "local"], "samples": [1, 2]}}
    ) == [
        "samples(naive)",
        "samples(naive, samples=2)",
        "samples(local)",
        "samples(local, samples=2)",
    ]
    assert labels({"name": "antithetic", "options": {"of": ["local", score]}}) == [
        "antithetic(local)",
        "antithetic(score(samples=2))",
        "antithetic(score(baseline=leave-one-out, samples=2))",
        "antithetic(score(samples=3))",
        "antithetic(score(baseline=leave-one-out, samples=3))",
    ]
    pairs = {"name": "antithetic", "options": {"of": ["naive", "local"]}}
    assert labels({"name": "samples", "options": {"samples": [1, 2], "of": pairs}}) == [
        "samples(antithetic(naive))",
        "samples(antithetic(local))",
        "samples(antithetic(naive), samples=2)",
        "samples(antithetic(local), samples=2)",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "locl"}, "suite: estimator 'samples', option of: estimator 'locl' is unknown. Did you mean 'local'?"),
        ({"of": {"name": "score", "options": {"samples": [2, 0]}}},
         "suite: estimator 'samples', option of: score: baseline 'none' needs samples ≥ 1, not 0."),
        ({"of": {"name": "score", "options": {"samples": []}}},
         "suite: estimator 'samples': an option's list of values is empty."),
        ({"of": []}, "suite: estimator 'samples': an option's list of values is empty."),
        ({"of": ["local", "local"]}, "suite: estimator 'samples(local)' is given twice."),
        ({"of": ["local", "deterministic"]}, "suite: samples: estimator 'deterministic' draws no noise: all its draws"),
        ({"of": {"name": "local", "options": None}}, "option of: expected a mapping under options, not None."),
        ({"of": 4}, "suite: estimator 'samples', option of: expected an estimator's name, or a mapping with the keys"),
    ],
)  # fmt: skip
def test_what_cannot_be_wrapped_is_told_in_one_sentence(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        labels({"name": "samples", "options": options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_samples_scaling_writes_every_family_alike() -> None:
    """Its members differ in the option samples alone, one sample included: slopes are fitted over it."""
    made = plan.estimators(load("samples-scaling"))
    families: dict[str, list[int]] = {}
    for estimator in made:
        chosen = options(estimator)
        count = chosen.pop("samples", 1)
        assert estimator.declaration.name == "samples"
        families.setdefault(canonical(chosen), []).append(count)
    assert len(families) >= 4
    assert all(counts == [1, 2, 4, 8, 16] for counts in families.values()), families


@pytest.mark.slow
def test_every_measure_takes_them(tmp_path: Path) -> None:
    """Nested ones around a plug-in's, too, which the process that measures memory makes anew."""
    (tmp_path / "plugged.py").write_text(PLUGIN)
    inner = {"name": "antithetic", "options": {"of": {"name": "plugged", "options": {"times": 2}}}}
    content: dict[str, Any] = {
        "name": "wrapped",
        "problems": [{"name": "digits", "options": {"widths": [4]}}],
        "checkpoints": [{"epochs": 1, "estimator": {"name": "antithetic"}, "batch_size": 512}],
        "batch_sizes": [8],
        "estimators": ["naive", {"name": "samples", "options": {"of": inner, "samples": 3}}],
        "baseline": "naive",
        "reference": {"name": "samples", "options": {"of": "local", "samples": 2}},
        "measures": {
            "throughput": {"rounds": 8, "budget_seconds": 1},
            "variance": {"first_units": 4, "max_units": 8},
            "bias": {"units": 4, "draws": 1},
            "convergence": {"steps": 4, "evaluations": 2, "seeds": 2, "samples": 2, "examples": 50},
        },
    }
    if sys.platform == "linux":
        content["measures"]["memory"] = {"repetitions": 2}
    finished = vdbench.run(content, "run", plugins=["plugged.py"])
    table, record = finished.results, json.loads(Path("run/run.json").read_text())
    assert not finished.failed, table[table.status == "failed"].message.tolist()
    name = "samples(antithetic(plugged(times=2)), samples=3)"
    assert list(record["estimators"]) == ["naive", name]
    assert record["reference"] == "samples(local, samples=2)"
    assert set(table.checkpoint) == {"antithetic(naive)-1-epochs", "training"}
    mine, naive = table[table.label == name], table[table.label == "naive"]
    assert set(mine.estimator) == {"samples"}
    assert set(mine.samples) == {6}
    options = '{"of":{"name":"antithetic","options":{"of":{"name":"plugged","options":{"times":2}}}},"samples":3}'
    assert set(mine.options) == {options}
    described = record["estimators"][name]
    assert described["options"] == json.loads(options)
    assert described["objective"] == "elbo"
    assert described["unbiased"]
    assert described["laws"] == ["normal"]
    assert set(naive.metric) == set(mine.metric)
    if sys.platform == "linux":
        assert (mine[mine.metric == "memory.peak_bytes"].value >= 0).all()
    again = vdbench.run(content, "run", plugins=["plugged.py"]).results
    stable = ~table.metric.str.contains("time|throughput|memory|efficiency|seconds")
    assert again[stable].equals(table[stable]), "a run that is taken up again measured anew"


def test_show_says_what_a_wrapper_takes() -> None:
    for name in ("samples", "antithetic"):
        shown = catalogue.show(name)
        assert set(shown["wraps"]) >= {"local", "naive", "per-example", "score"}
        assert "deterministic" not in shown["wraps"]
        assert shown["declares"]["objective"] == catalogue.AS_WRAPPED
        assert shown["declares"]["unbiased_given_minibatch"] == catalogue.AS_WRAPPED
        assert shown["options"][0] == "of=naive"
        assert f"name: {name}\n" in catalogue.text(shown)
    anchored = catalogue.show("svrg")["declares"]
    assert anchored["unbiased_given_minibatch"] is False
    assert anchored["unbiased"] == catalogue.AS_WRAPPED
    assert "antithetic" in catalogue.show("samples")["wraps"]
    assert "antithetic" not in catalogue.show("antithetic")["wraps"]
    assert catalogue.show("local")["declares"]["objective"] == "elbo"
    listed = {row["name"]: row for row in catalogue.estimators()}
    assert listed["samples"]["objective"] == catalogue.AS_WRAPPED
    assert listed["samples"]["options"] == "of=naive, samples=1"
    assert listed["local"]["unbiased"] == "yes"
