"""Plug-ins that are refused, and what is left of them: nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from plug_ins import GOOD, HEAD, WRAPPER, one_sentence, plugin

from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator

pytestmark = pytest.mark.usefixtures("registered")

DEFAULT = 'field(default_factory=lambda: vdbench.get("local"))'

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
        r"declares posteriors 'all'\. Expected one of: any, independent-normal, learned-binary, normal-preactivations, "
        r"row-shared, sign-symmetric\.",
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
