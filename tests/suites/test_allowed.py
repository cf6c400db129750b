"""A suite is data: code is imported only where the user named it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import vdbench
from vdbench import cli
from vdbench.problems import own

pytestmark = pytest.mark.usefixtures("elsewhere", "undrawn")

PROBLEM = """\
from pathlib import Path

from torch import nn

import vdbench

Path("RAN").write_text("")


def make():
    return vdbench.noisy(nn.Sequential(nn.Linear(64, 10)), vdbench.datasets.load("digits"), keep_weights=False)
"""
PLUGIN = """\
from dataclasses import dataclass

import vdbench


@vdbench.register("mine", objective="elbo", unbiased=True, laws=("normal",), independent_examples=False)
@dataclass(frozen=True)
class Mine(vdbench.Pathwise):
    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean + q.scale * noise(layer.name, q.mean.shape))


"""
SUITE: dict[str, Any] = {
    "name": "tiny",
    "problems": [{"name": "a", "factory": "own_code:make"}],
    "batch_sizes": [16],
    "estimators": ["naive"],
    "baseline": "naive",
    "measures": {"variance": {"first_units": 8, "max_units": 8}},
}
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command line; returns its exit code and what it says on stderr."""
    monkeypatch.setattr(own, "plugins", {})

    def vdbench(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["vdbench", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return vdbench


def written(**changes: Any) -> None:
    Path("suite.yaml").write_text(yaml.safe_dump({**SUITE, **changes}))
    Path("own_code.py").write_text(PROBLEM)


def test_no_code_runs_that_nobody_named(call: Call) -> None:
    written()
    expected = (
        "vdbench: suite 'tiny': problem 'a' would run own_code:make, which nobody has allowed: "
        "if you trust it, add --allow own_code (from Python, allow=[...]).\n"
    )
    for more in (
        (),
        ("--dry-run",),
        ("--dry-run", "--allow", "own_cod"),
        ("--allow", "own_code:other"),
    ):
        assert call("run", "suite.yaml", "--out", "run", *more) == (2, expected)
    with pytest.raises(vdbench.InputError, match="add --allow own_code"):
        vdbench.run("suite.yaml", "run")
    assert not Path("RAN").exists()
    assert not Path("run").exists()


def test_what_a_suite_names_is_no_shell(call: Call) -> None:
    written(
        problems=[{"name": "a", "factory": "subprocess:getoutput", "options": {"cmd": "touch RAN"}}]
    )
    for more in ((), ("--dry-run",), ("--allow", "own_code")):
        code, said = call("run", "suite.yaml", *more)
        assert code == 2
        assert "add --allow subprocess" in said
    written(problems=[{"name": "a", "factory": "a b;touch RAN:x"}])
    code, said = call("run", "suite.yaml")
    assert code == 2
    assert "is no package.module:factory" in said
    assert not Path("RAN").exists()


NAMED = {
    "its module": ("--allow", "own_code"),
    "the factory": ("--allow", "own_code:make"),
    "a change": ("--set", "problems.0.factory=own_code:make"),
    "a whole problem": ("--set", "problems=[{name: b, factory: 'own_code:make'}]"),
}


@pytest.mark.parametrize("kind", NAMED)
def test_what_the_command_line_names_is_run(kind: str, call: Call) -> None:
    written()
    assert call("run", "suite.yaml", "--dry-run", *NAMED[kind]) == (0, "")
    assert Path("RAN").exists()


def test_a_scale_of_the_file_names_nothing(call: Call) -> None:
    written(problems=[{"name": "a"}], scales={"small": {"problems.0.factory": "own_code:make"}})
    assert call("run", "suite.yaml", "--dry-run")[0] == 0
    code, said = call("run", "suite.yaml", "--dry-run", "--set", "scale=small")
    assert code == 2
    assert "add --allow own_code" in said
    assert not Path("RAN").exists()


def test_a_plug_in_may_hold_the_problem(call: Call) -> None:
    written()
    Path("own_code.py").write_text(PLUGIN + PROBLEM)
    assert call("run", "suite.yaml", "--dry-run", "--plugin", "own_code.py") == (0, "")
    assert "own_code" not in sys.modules  # it is not imported a second time


def test_an_installed_package_offers_problems(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    written(problems=[{"name": "a", "factory": "theirs"}])
    entry = importlib.metadata.EntryPoint("theirs", "own_code:make", own.ENTRY_POINTS)
    real = importlib.metadata.entry_points

    def some(**what: Any) -> Any:
        return [entry] if what == {"group": own.ENTRY_POINTS} else real(**what)

    monkeypatch.setattr(importlib.metadata, "entry_points", some)
    assert call("run", "suite.yaml", "--dry-run") == (0, "")
    written()
    assert call("run", "suite.yaml", "--dry-run") == (0, "")


def test_a_resumed_run_needs_it_again(call: Call) -> None:
    written()
    assert call("run", "suite.yaml", "--out", "run", "--allow", "own_code")[0] == 0
    record = json.loads(Path("run/run.json").read_text())
    assert record["allowed"] == ["own_code"]
    assert re.search(r"--allow own_code$", record["command"])
    code, said = call("run", "suite.yaml", "--out", "run")
    assert code == 2
    assert "add --allow own_code" in said
    assert vdbench.run("suite.yaml", "run", allow=["own_code"]).failed == 0


def test_a_mapping_is_code_already() -> None:
    written()
    assert vdbench.run(SUITE, "run").failed == 0
