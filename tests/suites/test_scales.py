"""Sizes of one suite, problems swept over one key, and the bundled suites that have them."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vdbench import problems
from vdbench.cli import catalogue
from vdbench.errors import InputError
from vdbench.measures.registry import load
from vdbench.runner import plan
from vdbench.suite import scales, training_recipe, yaml_file

WIDTHS = {"key": "options.widths", "axis": "units", "values": {8: [8, 8], 16: [16, 16]}}
BASE: dict[str, Any] = {
    "name": "tiny",
    "seed": 1,
    "problems": [{"name": "digits", "options": {"widths": [8], "prior": "log-uniform"}}],
    "batch_sizes": [16],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "measures": {"variance": {"first_units": 8, "max_units": 64}},
    "scales": {
        "small": {"measures.variance.max_units": 16, "batch_sizes": [4], "seed": 2},
        "tiny": {"problems.0.options.widths": [2]},
    },
}

SIZED = [name for name in yaml_file.names() if yaml_file.content(name)[1].get("scales")]


def content(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy({**BASE, **changes})


def test_a_suite_is_run_at_its_full_size_unless_a_scale_is_asked_for() -> None:
    full = load(content())
    assert (full.scale, full.batch_sizes, full.seed) == ("full", [16], 1)
    small = load(content(), ["scale=small"])
    assert (small.scale, small.batch_sizes, small.seed) == ("small", [4], 2)
    assert small.measures.variance is not None
    assert (small.measures.variance.first_units, small.measures.variance.max_units) == (8, 16)
    assert load(content(), ["scale=tiny"]).problems[0].options["widths"] == [2]
    assert load(content(scale="small")) == small
    assert load(content(scale="small"), ["scale=full"]) == full


@pytest.mark.parametrize("settings", [["scale=small", "seed=9"], ["seed=9", "scale=small"]])
def test_other_settings_come_after_the_scale_wherever_they_stand(settings: list[str]) -> None:
    made = load(content(), settings)
    assert (made.seed, made.batch_sizes) == (9, [4])


def test_a_scale_can_be_changed_on_the_command_line() -> None:
    assert load(content(), ["scale=small", "scales.small.seed=7"]).seed == 7


@pytest.mark.parametrize("scale", ["full", "small"])
def test_the_resolved_suite_is_read_again_as_it_was(scale: str) -> None:
    made = load(content(), [f"scale={scale}", "seed=9"])
    recorded = json.loads(json.dumps(made.model_dump(mode="json", exclude_none=True)))
    assert load(recorded) == made
    assert made.seed == 9


BAD: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "an unknown scale": (
        {}, ["scale=smal"], r"^suite: there is no scale 'smal'\. Did you mean 'small'\?$",
    ),
    "a scale of a suite that has none": (
        {"scales": {}}, ["scale=large"], r"there is no scale 'large'\. Expected one of: full\.$",
    ),
    "a scale that is a list": ({"scale": [1]}, [], r"there is no scale '\[1\]'\."),
    "scales that are no mapping": ({"scales": 3}, [], r"scales: expected names with changes, .* not 3\."),
    "a scale without changes": (
        {"scales": {"small": 3}}, [], r"scales\.small: expected dotted keys with values, .* not 3\.",
    ),
    "a change of what is not there": (
        {"scales": {"small": {"batch_sizes.7": 3}}}, ["scale=small"],
        r"^suite: scales\.small: batch_sizes\.7: '7' is no item of the list; expected 0 to 0\.",
    ),
    "a scale called full": ({"scales": {"full": {}}}, [], r"'full' cannot be the name of a scale"),
    "a scale that changes the scale": (
        {"scales": {"small": {"scale": "tiny"}}}, [], r"scales\.small: a scale cannot change 'scale'\.",
    ),
    "an unknown key in a scale": (
        {"scales": {"small": {"measures.variance.max_unit": 3}}}, ["scale=small"],
        r"unknown key 'max_unit' in measures\.variance\. Did you mean 'max_units'\?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_scale_is_refused_in_one_sentence(kind: str) -> None:
    changes, settings, expected = BAD[kind]
    with pytest.raises(InputError, match=expected) as caught:
        load(content(**changes), settings)
    assert "\n" not in str(caught.value)


def test_anchors_are_copies(tmp_path: Path) -> None:
    text = yaml.safe_dump(content(problems=[]))
    anchored = text.replace(
        "problems: []",
        "problems:\n- {name: a, options: &o {widths: [8], prior: &p {kind: gaussian}}}\n- {name: b, options: *o}\n"
        "- {name: c, options: {<<: *o, widths: [4]}}",
    )
    file = tmp_path / "anchors.yaml"
    file.write_text(anchored)
    made = load(file, ["problems.0.options.widths=[2]", "problems.0.options.prior.variance=3"])
    assert [p.options["widths"] for p in made.problems] == [[2], [8], [4]]
    assert [p.options["prior"].get("variance") for p in made.problems] == [3, None, None]


def test_a_sweep_writes_out_a_problem_for_each_value() -> None:
    swept = {"name": "a", "options": {"widths": [1]}, "sweep": WIDTHS}
    other = {"name": "b", "sweep": {"key": "training.kl_weight", "values": [0, 0.5]}}
    made = load(content(problems=[swept, other], measures={"training": {}}))
    assert [p.name for p in made.problems] == ["a-8", "a-16", "b-0", "b-0.5"]
    assert [p.options.get("widths") for p in made.problems] == [[8, 8], [16, 16], None, None]
    assert [p.training for p in made.problems] == [{}, {}, {"kl_weight": 0}, {"kl_weight": 0.5}]
    assert [(p.group, p.axis, p.x) for p in made.problems] == [
        ("a", "units", 8), ("a", "units", 16), ("b", "kl_weight", 0), ("b", "kl_weight", 0.5),
    ]  # fmt: skip
    made.problems[0].options["widths"].append(3)
    assert made.problems[1].options["widths"] == [16, 16]


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({**WIDTHS, "valus": [1]}, r"problems\.0\.sweep: unknown key 'valus'\. Did you mean 'values'\?"),
        ({"key": "options.widths"}, r"problems\.0\.sweep: key 'values' is missing\."),
        ({**WIDTHS, "values": ["x"]}, r"problems\.0\.sweep: values: expected a list of numbers, or"),
        ({**WIDTHS, "values": []}, r"problems\.0\.sweep: values: expected a list of numbers, or"),
        ({**WIDTHS, "key": "name"}, r"sweep: key: expected one below options or training, .* not 'name'\."),
        (3, r"problems\.0\.sweep: expected key, axis and values, not 3\."),
    ],
)  # fmt: skip
def test_a_bad_sweep_is_refused(sweep: Any, expected: str) -> None:
    swept = content(problems=[{**BASE["problems"][0], "sweep": sweep}])
    with pytest.raises(InputError, match=expected):
        load(swept)


def test_a_baseline_group_is_met_at_the_same_value() -> None:
    groups = [{"name": n, "options": {}, "sweep": WIDTHS} for n in ("a", "b")]
    extra = {"name": "c", "sweep": {"key": "training.kl_weight", "values": [8]}}
    wanted = content(
        problems=[*groups, extra], measures={"training": {}}, baseline_problem="a"
    )  # fmt: skip
    assert training_recipe.bases(load(wanted)) == {"b-8": "a-8", "b-16": "a-16"}
    wanted["baseline_problem"] = "b-8"
    assert training_recipe.bases(load(wanted)) == dict.fromkeys(
        ["a-8", "a-16", "b-16", "c-8"], "b-8"
    )
    wanted["baseline_problem"] = "d"
    with pytest.raises(InputError, match=r"baseline_problem 'd' is none of the suite's problems"):
        load(wanted)


@pytest.mark.parametrize("name", SIZED)
def test_a_bundled_suite_is_good_at_every_scale(name: str) -> None:
    work = {}
    for scale in scales.names(yaml_file.content(name)[1]):
        made = load(name, [f"scale={scale}"])
        for spec in made.problems:
            problem = problems.check(spec.name, spec.factory, spec.options)
            if problem is not None:
                plan.check_problem(made, problem)
        examples = dict.fromkeys([p.name for p in made.problems], 60000)
        work[scale] = sum(plan.work(made, cell, examples)[1] for cell in plan.cells(made))
        if made.measures.training and made.baseline_problem:
            assert training_recipe.bases(made), (
                f"{scale}: nothing is compared with {made.baseline_problem}"
            )
    assert work["small"] < work["full"] / 4, f"gradients at most: {work}"


@pytest.mark.parametrize("name", SIZED)
def test_published_figures_of_a_bundled_suite_name_what_is_run(name: str) -> None:
    made = load(name)
    run = {(cell.problem, cell.label) for cell in plan.cells(made)}
    for figure in made.published:
        assert not figure.problem or (figure.problem, figure.estimator) in run, figure


def test_scales_are_listed_and_shown() -> None:
    assert {"molchanov2017-sparsity", "kingma2015-figure1"} <= set(SIZED)
    listed = {row["name"]: row["scales"] for row in catalogue.suites()}
    assert listed["kl-forms"] == "full, small"
    assert listed["quick"] == "full"
    shown = catalogue.show("kl-forms")
    assert shown["scales"]["small"]["measures.training.seeds"] == 3
    assert re.search(r"scales:\n +small:\n", catalogue.text(shown))
