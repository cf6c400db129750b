"""How estimators get into the registry, what is refused on the way, and how one is made from options."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import canonical, get, identity, label, options

ROOT = Path(registry.__file__).resolve().parents[2]
BUILT_IN = ["antithetic", "deterministic", "local", "naive", "per-example", "samples", "score"]

HEAD = """\
from dataclasses import dataclass, field

import vdbench

"""
GOOD = """\
@vdbench.register(
    "mine", objective="elbo", unbiased=True, laws=("normal",), independent_examples=True
)
@dataclass(frozen=True)
class Mine(vdbench.Pathwise):
    '''My own.'''

    width: int = 3

    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean)
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, type[Estimator]]]:
    """A copy of the registry for each test, and modules as they were."""
    registry.discover()
    copy = dict(registry._registry)
    monkeypatch.setattr(registry, "_registry", copy)
    modules = set(sys.modules)
    yield copy
    for name in set(sys.modules) - modules:
        if name.startswith(("vdbench_plugin_", "package_", "vdbench_test_")):
            del sys.modules[name]


def plugin(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def one_sentence(error: pytest.ExceptionInfo[InputError]) -> str:
    """The message; it must be one line that ends as a sentence does or with what another program said."""
    message = str(error.value)
    assert message
    assert "\n" not in message
    assert "Traceback" not in message
    return message


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


WRAPPER = """\
@vdbench.register("twice", version="7")
@dataclass(frozen=True)
class Twice(vdbench.Wrapper):
    '''The same gradient, times one.'''

    of: vdbench.Estimator = field(default_factory=lambda: vdbench.get("local"))
    power: int = 1

    def __call__(self, problem, parameters, batch, noise, state=()):
        return self.of(problem, parameters, batch, noise, state)
"""
DEFAULT = 'field(default_factory=lambda: vdbench.get("local"))'


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


BAD: dict[str, tuple[str, str]] = {
    "a syntax error": (HEAD + "class Mine(\n", r"could not be loaded: line 5: SyntaxError: "),
    "an indentation error": (HEAD + "if True:\npass\n", r"could not be loaded: line 6: IndentationError: "),
    "an import that fails": (
        HEAD + "import no_such_package\n",
        r"could not be loaded: line 5: ModuleNotFoundError: No module named 'no_such_package'",
    ),
    "code that raises": (
        HEAD + "def f():\n    return 1 / 0\n\nf()\n",
        r"could not be loaded: line 6: ZeroDivisionError: ",
    ),
    "an error of several lines": (
        HEAD + "raise ValueError('one\\ntwo')\n",
        r"could not be loaded: line 5: ValueError: one two$",
    ),
    "an exit": (HEAD + "raise SystemExit(3)\n", r"could not be loaded: line 5: SystemExit: 3"),
    "no registration": (HEAD, r"registers no estimator: decorate a class with @vdbench\.register"),
    "a missing declaration": (
        HEAD + GOOD.replace('objective="elbo", unbiased=True, ', ""),
        r"estimator 'mine' \(vdbench_plugin_mine\.Mine\) does not declare objective, unbiased: "
        r"pass it to vdbench\.register",
    ),
    "a name that is taken": (
        HEAD + GOOD.replace('"mine"', '"local"'),
        r"estimator name 'local' is taken by estimators\.local\.Local; vdbench_plugin_mine\.Mine needs",
    ),
    "a name of its own that is taken": (
        HEAD + GOOD + GOOD.replace("class Mine", "class Other"),
        r"'mine' is taken by vdbench_plugin_mine\.Mine; vdbench_plugin_mine\.Other needs another",
    ),
    "a malformed name": (HEAD + GOOD.replace('"mine"', '"My one"'), r"'My one' must be lower-case letters"),
    "an empty name": (HEAD + GOOD.replace('"mine"', '""'), r"'' must be lower-case letters"),
    "a dataclass that is not frozen": (
        HEAD + GOOD.replace("(frozen=True)", ""),
        r"estimator 'mine' \(.*\) must be a frozen dataclass: put @dataclass\(frozen=True\) below",
    ),
    "no dataclass": (HEAD + GOOD.replace("@dataclass(frozen=True)\n", ""), r"must be a frozen dataclass"),
    "a class of another family": (
        HEAD + GOOD.replace("vdbench.Pathwise", "object"),
        r"estimator 'mine' \(.*\) must derive from vdbench\.Estimator or vdbench\.Pathwise",
    ),
    "a function": (
        HEAD + GOOD.split("@dataclass", 1)[0] + "def mine(): ...\n",
        r"must derive from vdbench\.Estimator",
    ),
    "an option without default": (
        HEAD + GOOD.replace("width: int = 3", "width: int"),
        r"estimator 'mine' \(.*\): option width needs a default value",
    ),
    "a wrapper that declares something": (
        HEAD + WRAPPER.replace('version="7"', 'objective="elbo", unbiased=True'),
        r"estimator 'twice' \(vdbench_plugin_mine\.Twice\) declares objective, unbiased, and a wrapper takes that "
        r"from the estimator it wraps: leave it out\.$",
    ),
    "posteriors that there are not": (
        HEAD + GOOD.replace("independent_examples=True", 'independent_examples=True, posteriors="all"'),
        r"declares posteriors 'all'\. Expected one of: any, independent-normal, learned-binary, row-shared\.",
    ),
    "a wrapper that declares its posteriors": (
        HEAD + WRAPPER.replace('version="7"', 'version="7", posteriors="any"'),
        r"declares posteriors, and a wrapper takes that from the estimator it wraps",
    ),
    "a wrapper that declares to be impure": (
        HEAD + WRAPPER.replace('version="7"', "pure=False"),
        r"estimator 'twice' \(.*\) declares pure, and a wrapper takes that from the estimator it wraps",
    ),
    "a wrapper that wraps nothing by default": (
        HEAD + WRAPPER.replace(f"of: vdbench.Estimator = {DEFAULT}", ""),
        r"estimator 'twice' \(.*\): option of needs a default value\.$",
    ),
    "a wrapper of something else by default": (
        HEAD + WRAPPER.replace(DEFAULT, '"local"'),
        r"estimator 'twice' \(.*\): the default of option 'of' must be an estimator, not 'local'\.$",
    ),
    "an abstract method left open": (
        HEAD + GOOD.replace("def preactivation", "def pre_activation"),
        r"estimator 'mine' \(.*\) does not define preactivation\.$",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_plug_ins_are_told_apart_and_leave_no_trace(
    kind: str, tmp_path: Path, registered: dict[str, type[Estimator]]
) -> None:
    text, message = BAD[kind]
    before, modules = dict(registered), set(sys.modules)
    file = plugin(tmp_path, text)
    with pytest.raises(
        InputError, match=rf"^plug-in '{re.escape(str(file))}'.*{message}"
    ) as caught:
        registry.load_plugin(file)
    one_sentence(caught)
    assert registry._registry == before
    assert {n for n in set(sys.modules) - modules if n.startswith("vdbench_plugin_")} == set()


def test_what_a_plug_in_registered_before_it_failed_is_taken_back(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        registry.load_plugin(plugin(tmp_path, HEAD + GOOD + "1 / 0\n"))
    assert "mine" not in registry.names()
    assert registry.load_plugin(plugin(tmp_path, HEAD + GOOD)) == ["mine"]


def test_the_line_is_named_for_a_relative_path_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plugin(tmp_path, HEAD + "1 / 0\n")
    with pytest.raises(InputError, match=r"^plug-in 'mine\.py' could not be loaded: line 5: Zero"):
        registry.load_plugin("mine.py")


def test_the_line_is_the_plug_in_s_although_another_file_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    plugin(tmp_path, "\n" * 20 + "def (\n", "vdbench_test_broken_helper.py")
    with pytest.raises(
        InputError, match=r"line 5: SyntaxError: .*vdbench_test_broken_helper.*line 21"
    ):
        registry.load_plugin(plugin(tmp_path, HEAD + "import vdbench_test_broken_helper\n"))


@pytest.mark.parametrize("name", ["absent.py", "mine.txt", "folder.py"])
def test_a_plug_in_must_be_a_python_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(HEAD + GOOD)
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(
        InputError, match=r"expected an existing Python file \(FILE\.py\)\.$"
    ) as caught:
        registry.load_plugin(tmp_path / name)
    assert name in one_sentence(caught)


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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("locl", {}, "estimator 'locl' is unknown. Did you mean 'local'?"),
        ("zzz", {}, "estimator 'zzz' is unknown. Expected one of: antithetic, arm, concrete, "),
        ("score", {"sample": 2}, "estimator 'score' has no option 'sample'. Did you mean 'samples'?"),
        ("score", {"zzz": 2}, "estimator 'score' has no option 'zzz'. Expected one of: baseline, decay, pilot, "),
        ("local", {"samples": 2}, "estimator 'local' has no option 'samples'. It has none."),
        ("score", {"samples": "2"}, "estimator 'score', option samples: input should be a valid integer, not '2'."),
        ("score", {"samples": 2.0}, "option samples: input should be a valid integer, not 2.0."),
        ("score", {"samples": True}, "option samples: input should be a valid integer, not True."),
        ("score", {"samples": None}, "option samples: input should be a valid integer, not None."),
        ("score", {"baseline": "loo"}, "option baseline: input should be 'none', 'moving-average', "),
        ("score", {"samples": 0}, "score: baseline 'none' needs samples ≥ 1, not 0."),
        ("score", {"baseline": "leave-one-out"}, "score: baseline 'leave-one-out' needs samples ≥ 2, not 1."),
        ("per-example", {"chunk": 0}, "per-example: chunk must be at least 1 example, not 0."),
        ("samples", {"samples": "2"}, "estimator 'samples', option samples: input should be a valid integer, not '2'."),
        ("samples", {"off": "local"}, "estimator 'samples' has no option 'off'. Did you mean 'of'?"),
        ("samples", {"of": "locl"}, "'samples', option of: estimator 'locl' is unknown. Did you mean 'local'?"),
        ("samples", {"of": {"name": "score", "options": {"sample": 2}}},
         "estimator 'samples', option of: estimator 'score' has no option 'sample'. Did you mean 'samples'?"),
        ("samples", {"of": {"name": "antithetic", "options": {"of": "nave"}}},
         "estimator 'samples', option of: estimator 'antithetic', option of: estimator 'nave' is unknown. "
         "Did you mean 'naive'?"),
        ("samples", {"of": {"name": "score", "options": {"samples": 0}}},
         "estimator 'samples', option of: score: baseline 'none' needs samples ≥ 1, not 0."),
        ("antithetic", {"of": {"name": "antithetic"}},
         "antithetic: estimator 'antithetic' is in antithetic pairs already, and the pair of a pair is that pair"),
        ("samples", {"of": 3}, "estimator 'samples', option of: expected an estimator's name, or a mapping with the "
         "keys name and options, not 3."),
        ("samples", {"of": None}, "option of: expected an estimator's name, or a mapping"),
        ("samples", {"of": ["local"]}, "option of: expected an estimator's name, or a mapping"),
        ("samples", {"of": {"options": {}}}, "option of: expected an estimator's name, or a mapping"),
        ("samples", {"of": {"name": "local", "option": {}}}, "of: unknown key 'option'. Did you mean 'options'?"),
        ("samples", {"of": {"name": "score", "options": 2}}, "option of: expected a mapping under options, not 2."),
    ],
)  # fmt: skip
def test_bad_names_and_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        get(name, **options)
    one_sentence(caught)


def test_a_plug_in_s_own_checks_of_its_options_are_input_errors(tmp_path: Path) -> None:
    check = "    def __post_init__(self):\n        if self.width > 9:\n            raise ValueError('too wide')\n"
    registry.load_plugin(plugin(tmp_path, HEAD + GOOD + "\n" + check))
    assert get("mine", width=9) is not None
    with pytest.raises(InputError, match=r"^estimator 'mine': too wide") as caught:
        get("mine", width=10)
    one_sentence(caught)


def test_options_and_labels_name_what_is_not_default(tmp_path: Path) -> None:
    score = get("score", samples=4, baseline="leave-one-out")
    assert options(score) == {"samples": 4, "baseline": "leave-one-out"}
    assert label(score) == "score(baseline=leave-one-out, samples=4)"
    assert label(get("score", samples=1)) == "score"
    assert options(get("local")) == {}
    made = "width: tuple[int, ...] = field(default_factory=lambda: (1, 2))"
    registry.load_plugin(plugin(tmp_path, HEAD + GOOD.replace("width: int = 3", made)))
    assert label(get("mine")) == "mine"
    assert label(get("mine", width=(1, 2))) == "mine"
    assert label(get("mine", width=(3,))) == "mine(width=(3,))"


def test_a_wrapped_estimator_is_always_named() -> None:
    """By default, too: what is wrapped by default may change."""
    inner = {"name": "score", "options": {"samples": 4}}
    labels = {
        label(e): options(e)
        for e in [
            get("samples"),
            get("samples", of="local", samples=4),
            get("samples", of=get("score", samples=4)),
            get("samples", of=get("antithetic", of="local"), samples=2),
        ]
    }
    assert labels == {
        "samples(naive)": {"of": {"name": "naive", "options": {}}},
        "samples(local, samples=4)": {"of": {"name": "local", "options": {}}, "samples": 4},
        "samples(score(samples=4))": {"of": inner},
        "samples(antithetic(local), samples=2)": {
            "of": {"name": "antithetic", "options": {"of": {"name": "local", "options": {}}}},
            "samples": 2,
        },
    }
    assert canonical(options(get("samples", of="local", samples=4))) == (
        '{"of":{"name":"local","options":{}},"samples":4}'
    )


def test_an_inner_estimator_is_given_in_any_of_its_forms() -> None:
    inner = get("score", samples=4)
    spec = {"name": "score", "options": {"samples": 4}}
    assert get("samples", of=inner) == get("samples", of=spec)
    assert get("samples", of="local") == get("samples", of={"name": "local"})
    for estimator in (get("samples", of=inner, samples=2), get("antithetic")):
        again = json.loads(canonical(options(estimator)))
        assert get(estimator.declaration.name, **again) == estimator


def test_canonical_text_does_not_depend_on_order() -> None:
    assert canonical({"b": 1, "a": [1, 2.5, None]}) == '{"a":[1,2.5,null],"b":1}'
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({}) == "{}"


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


def test_a_plug_in_that_has_changed_has_another_identity(tmp_path: Path) -> None:
    """Its stored figures are not taken for those of the changed file."""
    file = plugin(tmp_path, HEAD + GOOD)
    registry.load_plugin(file)
    before = identity(get("mine"))
    assert registry.load_plugin(file) == ["mine"]
    assert identity(get("mine")) == before
    file.write_text(file.read_text() + "\n# changed\n")
    registry.load_plugin(file)
    assert identity(get("mine")) != before
    assert identity(get("local")) == ["local", {}, "1"]


def test_the_identity_of_a_wrapper_covers_what_it_wraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options, its version, and the file that it comes from."""
    file = plugin(tmp_path, HEAD + GOOD)
    registry.load_plugin(file)

    def named(**options: Any) -> str:
        inner = get("antithetic", of=get("mine", **options))
        return canonical(identity(get("samples", of=inner, samples=2)))

    before = named()
    assert named() == before
    assert named(width=4) != before
    declared = dataclasses.replace(registry.find("mine").declared, version="2")
    with monkeypatch.context() as changed:
        changed.setattr(registry.find("mine"), "declared", declared)
        assert named() != before
    assert named() == before
    file.write_text(file.read_text() + "\n# changed\n")
    registry.load_plugin(file)
    assert named() != before
