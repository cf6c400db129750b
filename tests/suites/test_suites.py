"""Suites that are good, the bundled ones among them, and how they are changed."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path

import pytest
from small_suites import GOOD, changed

from vdbench import cli
from vdbench.errors import InputError
from vdbench.estimation.options import label
from vdbench.measures.registry import load
from vdbench.problems import check
from vdbench.runner import plan
from vdbench.suite import schema as suite_specs
from vdbench.suite import yaml_file
from vdbench.suite.grid import checkpoint_name

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_settings_change_the_suite_and_not_what_was_given() -> None:
    given = copy.deepcopy(GOOD)
    settings = (
        "measures.variance.max_units=16",
        "batch_sizes=[4, 8]",
        "measures.memory=",
        "seed=3",
    )
    made = load(given, settings)
    assert made.measures.variance is not None
    assert made.measures.variance.max_units == 16
    assert made.measures.memory is not None
    assert (made.batch_sizes, made.seed) == ([4, 8], 3)
    assert given == GOOD


def test_short_forms_and_grids_stand_for_what_they_say() -> None:
    content = changed(
        {
            "checkpoints": ["initial", {"epochs": 2, "estimator": "naive"}, {"name": "late", "epochs": 9}],
            "estimators.2": {
                "name": "score",
                "options": {"samples": [2, 4], "baseline": ["none", "leave-one-out"]},
            },
            "batch_sizes": [8, 16],
        }
    )  # fmt: skip
    made = load(content)
    names = [checkpoint_name(c) for c in made.checkpoints]
    assert names == ["initial", "naive-2-epochs", "late"]
    labels = [label(e) for e in plan.estimators(made)]
    assert labels[:3] == ["naive", "local", "score(samples=2)"]
    assert len(labels) == len(set(labels)) == 6
    assert len(plan.cells(made)) == 3 * 2 * 6 * 2  # checkpoints, batch sizes, estimators, measures
    assert [label(e) for e in plan.estimators(made, ("local",))] == ["naive", "local"]
    assert len(plan.estimators(made, ("score",))) == 5


def test_the_resolved_suite_is_a_suite() -> None:
    made = load(GOOD)
    assert load(json.loads(json.dumps(made.model_dump(mode="json", exclude_none=True)))) == made


@pytest.mark.parametrize("name", yaml_file.names())
def test_a_bundled_suite_is_good(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = load(name)
    assert made.name == name
    assert made.description
    monkeypatch.setattr(sys, "argv", ["vdbench", "run", name, "--dry-run"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    head, *lines, last, time = capsys.readouterr().out.splitlines()
    cells = plan.cells(made)
    assert head.split()[0] == "measure"
    assert [line.split()[0] for line in lines] == [cell.measure for cell in cells]
    assert all(cell.label in line for cell, line in zip(cells, lines, strict=True))
    assert re.fullmatch(
        rf"{len(cells)} cells, [\d,]+ to [\d,]+ gradients; nothing was measured\.", last
    )
    assert "time" in time.lower()
    assert not Path("runs").exists()


def test_editors_can_have_a_schema() -> None:
    schema = suite_specs.Suite.model_json_schema()
    assert set(schema["required"]) == {
        "name", "problems", "batch_sizes", "estimators", "baseline", "measures",
    }  # fmt: skip
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]["MeasuresSpec"]["properties"]) == set(
        suite_specs.MeasuresSpec.model_fields
    )


def test_bad_input_from_python_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"unknown key 'sed'\. Did you mean 'seed'"):
        load({**GOOD, "sed": 1})


def test_an_item_of_a_list_is_set_by_its_number() -> None:
    changed = load("quick", ["problems.0.options.widths=[8]", "batch_sizes.0=16"])
    assert changed.problems[0].options["widths"] == [8]
    assert changed.batch_sizes == [16]


def test_a_measure_can_be_switched_off() -> None:
    assert load("quick", ["measures.bias=false"]).measures.bias is None


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("name: twice\nseed: 1\nseed: 2\n")
    with pytest.raises(InputError, match=r"line 3: key 'seed' is given twice"):
        load(file)


def test_a_dry_run_refuses_an_unknown_data_set() -> None:
    with pytest.raises(InputError, match=r"digit.*Did you mean 'digits'"):
        check("p", "classification", {"dataset": "digit"})


@pytest.mark.parametrize("name", ["quick", "kingma2015-table1", "instrument", "time-to-target"])
def test_a_suite_as_a_run_records_it_asks_for_the_same(name: str) -> None:
    suite = load(name)
    assert load(suite.model_dump(mode="json")) == suite
