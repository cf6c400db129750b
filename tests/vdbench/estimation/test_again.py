"""The same cell or file may register a name again; a hash of the code keeps stored figures of the old form apart."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import vdbench
from vdbench.estimation import registry
from vdbench.estimation.options import get, identity

ROOT = Path(__file__).parents[3]
SOURCE = """
from dataclasses import dataclass
import torch
import vdbench

FACTOR = 1.0

def helper(x):
    return x * FACTOR

@vdbench.register("NAME", objective="elbo", unbiased=True, laws=("normal",), independent_examples=False)
@dataclass(frozen=True)
class CLASS(vdbench.Pathwise):
    '''About.'''

    def preactivation(self, layer, x, q, noise):
        return helper(layer.linear(x, q.mean + q.scale * noise(layer.name, q.mean.shape)))
"""

pytestmark = pytest.mark.usefixtures("elsewhere")


def source(name: str = "mine", cls: str = "Mine", **changes: str) -> str:
    text = SOURCE.replace("NAME", name).replace("CLASS", cls)
    for old, new in changes.items():
        text = text.replace(*new.split(" -> ")) if old.startswith("change") else text
    return text


def reloaded(module: Any, text: str) -> None:
    Path(module.__file__).write_text(text)
    importlib.invalidate_caches()
    cached = Path(importlib.util.cache_from_source(module.__file__))
    cached.unlink(missing_ok=True)
    importlib.reload(module)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    Path("own_again.py").write_text(source())
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("own_again")


def test_a_file_that_is_run_again_replaces_what_it_registered(module: Any) -> None:
    first = registry.find("mine")
    reloaded(module, source(change="x * FACTOR -> x * 2 * FACTOR"))
    assert registry.find("mine") is module.Mine is not first
    reloaded(module, source(cls="Renamed"))
    assert registry.find("mine") is module.Renamed
    registry.load_plugin("own_again.py")  # the same file on another way
    assert registry.find("mine").__module__.startswith("vdbench_plugin_")


def test_elsewhere_it_is_refused(module: Any, tmp_path: Path) -> None:
    Path("own_other.py").write_text(source())
    with pytest.raises(vdbench.InputError, match=r"'mine' is taken by own_again\.Mine"):
        importlib.import_module("own_other")
    with pytest.raises(vdbench.InputError, match=r"'mine' is taken by own_again\.Mine"):
        registry.load_plugin("own_other.py")
    reloaded(module, source())  # the one that has the name still may
    Path("own_builtin.py").write_text(source(name="local"))
    with pytest.raises(vdbench.InputError, match=r"'local' is taken by estimators\.local"):
        importlib.import_module("own_builtin")


@pytest.mark.parametrize("other", ["Mine", "Other"])
def test_twice_in_one_file_is_a_mistake(other: str, tmp_path: Path) -> None:
    Path("own_twice.py").write_text(source() + source(cls=other))
    with pytest.raises(vdbench.InputError, match="'mine' is taken by"):
        registry.load_plugin("own_twice.py")
    assert "mine" not in registry.names()


def test_an_estimator_of_the_old_class_is_refused(module: Any) -> None:
    old, wrapped = get("mine"), get("samples", of="mine", samples=2)
    reloaded(module, source())
    suite = {"name": "s", "problems": [{"name": "digits", "options": {"widths": []}}], "batch_sizes": [8],
             "estimators": [old], "baseline": "mine", "measures": {"variance": {}}}  # fmt: skip
    for one in (old, wrapped):
        with pytest.raises(
            vdbench.InputError, match="was registered as 'mine' before the present one"
        ):
            vdbench.run({**suite, "estimators": [one]}, "run")


CHANGES = {
    "the body": "x * FACTOR -> x * 2 * FACTOR",
    "a constant": "FACTOR = 1.0 -> FACTOR = 1.5",
    "a constant in the method": "q.mean + -> 2 * q.mean +",
    "a default": "def helper(x): -> def helper(x, y=1):",
    "an option": "'''About.''' -> decay: float = 0.5",
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_code_has_another_identity(module: Any, change: str) -> None:
    before = identity(get("mine"))
    reloaded(module, source())
    assert identity(get("mine")) == before
    reloaded(module, source(change="# nothing -> "))
    assert identity(get("mine")) == before
    text = source(change=CHANGES[change])
    assert text != source()
    reloaded(module, text)
    assert identity(get("mine")) != before
    assert identity(get("samples", of="mine"))[1]["of"] == identity(get("mine"))


@pytest.mark.long
def test_the_hash_is_the_same_in_another_process(module: Any) -> None:
    """Where a class has come by cloudpickle, as the processes of a run get it."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    try:
        content = cloudpickle.dumps(registry.others())
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    Path("content").write_bytes(content)
    code = (
        "import pickle; from vdbench.estimation import registry; registry.discover();"
        "registry.add(pickle.load(open('content', 'rb'))); print(registry.source('mine'))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False,
                          env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONHASHSEED": "7"})  # fmt: skip
    assert done.stdout.strip() == registry.source("mine"), done.stderr
    assert registry.source("local") == ""


NOTEBOOK = """
import json, warnings
warnings.simplefilter("ignore")
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
parent = {"metadata": {}}
shell.get_parent = lambda: parent
found = {}
for case, cells in json.load(open("cells.json")).items():
    said = []
    for cell, text in cells:
        parent["metadata"]["cellId"] = cell
        result = shell.run_cell(text, store_history=True)
        error = result.error_before_exec or result.error_in_exec
        said.append(str(error) if error else "ok")
    from vdbench.estimation import registry
    found[case] = said[-1], registry.find("mine").__qualname__, registry.source("mine")
    del registry._registry["mine"]
json.dump(found, open("said.json", "w"))
"""
CELLS: dict[str, tuple[list[tuple[str, str]], str, str]] = {
    "the same cell again": ([("a", source()), ("a", source())], "ok", "Mine"),
    "the same cell, edited": (
        [("a", source()), ("a", source(change="x * FACTOR -> x * 3"))], "ok", "Mine",
    ),
    "the same cell, class renamed": ([("a", source()), ("a", source(cls="New"))], "ok", "New"),
    "a copy of the cell, the class of the same name": ([("a", source()), ("b", source())], "ok", "Mine"),
    "another cell, another class": (
        [("a", source()), ("b", source(cls="New"))], "is taken by __main__.Mine", "Mine",
    ),
    "twice in one cell": ([("a", source() + source())], "is taken by __main__.Mine", "Mine"),
    "another class, and no identifiers of cells": (
        [("", source()), ("", source(cls="New"))], "is taken by __main__.Mine", "Mine",
    ),
    "no identifiers of cells": ([("", source()), ("", source())], "ok", "Mine"),
    "a name of vdbench's": (
        [("a", source()), ("b", source(name="local"))], "is taken by estimators.local", "Mine",
    ),
}  # fmt: skip


def test_cells_of_a_notebook(tmp_path: Path) -> None:
    """All cases in one process; each begins without the name."""
    cells = {
        case: [(cell and f"{case} {cell}", text) for cell, text in each]
        for case, (each, *_) in CELLS.items()
    }
    Path("cells.json").write_text(json.dumps(cells))
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(NOTEBOOK)], capture_output=True, text=True,
                          check=False, env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(Path("said.json").read_text())
    for case, (_, said, cls) in CELLS.items():
        assert said in found[case][0], (case, found[case])
        assert found[case][1] == cls, case
        assert found[case][2], case


def test_a_run_that_is_gone_on_with_measures_changed_code_anew(module: Any) -> None:
    """Twice the pre-activation of a linear network is about four times the variance; the old blocks stay."""

    def total() -> float:
        suite = {"name": "s", "problems": [{"name": "digits", "options": {"widths": []}}], "batch_sizes": [8],
                 "estimators": ["mine"], "baseline": "mine", "threads": 1,
                 "measures": {"variance": {"first_units": 16, "max_units": 16}}}  # fmt: skip
        table = vdbench.run(suite, "run").frame
        here = (table.metric == "variance.total") & (table.layer == "all") & (table.role == "mean")
        return float(table[here].value.iloc[0])

    first = total()
    assert total() == first
    before = len(list(Path("run/blocks").rglob("*.npz")))
    reloaded(module, source(change="x * FACTOR -> x * 2 * FACTOR"))
    assert total() > 2 * first
    assert len(list(Path("run/blocks").rglob("*.npz"))) == 2 * before
    reloaded(module, source())
    assert total() == first
