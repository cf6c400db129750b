"""Bad files, words, plug-ins and folders are refused in one sentence before anything is measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from small_suites import GOOD, Refused, written

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
