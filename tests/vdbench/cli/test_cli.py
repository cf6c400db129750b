"""The command line: every verb, its exit codes, what it prints where, and the README's own example."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import doc_pages
import pandas as pd
import pytest
import yaml

from vdbench import cli, datasets, problems
from vdbench.estimation import registry
from vdbench.measures.registry import load
from vdbench.runner import plan
from vdbench.suite import yaml_file

README = Path(__file__).parents[3] / "README.md"
VERBS = [(), ("run",), ("report",), ("compare",), ("recommend",), ("plot",), ("export",), ("list",), ("show",),
         ("check",), ("data",), ("env",),
         ("data", "list"), ("data", "fetch"), ("data", "path")]  # fmt: skip
TINY: dict[str, Any] = {
    "name": "tiny",
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "batch_sizes": [16],
    "estimators": ["naive", "local", {"name": "score", "options": {"samples": 2}}],
    "baseline": "naive",
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 1},
        "variance": {"first_units": 8, "max_units": 8},
        "bias": {"units": 8, "draws": 2},
        "convergence": {"steps": 10, "evaluations": 2, "seeds": 2, "samples": 2, "examples": 100},
    },
}
FAILING = """\
from dataclasses import dataclass

import vdbench


@vdbench.register("raises", objective="elbo", unbiased=True, laws=(), independent_examples=True)
@dataclass(frozen=True)
class Raises(vdbench.Pathwise):
    '''Fails.'''

    def preactivation(self, layer, x, q, noise):
        raise RuntimeError("no idea")
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Said]


pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command line in this process."""

    def vdbench(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["vdbench", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(int(end.value.code or 0), said.out, said.err)

    return vdbench


def process(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Call the command line in a process of its own."""
    command = [sys.executable, "-m", "vdbench", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **more)


def written(**changes: Any) -> str:
    Path("tiny.yaml").write_text(yaml.safe_dump({**TINY, **changes}))
    return "tiny.yaml"


def data(said: Said) -> Any:
    """What a verb prints with --json, and nothing beside it."""
    assert said.code == 0
    return json.loads(said.out)


# -- verbs that measure nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself(call: Call, verb: tuple[str, ...]) -> None:
    said = call(*verb, "--help")
    assert said.code == 0
    assert "Usage: " in said.out
    assert said.err == ""
    if not verb:
        for name in ("run", "report", "compare", "list", "show", "data", "env"):
            assert re.search(rf"^ *{name} ", said.out, re.MULTILINE)


def test_the_options_of_the_contract_are_there(call: Call) -> None:
    said = call("run", "--help").out
    for option in ("--out", "--device", "--set", "--only", "--plugin", "--dry-run", "--json"):
        assert option in said


@pytest.mark.parametrize("words", [("rum",), ("run",), ("run", "quick", "--nope"), ("show",), ()])
def test_what_is_no_command_is_bad_input(call: Call, words: tuple[str, ...]) -> None:
    said = call(*words)
    assert said.code == 2
    assert said.out + said.err
    assert not Path("runs").exists()


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from vdbench import cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


KNOWN: dict[str, Callable[[], list[str]]] = {
    "estimators": registry.names,
    "suites": yaml_file.names,
    "problems": lambda: [*problems.FACTORIES, "package.module:factory"],
    "datasets": datasets.names,
}


@pytest.mark.parametrize("what", KNOWN)
def test_lists_name_all_there_is(call: Call, what: str) -> None:
    rows = data(call("list", what, "--json"))
    assert [row["name"] for row in rows] == KNOWN[what]()
    head, *lines = call("list", what).out.splitlines()
    assert head.split()[0] == "name"
    assert [line.split()[0] for line in lines] == KNOWN[what]()
    assert all(row.get("summary", row.get("description")) for row in rows)


def test_a_plug_in_is_listed_and_shown(call: Call) -> None:
    Path("mine.py").write_text(FAILING)
    assert "raises" in call("list", "estimators", "--plugin", "mine.py").out
    assert "Fails." in call("show", "raises", "--plugin", "mine.py").out


@pytest.mark.parametrize(
    "name", [n for kind in ("estimators", "suites", "datasets") for n in KNOWN[kind]()]
)
def test_everything_can_be_shown(call: Call, name: str) -> None:
    assert data(call("show", name, "--json"))["name"] == name
    said = call("show", name)
    assert said.code == 0
    assert f"name: {name}\n" in said.out


