"""Bad suites are refused in one sentence before anything is measured; the bundled ones are good."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vdbench import cli
from vdbench.errors import InputError
from vdbench.estimation.options import label
from vdbench.measures.registry import load
from vdbench.problems import check
from vdbench.runner import plan
from vdbench.suite import schema as suite_specs
from vdbench.suite import yaml_file
from vdbench.suite.grid import checkpoint_name

Refused = Callable[..., str]

GOOD: dict[str, Any] = {
    "name": "tiny",
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "checkpoints": [{"epochs": 1, "batch_size": 256}],
    "batch_sizes": [16],
    "estimators": ["naive", "local", {"name": "score", "options": {"samples": 2}}],
    "baseline": "naive",
    "measures": {"variance": {"first_units": 8, "max_units": 8}, "bias": {"units": 8}},
}

PLUGIN = """\
from dataclasses import dataclass

import vdbench


@vdbench.register("mine", objective="elbo", unbiased=True, laws=(), independent_examples=True)
@dataclass(frozen=True)
class Mine(vdbench.Pathwise):
    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean)
"""


pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Call the command line, which must refuse in one sentence; returns the sentence."""

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["vdbench", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert end.value.code == 2
        assert said.out == ""
        (line,) = said.err.splitlines()
        assert line.startswith("vdbench: ")
        assert "Traceback" not in line
        assert "  " not in line
        assert line[-1] in ".?'\"" or ":" in line  # a sentence, or what another program said
        return line

    return call


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The good suite with values set at dotted paths; a value of ... deletes the key."""
    made = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *above, last = path.split(".")
        place: Any = made
        for part in above:
            place = place[int(part) if part.isdigit() else part]
        if value is ...:
            del place[last]
        else:
            place[int(last) if last.isdigit() else last] = value
    return made


def written(content: dict[str, Any] | str | bytes) -> str:
    """The name of a file with a suite in it."""
    file = Path("suite.yaml")
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(file)


OPTIONS = "problems.0.options"
FACTORY = "problems.0.factory"
SCORE = "estimators.2"

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
        {"estimators.1": {"name": "local", "options": {"samples": 2}}},
        r"estimator 'local' has no option 'samples'\. It has none\.",
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


BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "a bracket left open": ("name: tiny\nbatch_sizes: [16\nseed: 0\n", r"not valid YAML: line \d"),
    "a tab": ("name: tiny\nmeasures:\n\tbias: {}\n", r"not valid YAML: line 3: .*'\\t'"),
    "not text": (b"name: \xff\xfe\n", r"is not valid YAML: it is not UTF-8 text\."),
    "empty": ("", r"expected keys and values, found NoneType\."),
    "a list": ("- naive\n- local\n", r"expected keys and values, found list\."),
    "two suites": ("name: a\n---\nname: b\n", r"not valid YAML: line 2"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_suite_is_refused(kind: str, refused: Refused) -> None:
    content, expected = BAD_FILES[kind]
    said = refused("run", written(content), "--out", "run")
    assert re.search(expected, said), said
    assert "suite 'suite.yaml'" in said
    assert not Path("run").exists()


BAD_WORDS: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown suite": (("quik",), r"suite 'quik' is neither .* nor a file\. Did you mean 'quick'\?"),
    "no such file": (("nowhere.yaml",), r"suite 'nowhere\.yaml' cannot be read: No such file"),
    "a folder": ((".",), r"suite '\.' is neither a bundled suite nor a file\."),
    "a setting without a value": (
        ("suite.yaml", "--set", "seed"),
        r"--set seed: expected key=value, such as seed=1\.",
    ),
    "a setting of an unknown key": (
        ("suite.yaml", "--set", "measures.variance.max_unit=4"),
        r"unknown key 'max_unit' in measures\.variance\. Did you mean 'max_units'\?",
    ),
    "a setting below no mapping": (
        ("suite.yaml", "--set", "batch_sizes.first=4"),
        r"--set batch_sizes\.first=4: 'first' is no item of the list; expected 0 to 0\.",
    ),
    "a setting that is no YAML": (
        ("suite.yaml", "--set", "batch_sizes=[4"),
        r"--set batch_sizes=\[4: the value is not valid YAML\.",
    ),
    "a setting of the wrong type": (
        ("suite.yaml", "--set", "seed=one"),
        r"seed: .*valid integer, not 'one'\.",
    ),
    "an estimator to run that there is not": (
        ("suite.yaml", "--only", "locl"),
        r"--only locl: suite 'tiny' has no such estimator\. Did you mean 'local'\?",
    ),
    "an unknown device": (
        ("suite.yaml", "--device", "cida"),
        r"device 'cida' is unknown\. Did you mean 'cuda'\?",
    ),
}


@pytest.mark.parametrize("kind", BAD_WORDS)
def test_bad_arguments_are_refused(kind: str, refused: Refused) -> None:
    written(GOOD)
    words, expected = BAD_WORDS[kind]
    said = refused("run", *words, "--out", "run")
    assert re.search(expected, said), said
    assert not Path("run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(refused: Refused) -> None:
    said = refused("run", written(GOOD), "--out", "run", "--device", "cuda")
    assert "device 'cuda': torch finds no usable GPU here. Expected one of: cpu, auto." in said
    assert not Path("run").exists()


BAD_PLUGINS: dict[str, tuple[str | None, str]] = {
    "not there": (None, r"plug-in 'mine\.py': expected an existing Python file"),
    "a syntax error": (PLUGIN + "def\n", r"plug-in 'mine\.py' could not be loaded: line \d+: SyntaxErr"),
    "an error": (PLUGIN + "1 / 0\n", r"plug-in 'mine\.py' could not be loaded: line \d+: ZeroDiv"),
    "a name that is taken": (
        PLUGIN.replace('"mine"', '"local"'),
        r"plug-in 'mine\.py': estimator name 'local' is taken by estimators\.local\.Local",
    ),
    "a missing declaration": (
        PLUGIN.replace("unbiased=True, ", ""),
        r"plug-in 'mine\.py': estimator 'mine' .* does not declare unbiased: pass it to ",
    ),
    "nothing registered": ("import vdbench\n", r"plug-in 'mine\.py' registers no estimator: "),
    "no dataclass": (
        PLUGIN.replace("@dataclass(frozen=True)\n", ""),
        r"plug-in 'mine\.py': estimator 'mine' .* must be a frozen dataclass: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_PLUGINS)
@pytest.mark.parametrize("verb", ["run", "dry run", "list", "show"])
def test_a_bad_plug_in_is_refused(kind: str, verb: str, refused: Refused) -> None:
    text, expected = BAD_PLUGINS[kind]
    if text is not None:
        Path("mine.py").write_text(text)
    words = {
        "run": ("run", written(GOOD), "--out", "run"),
        "dry run": ("run", written(GOOD), "--out", "run", "--dry-run"),
        "list": ("list", "estimators"),
        "show": ("show", "local"),
    }[verb]
    said = refused(*words, "--plugin", "mine.py")
    assert re.search(expected, said), said
    assert not Path("run").exists()


def test_a_folder_with_something_else_is_left_alone(refused: Refused) -> None:
    file, out = written(GOOD), Path("run")
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    said = refused("run", file, "--out", "run")
    assert "--out run: expected a new or empty folder, or one with a run of vdbench." in said
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]
    said = refused("run", file, "--out", "run/thesis.tex")
    assert "--out run/thesis.tex: expected a new or empty folder" in said
    said = refused("run", file, "--out", "run/thesis.tex/deeper")
    assert "--out run/thesis.tex/deeper: it cannot be written to, Not a directory." in said


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null"])
def test_a_broken_record_is_left_alone(text: str, refused: Refused) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text(text)
    said = refused("run", written(GOOD), "--out", "run")
    assert "--out run: its run.json cannot be read." in said
    assert Path("run/run.json").read_text() == text


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
    head, *lines, last = capsys.readouterr().out.splitlines()
    cells = plan.cells(made)
    assert head.split()[0] == "measure"
    assert [line.split()[0] for line in lines] == [cell.measure for cell in cells]
    assert all(cell.label in line for cell, line in zip(cells, lines, strict=True))
    assert re.fullmatch(
        rf"{len(cells)} cells, [\d,]+ to [\d,]+ gradients; nothing was measured\.", last
    )
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
