"""``vdbench check``: what it prints, its exit codes, and what it refuses."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from vdbench import cli
from vdbench.cli.check_arguments import own_problem, subjects
from vdbench.errors import InputError
from vdbench.estimation.options import label

pytestmark = pytest.mark.usefixtures("elsewhere", "one_thread")

GOOD = """\
from dataclasses import dataclass

import vdbench


@vdbench.register("mine", objective="elbo", unbiased=True, laws=("normal",), independent_examples=False)
@dataclass(frozen=True)
class Mine(vdbench.Pathwise):
    '''One weight sample.'''

    half: bool = False

    def preactivation(self, layer, x, q, noise):
        scale = q.scale / 2 if self.half else q.scale
        return layer.linear(x, q.mean + scale * noise(layer.name, q.mean.shape))
"""


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["vdbench", "check", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_a_file_passes_and_its_broken_option_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(GOOD)
    assert call(monkeypatch, "mine.py") == 0
    said = capsys.readouterr().out
    assert said.startswith("mine: PASSED at level small: a relative bias of 0.")
    assert "not exercised: noisy layers (above " in said
    assert "; embeddings; " in said
    assert call(monkeypatch, "mine.py", "--option", "half=true", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is False
    assert found["verdict"] == "FAILED"
    (certificate,) = found["certificates"]
    assert certificate["subject"] == "mine(half=True)"
    assert any(
        f["test"] == "pre-activations" for f in certificate["findings"] if f["passed"] is False
    )
    assert "their variance is not Σ x²σ²" in certificate["diagnosis"]


@pytest.mark.long
def test_too_few_draws_are_inconclusive_said_first_with_what_would_settle_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("local", "--draws", "4096")
    assert call(monkeypatch, *few) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("local: INCONCLUSIVE at level small: nothing wrong was found, but a")
    (draws,) = re.findall(r"--draws (\d+) should settle it", first)
    assert call(monkeypatch, *few, "--strict", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["passed"]) == ("INCONCLUSIVE", False)
    (certificate,) = found["certificates"]
    assert certificate["draws"] == int(draws)
    assert certificate["power"] > 0.1
    assert certificate["summary"].startswith("local: INCONCLUSIVE")
    assert call(monkeypatch, "local", "--draws", draws, "--strict") == 0
    assert capsys.readouterr().out.startswith("local: PASSED")


def test_what_is_checked() -> None:
    def labels(*args: object) -> list[str]:
        return [label(e) for e in subjects(*args)]  # type: ignore[arg-type]

    Path("mine.py").write_text(GOOD)
    assert labels("mine.py") == ["mine"]
    assert labels("score", ["samples=2", "baseline=leave-one-out"]) == [
        "score(baseline=leave-one-out, samples=2)"
    ]
    assert labels("antithetic", [], ["samples", "local"]) == ["antithetic(samples(local))"]


REFUSED: list[tuple[list[str], str]] = [
    (["locl"], "estimator 'locl' is unknown. Did you mean 'local'?"),
    (["none.py"], "plug-in 'none.py': expected an existing Python file"),
    (["empty.py"], "plug-in 'empty.py' registers no estimator"),
    (["local", "--option", "chunk=3"], "estimator 'local' has no option 'chunk'."),
    (["score", "--option", "samples"], "--option samples: expected key=value, such as samples=4."),
    (["score", "--option", "samples=[1"], "--option samples=[1: the value is no YAML."),
    (["score", "--option", "samples=0"], "samples"),
    (["local", "--of", "naive"], "estimator 'local' wraps no other; --of is for one that does"),
    (["samples", "--of", "locl"], "estimator 'locl' is unknown."),
    (["samples", "--of", "local", "--option", "of=naive"], "given twice, by --of and --option of."),
    (["antithetic", "--of", "deterministic"], "'deterministic' draws no noise"),
    (
        ["two.py", "--option", "half=true"],
        "are for one estimator, and the file registers 2: mine, other",
    ),
    (["local", "--level", "smal"], "level 'smal' is unknown. Did you mean 'small'?"),
    (["local", "--draws", "3"], "draws is 3, expected a whole number of at least 64."),
    (["local", "--device", "tpu"], "device 'tpu' is unknown; expected cpu or cuda."),
]


@pytest.mark.parametrize(
    ("words", "message"), REFUSED, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_bad_input_is_one_sentence(
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("empty.py").write_text("")
    Path("two.py").write_text(GOOD + GOOD.split("\n\n\n", 1)[1].replace('"mine"', '"other"'))
    assert call(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("vdbench: ")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_options_for_a_file_of_several_are_refused() -> None:
    Path("two.py").write_text(GOOD + GOOD.split("\n\n\n", 1)[1].replace('"mine"', '"other"'))
    with pytest.raises(InputError, match="registers 2"):
        subjects("two.py", [], ["local"])


SUITE = """\
name: mine
problems:
  - {name: small, factory: classification, options: {widths: [3]}}
  - {name: own, factory: "elsewhere_there:make"}
checkpoints: [initial]
batch_sizes: [8]
estimators: [local]
baseline: local
measures: {variance: {}}
"""


def test_a_problem_is_named_as_a_suite_has_it() -> None:
    Path("my.yaml").write_text(SUITE)
    found = own_problem("my.yaml:small", [], [])
    assert found.name == "small"
    assert found.layers[0].outputs == 3
    assert own_problem("quick:digits", [], []).name == "digits"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("quick:digts", "suite 'quick' has no problem 'digts'. Did you mean 'digits'?"),
        ("my.yaml:own", "'own' would run elsewhere_there:make, which nobody has allowed"),
        ("absent.yaml:own", "absent.yaml"),
        ("qick:digits", "would run qick:digits, which nobody has allowed"),
        (":digits", "':digits' is no package.module:factory"),
    ],
)
def test_a_problem_that_no_suite_has_is_refused(text: str, sentence: str) -> None:
    Path("my.yaml").write_text(SUITE)
    with pytest.raises(InputError) as refused:
        own_problem(text, [], [])
    assert sentence in str(refused.value)


def test_a_module_that_is_allowed_comes_before_a_suite_of_its_name() -> None:
    Path("quick.py").write_text(
        "import vdbench\n\n\ndef digits():\n    return vdbench.problems.classification(widths=[2])\n"
    )
    assert own_problem("quick:digits", ["quick"], []).name == "own"
    sys.modules.pop("quick", None)