def test_what_an_estimator_is_for_is_shown(call: Call) -> None:
    shown = data(call("show", "score", "--json"))
    assert shown["kind"] == "estimator"
    assert shown["declares"]["unbiased"] is True
    assert [option.split("=")[0] for option in shown["options"]] == [
        "samples",
        "baseline",
        "decay",
        "pilot",
    ]
    said = call("show", "score").out
    assert shown["about"].partition("\n")[0] in said
    assert "Source: Williams 1992" in said
    assert "\\frac" in shown["about"]
    assert "$" not in said  # formulas are in letters there
    assert "\\frac" not in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("list",), "list: say what: estimators, suites, problems, datasets; such as: vdbench list estimators."),
        (("list", "estimator"), "list estimator: there is no such list. Did you mean 'estimators'?"),
        (("show", "nave"), "show nave: nothing has that name. Did you mean 'naive'?"),
        (("show", "nowhere.yaml"), "suite 'nowhere.yaml' cannot be read: No such file or directory."),
        (("data", "path", "digit"), "'digits'?"),
        (("data", "fetch", "digit"), "'digits'?"),
        (("data", "path", "mnist"), "is not on this machine; 'vdbench data fetch mnist' gets it."),
        (("data", "path", "mnist", "--json"), "'vdbench data fetch mnist' gets it."),
        (("env", "--device", "gpu"), "device 'gpu' is unknown. "),
        (("report", "."), ""),
        (("report", "nowhere"), ""),
        (("report",), ""),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call: Call, words: tuple[str, ...], expected: str) -> None:
    said = call(*words)
    assert said.code == 2
    assert said.out == ""
    assert expected in said.err
    if len(words) > 1:
        (line,) = said.err.splitlines()
        assert line.startswith("vdbench: ")
    assert list(Path().iterdir()) == []


def test_data_sets_are_listed_and_found(call: Call) -> None:
    rows = {row["name"]: row for row in data(call("data", "list", "--json"))}
    assert set(rows) == set(datasets.names())
    assert rows["digits"]["local"] is True
    assert rows["mnist"]["local"] is False
    assert data(call("data", "path", "digits", "--json"))["name"] == "digits"
    assert call("data", "path", "digits").code == 0
    assert "digits" in call("data", "fetch", "digits").out


def test_the_environment_is_what_a_run_records(call: Call) -> None:
    found = data(call("env", "--json"))
    assert found["packages"]["torch"]
    assert "torch" in call("env").out


# -- runs -------------------------------------------------------------------------------------------------------


def test_a_dry_run_measures_nothing(call: Call) -> None:
    said = call("run", written(), "--dry-run", "--out", "run", "--only", "local")
    assert said.code == 0
    assert said.err == ""
    *_, last, time = said.out.splitlines()
    assert time == "No time can be stated: no such cell has been measured on this machine yet."
    least = 2 * (8 + 4 * 8 + 4 * 8 * 2 + 10 * 2)
    assert last == f"8 cells, {least} to {least} gradients; nothing was measured."
    found = data(call("run", "tiny.yaml", "--dry-run", "--json", "--set", "estimators=[naive]"))
    assert [cell["measure"] for cell in found["cells"]] == [
        "throughput",
        "variance",
        "bias",
        "convergence",
    ]
    assert found["gradients_least"] == least / 2
    timed = call("run", "tiny.yaml", "--dry-run", "--mode", "compile")
    assert timed.code == 0
    assert "mode" in timed.out.splitlines()[0].split()
    for words, why in (("--mode graph", "graph"), ("--set precision=bf16", "imitated on a CPU")):
        said = call("run", "tiny.yaml", "--dry-run", *words.split())
        assert said.code == 2
        assert why in said.err
    assert [p.name for p in Path().iterdir()] == ["tiny.yaml"]


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_any_measure_has_a_folder_of_its_own_name() -> None:
    """A measure whose options are its own, not of the suite's schema, among them."""
    from vdbench.cli.asked import Asked
    from vdbench.cli.verbs.run import _folder

    for name in ("noise_scale", "throughput"):
        asked = Asked("quick", "cpu", [f"measures={{{name}: {{}}}}"], [], [], [])
        assert _folder(asked).name.startswith("quick-")


