"""Names that a shell completes are those that there are, and are found without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vdbench.cli import completion
from vdbench.estimation import registry
from vdbench.suite import yaml_file

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_all_estimators_and_suites_are_completed() -> None:
    own = [n for n in registry.names() if registry.find(n).__module__.startswith("estimators.")]
    assert completion.estimators("") == sorted(own)
    assert completion.suites("") == sorted(yaml_file.names())
    assert completion.estimators("sco") == [n for n in sorted(own) if n.startswith("sco")]
    assert completion.shown("quick") == ["quick"]
    assert completion.lists("su") == ["suites"]


def test_files_and_folders_on_the_way_are_completed() -> None:
    Path("mine.yaml").touch()
    Path("mine.py").touch()
    Path("mz [x]").mkdir()
    assert completion.suites("mi") == ["miller2017", "mine.yaml"]
    assert completion.suites("mz") == ["mz [x]/"]
    assert completion.subjects("mine") == ["mine.py"]
    assert completion.suites("mz [") == ["mz [x]/"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("vdbench run kingma2015-f", ["kingma2015-figure1", "kingma2015-figure1-cifar"]),
        ("vdbench run quick --only loc", ["local"]),
        ("vdbench wa", ["watch"]),
        ("vdbench run quick --dry", ["--dry-run"]),
    ],
)
def test_a_shell_is_answered_without_torch(words: str, expected: list[str]) -> None:
    code = (
        "import sys; from vdbench.cli import main; sys.argv = ['vdbench']\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    environment = {**os.environ, "_VDBENCH_COMPLETE": "complete_bash", **asked}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == expected
