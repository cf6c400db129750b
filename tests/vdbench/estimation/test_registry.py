"""How estimators get into the registry."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest
from plug_ins import GOOD, HEAD, WRAPPER, plugin

from vdbench.estimation import registry
from vdbench.estimation.options import get, label

pytestmark = pytest.mark.usefixtures("registered")

ROOT = Path(registry.__file__).resolve().parents[2]

BUILT_IN = ["antithetic", "deterministic", "local", "naive", "per-example", "samples", "score"]


def test_the_built_in_estimators_are_found() -> None:
    assert [name for name in registry.names() if name in BUILT_IN] == BUILT_IN
    for name in BUILT_IN:
        assert registry.find(name).declared.name == name
        assert get(name).declaration == registry.find(name).declared


def test_a_plug_in_registers_its_estimators(tmp_path: Path) -> None:
    second = GOOD.replace('"mine"', '"mine-2"').replace("class Mine", "class Mine2")
    assert registry.load_plugin(plugin(tmp_path, HEAD + GOOD + second)) == ["mine", "mine-2"]
    estimator = get("mine", width=5)
    assert label(estimator) == "mine(width=5)"
    declared = estimator.declaration
    assert (declared.objective, declared.unbiased, declared.laws) == ("elbo", True, ("normal",))
    assert (declared.independent_examples, declared.version, declared.pure) == (True, "1", True)


def test_a_plug_in_s_wrapper_declares_what_it_wraps(tmp_path: Path) -> None:
    registry.load_plugin(plugin(tmp_path, HEAD + WRAPPER + GOOD))
    twice = get("twice", of="mine", power=2)
    assert label(get("twice")) == "twice(local)"
    assert label(twice) == "twice(mine, power=2)"
    assert twice.declaration.name == "twice"
    assert twice.declaration.version == "7"
    assert twice.declaration.independent_examples
    assert not get("twice", of="naive").declaration.independent_examples
    assert label(get("samples", of=twice, samples=2)) == (
        "samples(twice(mine, power=2), samples=2)"
    )


def test_the_posteriors_it_is_valid_for_are_declared(tmp_path: Path) -> None:
    """Left out, an estimator is valid for independent normal weights alone; a wrapper is as what it wraps."""
    general = GOOD.replace('"mine"', '"general"').replace("class Mine", "class General")
    general = general.replace(
        "independent_examples=True", 'independent_examples=True, posteriors="any"'
    )
    registry.load_plugin(plugin(tmp_path, HEAD + GOOD + general + WRAPPER))
    assert get("mine").declaration.posteriors == "independent-normal"
    assert get("general").declaration.posteriors == "any"
    assert get("twice", of="general").declaration.posteriors == "any"
    assert get("twice", of="mine").declaration.posteriors == "independent-normal"


def test_two_plug_ins_may_have_one_file_name(tmp_path: Path) -> None:
    """Each keeps its module: annotations as text are looked up in it."""
    future = "from __future__ import annotations\nfrom typing import Literal as {}\n"
    option = "width: {}['a', 'b'] = 'a'"
    for number, alias in enumerate(["One", "Two"], 1):
        body = GOOD.replace("width: int = 3", option.format(alias)).replace(
            '"mine"', f'"mine-{number}"'
        )
        text = future.format(alias) + HEAD + body
        registry.load_plugin(plugin(tmp_path / alias, text))
    assert label(get("mine-1", width="b")) == "mine-1(width=b)"
    assert label(get("mine-2", width="b")) == "mine-2(width=b)"


class Entry:
    """What importlib.metadata hands out for one installed plug-in."""

    def __init__(self, name: str, code: str) -> None:
        self.name, self.value, self.code = name, f"package_{name}", code

    def load(self) -> None:
        module = types.ModuleType(self.value)
        sys.modules[self.value] = module
        exec(self.code, vars(module))


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("raise RuntimeError('no device')", "RuntimeError: no device"),
        ("import no_such_package", "ModuleNotFoundError: No module named"),
        ("raise SystemExit(1)", "SystemExit: 1"),
    ],
)
def test_a_broken_installed_plug_in_warns_and_the_rest_goes_on(
    end: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [
        Entry("first", HEAD + GOOD.replace('"mine"', '"first"')),
        Entry("broken", HEAD + GOOD.replace('"mine"', '"half-done"') + f"\n{end}\n"),
        Entry("last", HEAD + GOOD.replace('"mine"', '"last"')),
    ]

    def entry_points(*, group: str) -> list[Entry]:
        assert group == "vdbench.estimators"
        return entries

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.setattr(registry, "_discovered", False)
    with pytest.warns(
        UserWarning, match=rf"plug-in 'broken' \(package_broken\).*left out: {error}"
    ):
        names = registry.names()
    assert {"first", "last", *BUILT_IN} <= set(names)
    assert "half-done" not in names
    registry.discover()  # once is enough: no second warning


def python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose current folder comes before vdbench's own on the path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    environment.pop("PYTHONSAFEPATH", None)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_folders_of_the_user_s_that_hide_vdbench_s_own_are_named(tmp_path: Path) -> None:
    """A package, one that fails, a file; and a plain folder, which hides nothing."""
    for kind in ("package", "fails", "file", "folder"):
        (tmp_path / kind).mkdir()
    for kind, text in [("package", ""), ("fails", "import no_such_package")]:
        (tmp_path / kind / "estimators").mkdir()
        (tmp_path / kind / "estimators" / "__init__.py").write_text(text)
    (tmp_path / "file" / "estimators.py").write_text("open('ran', 'w')")
    (tmp_path / "folder" / "estimators").mkdir()
    done = python(
        tmp_path,
        """
        import os, sys
        from vdbench import InputError
        from vdbench.estimation import registry
        own = sys.path[:]
        for kind in ("package", "fails", "file", "package", "folder"):
            sys.path[:] = [os.path.abspath(kind), *own]
            try:
                print(kind, "local" in registry.names())
            except InputError as error:
                print(kind, error)
        """,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for line, kind in zip(lines[:4], ("package", "fails", "file", "package"), strict=True):
        place = tmp_path / kind / ("estimators" if kind != "file" else "estimators.py")
        assert line == (
            f"{kind} a folder or file named 'estimators' at {place} hides vdbench's own package of "
            "that name: rename it, or run vdbench from another folder."
        )
    assert not (tmp_path / "ran").exists(), "the file that hides ours was run"
    assert lines[4] == "folder True"