def test_a_run_ends_with_its_report_and_headline(call: Call) -> None:
    said = call("run", written(), "--out", "run", "--only", "local", "--set", "seed=3")
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == "report: run/report/index.html"
    assert "naive" in said.out
    assert "\x1b" not in said.out + said.err  # no terminal: no colours, no bar
    lines = said.err.splitlines()
    assert len(lines) == 9
    assert lines[-1] == "writing the report"
    assert all(
        re.match(r"\[\d/8 +\d+\.\ds\] \w+ of (naive|local) on digits, ", line)
        for line in lines[:-1]
    )
    assert {p.name for p in Path("run").iterdir()} >= {
        "run.json",
        "blocks",
        "results.parquet",
        "report",
    }
    assert {p.name for p in Path("run/report").iterdir()} >= {
        "index.html",
        "report.md",
        "figures",
        "tables",
    }
    about = json.loads(Path("run/run.json").read_text())
    assert about["command"] == "vdbench run tiny.yaml --set seed=3 --only local"
    assert about["suite"]["seed"] == 3

    # the report can be written anew, elsewhere too, and the run taken up
    Path("run/report/index.html").unlink()
    assert data(call("report", "run", "--json")) == {"report": "run/report/index.html"}
    assert Path("run/report/index.html").exists()
    assert (
        call("report", "run", "--out", "other").out.splitlines()[-1] == "report: other/index.html"
    )
    said = call("run", "tiny.yaml", "--out", "run", "--only", "local", "--set", "seed=3", "--json")
    assert data(said) == {"folder": "run", "report": "run/report/index.html", "failed": 0}


@pytest.mark.usefixtures("undrawn")
def test_a_cell_that_fails_makes_the_exit_code_1(call: Call) -> None:
    Path("mine.py").write_text(FAILING)
    file = written(estimators=["naive", "raises"], measures={"bias": {"units": 8, "draws": 1}})
    said = call("run", file, "--plugin", "mine.py")
    assert said.code == 1
    assert said.err.splitlines()[-1] == "1 cell failed; the report says why."
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"tiny-\d{8}-\d{6}", folder.name)
    assert f"report: {folder}/report/index.html" in said.out
    assert "RuntimeError: no idea" in (folder / "report" / "report.md").read_text()
    table = pd.read_parquet(folder / "results.parquet")
    assert (table[table["label"] == "naive"]["status"] != "failed").all()


def test_a_process_ends_with_the_same_codes(tmp_path: Path) -> None:
    bad = process("run", "quik", "--out", "run")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("vdbench: suite 'quik' is neither a bundled suite nor a file. ")
    assert "Did you mean 'quick'?" in bad.stderr
    assert list(tmp_path.iterdir()) == []
    script = Path(sys.executable).with_name("vdbench")
    if script.exists():
        said = subprocess.run(
            [script, "list", "suites"], capture_output=True, text=True, check=False
        )
        assert said.returncode == 0
        assert "quick" in said.stdout


def test_output_that_nobody_reads_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "vdbench", "list", "estimators"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr


# -- the README's own estimator ---------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.usefixtures("undrawn")
def test_the_readme_s_estimator_shows_up_in_the_report(call: Call, tmp_path: Path) -> None:
    text = doc_pages.block(README, "my_estimator.py")
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 30
    (name,) = re.findall(r'register\(\s*"([^"]+)"', text)
    (command,) = re.findall(r"vdbench run \S+ --plugin my_estimator\.py.*", README.read_text())
    assert name in command
    (tmp_path / "my_estimator.py").write_text(text)
    file = written(measures={**TINY["measures"], "memory": {"repetitions": 2}})
    words = ("--plugin", "my_estimator.py", "--set", f"estimators=[naive, {name}]")
    said = call("run", file, "--out", "run", *words)
    assert said.code == 0, said.err
    assert name in said.out

    table = pd.read_parquet("run/results.parquet")
    mine = table[table["label"] == name]
    assert not (mine["status"] == "failed").any()
    cells = plan.cells(load(file))
    families = {cell.measure for cell in cells} | {"memory"}
    shown = {"variance": "variance.total", "bias": "relative_bias", "memory": "memory.peak_bytes",
             "throughput": "time.seconds_per_gradient", "convergence": "convergence.final_elbo"}  # fmt: skip
    assert {shown[family] for family in families} <= set(mine["metric"])
    about = json.loads(Path("run/run.json").read_text())
    assert about["chunks"][f"digits/initial/16/{name}"] > 1  # vectorised over draws
    assert about["plugins"] == ["my_estimator.py"]
    for page in ("report.md", "index.html"):
        assert name in Path("run/report", page).read_text()
