"""The terminal: what is shown while a run goes on, how tables and text are broken, and how to go on after Ctrl-C."""

from __future__ import annotations

import json
import math
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vdbench import cli
from vdbench.certificate import Certificate
from vdbench.cli import printing, progress, seconds
from vdbench.cli.progress import Bar, Lines, automatic
from vdbench.errors import InputError
from vdbench.measures.metrics import UnitRows
from vdbench.measures.progress import Planned, Quiet
from vdbench.measures.registry import load
from vdbench.measures.stopping import Stopped, Stopping, schedule_of
from vdbench.runner import plan, run_suite
from vdbench.suite.schema import VarianceSpec

pytestmark = pytest.mark.usefixtures("elsewhere")

TINY = {
    "name": "tiny",
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "batch_sizes": [16],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "measures": {"bias": {"units": 8, "draws": 2}, "variance": {"first_units": 8, "max_units": 16}},
}


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process: exit code, output, errors."""

    def vdbench(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vdbench", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return vdbench


def written() -> str:
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    return "tiny.yaml"


@pytest.mark.parametrize(
    "words", [(), ("run",), ("data", "fetch"), ("new", "estimator"), ("watch",)]
)
def test_h_is_help(words: tuple[str, ...], call: Any) -> None:
    code, out, err = call(*words, "-h")
    assert (code, err) == (0, "")
    assert out == call(*words, "--help")[1]


def test_run_alone_lists_what_can_be_run(call: Any) -> None:
    code, out, err = call("run")
    assert (code, out) == (2, "")
    first, head, *lines = err.splitlines()
    assert first == "vdbench: run: name one of these suites, or a YAML file of your own."
    assert head.split() == ["name", "description"]
    assert "quick" in [line.split()[0] for line in lines]


@pytest.mark.usefixtures("undrawn")
def test_quiet_shows_where_the_results_are_and_verbose_every_step(call: Any) -> None:
    code, out, err = call("run", written(), "--out", "a", "--quiet")
    assert (code, out, err) == (0, "report: a/report/index.html\n", "")
    code, out, err = call("run", "tiny.yaml", "--out", "b", "-v")
    assert code == 0
    assert "] variance of naive on digits, initial, M=16: 0 units, at most 16\n" in err
    assert "] variance of naive on digits, initial, M=16: 8 units, at most 16\n" in err
    code, out, err = call("run", "tiny.yaml", "--out", "c", "--quiet", "--verbose")
    assert (code, out) == (2, "")
    assert err == "vdbench: expected one of --quiet and --verbose.\n"
    assert not Path("c").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_dry_run_states_the_time_that_such_cells_took(call: Any) -> None:
    none = "No time can be stated: no such cell has been measured on this machine yet."
    assert call("run", written(), "--dry-run")[1].splitlines()[-1] == none
    assert call("run", "tiny.yaml", "--out", "a", "--only", "naive")[0] == 0
    took = json.loads(Path("a/run.json").read_text())["cells"]
    code, out, err = call("run", "tiny.yaml", "--dry-run", "--json")
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert said["seconds_of_cells"] == 2
    assert said["seconds"] == pytest.approx(sum(cell["seconds"] for cell in took))
    *lines, last = call("run", "tiny.yaml", "--dry-run")[1].splitlines()
    assert last.startswith("About 1 s for 2 of the cells; the others are not known, by what such ")
    assert lines[0].split()[-1] == "time"
    assert [line.split()[-1] for line in lines[1:-1]].count("unknown") == 2
    # twice the gradients, twice the time; a folder that is resumed adds nothing
    suite = load("tiny.yaml", ["measures.bias.units=16"])
    cells = [c for c in plan.cells(suite) if c.measure == "bias" and c.label == "naive"]
    (bias,) = [c["seconds"] for c in took if c["measure"] == "bias"]
    assert seconds.known(suite, cells, "cpu") == [pytest.approx(2 * bias)]
    assert seconds.known(suite, cells, "cuda") == [None]
    kept = seconds._file().read_bytes()
    assert call("run", "tiny.yaml", "--out", "a", "--only", "naive")[0] == 0
    assert seconds._file().read_bytes() == kept


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', '{"a": [1, "x"]}', "\x00"])
def test_a_damaged_file_of_seconds_is_none(text: str, call: Any) -> None:
    seconds._file().parent.mkdir(parents=True, exist_ok=True)
    seconds._file().write_text(text)
    code, out, err = call("run", written(), "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("No time can be stated: ")


def test_a_dry_run_says_that_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, call: Any) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, out, err = call("run", written(), "--dry-run", "--device", "cuda")
    assert code == 0
    assert err == (
        "device 'cuda': torch finds no usable GPU here, and this run would be refused. "
        "Elsewhere the plan would be this.\n"
    )
    assert "4 cells" in out
    code, out, err = call("run", "tiny.yaml", "--dry-run", "--device", "cida")
    assert (code, out) == (2, "")
    assert "Did you mean 'cuda'?" in err


@pytest.mark.parametrize(
    ("words", "where", "said"),
    [
        (("run", "tiny.yaml", "--out", "a b"), "run_suite.run",
         "Completed measurements are saved; resume with:\n  vdbench run tiny.yaml --out 'a b'\n"),
        (("worker", "tiny.yaml", "--out", "a", "--index", "0", "--of", "2", "--only", "local"), "run_suite.work",
         "resume with:\n  vdbench worker tiny.yaml --out a --index 0 --of 2 --only local\n"),
        (("merge", "a", "--out", "c"), "merge.merge", "The runs are as they were; the same command goes on.\n"),
        (("check", "local"), "certificate.check", "A check keeps nothing: the same command begins anew.\n"),
    ],
)  # fmt: skip
def test_an_interrupt_says_how_to_go_on(
    words: tuple[str, ...], where: str, said: str, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    def interrupt(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    written()
    module, _, name = where.partition(".")
    place = "vdbench.certificate" if module == "certificate" else f"vdbench.runner.{module}"
    monkeypatch.setattr(f"{place}.{name}", interrupt)
    if name == "run":
        monkeypatch.setattr("vdbench.runner.run", interrupt)
    code, out, err = call(*words)
    assert (code, out) == (130, "")
    assert err.startswith("Interrupted. ")
    assert err.endswith(said)


def test_the_bar_moves_within_cells_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Bar()
    monkeypatch.setattr(progress, "EVERY", 0)
    bar.start(3)
    try:
        bar.plan([Planned(("a", "b"), "throughput", 60), Planned(("c",), "variance", 8)])
        bar.cell("a")
        bar.detail("round 2 of 4")
        bar.share(0.25)
        (task,) = bar._bar.tasks
        assert (task.completed, task.fields["cells"]) == (0.5, "0/3 cells")
        assert bar._bar.line == "a · round 2 of 4"
        bar.done("a", "ok", "")
        bar.done("b", "ok", "")
        bar.cell("c")
        (task,) = bar._bar.tasks
        assert (task.completed, task.fields["cells"], bar._bar.line) == (2, "2/3 cells", "c")
        bar.done("c", "ok", "")
        (task,) = bar._bar.tasks
        assert (task.completed, task.fields["left"]) == (3, "")
    finally:
        bar.close()


def test_a_cell_says_how_precise_it_is_and_how_far() -> None:
    """A half-width of twice the one asked for needs four times the units, and the most are the suite's."""
    spec = VarianceSpec(first_units=8, max_units=1024, precision=0.1)
    stopping = Stopping(schedule_of(spec, 0.95), {})
    size = next(stopping.blocks())[1]
    assert (stopping.told, stopping.share) == ("0 units, at most 1024", 0)
    stopping._parts = [{}] * 8
    for width, needed in (
        (0.2, 4 * 64),
        (0.11, 78),
        (9.0, 1024),
        (math.inf, 1024),
        (0.01, 8 * size),
    ):
        rows = UnitRows({}, {})
        stopping.stopped = Stopped(rows, width, False, "", {}, 0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(UnitRows, "n", 64)
            assert stopping.share == 8 * size / max(needed, 8 * size)
        if math.isfinite(width):
            assert stopping.told == f"{8 * size} units, ±{100 * width:.2g} % (±10 % asked)"


def test_who_is_told() -> None:
    assert isinstance(automatic(), Lines)
    assert type(automatic(quiet=True)) is Quiet
    with pytest.raises(InputError):
        automatic(True, True)


ROWS = [
    {
        "name": "local",
        "gradients_most": 10,
        "about": "one two three four five six seven eight nine",
    },
    {"name": "sticking-the-landing", "gradients_most": 1000, "about": "z" * 50},
]


@pytest.mark.parametrize("columns", [30, 40, 60, 80, 140])
def test_tables_are_as_wide_as_the_terminal_at_most(columns: int) -> None:
    """In a pseudo terminal; nothing of them is lost. In a pipe a row is a line."""
    code = f"from vdbench.cli.printing import print_table; print_table({ROWS!r})"
    text = in_terminal([sys.executable, "-c", code], columns)
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    for row in ROWS:
        for value in row.values():
            assert all(letter in text for letter in str(value))
    assert text.count("z") == 50
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3


def in_terminal(words: list[str], columns: int) -> str:
    """What a command shows on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(words, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(ours)
    assert process.returncode == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_text_is_broken_between_words() -> None:
    code = "from vdbench.cli.printing import print_text; print_text('one two three\\n\\nfour')"
    assert in_terminal([sys.executable, "-c", code], 8) == "one two\nthree\n\nfour\n"


@pytest.mark.parametrize("whole", range(10, 120, 7))
def test_widths_of_columns_fill_a_terminal_and_no_more(whole: int) -> None:
    columns = {key: [str(row[key]) for row in ROWS] for key in ROWS[0]}
    found = printing._widths(columns, whole)
    if None in found.values():
        assert whole < 3 * printing.SHORT + 2 * printing.GAP
        return
    assert sum(w for w in found.values() if w) + 2 * printing.GAP <= whole


def test_a_check_tells_its_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    from vdbench.certificate import checks_of
    from vdbench.certificate import run as certificates
    from vdbench.estimation.options import get

    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(certificates, "guarded", lambda *_: [])
    estimator = get("deterministic")
    found = certificates.check(estimator, told=lambda *one: told.append(one))
    assert isinstance(found, Certificate)
    names = [*(check.name for check in checks_of(estimator)), "second looks"]
    assert told == [(name, number, len(names)) for number, name in enumerate(names)]


def test_runs_tell_their_plan_and_shares() -> None:
    """Throughput by rounds, variance by the units that it foresees."""

    class Told(Quiet):
        def __init__(self) -> None:
            self.work: list[Planned] = []
            self.shares: dict[str, list[float]] = {}

        def plan(self, work: Any) -> None:
            self.work = list(work)

        def cell(self, name: str) -> None:
            self.name = name

        def share(self, share: float) -> None:
            self.shares.setdefault(self.name, []).append(share)

    measures = {**TINY["measures"], "throughput": {"rounds": 9, "budget_seconds": 1}}  # type: ignore[dict-item]
    told = Told()
    run_suite.run({**TINY, "measures": measures}, "run", progress=told)
    names = [f"{{}} of {label} on digits, initial, M=16" for label in ("naive", "local")]
    assert [work.names for work in told.work] == [
        tuple(name.format("throughput") for name in names),
        *((name.format(measure),) for measure in ("variance", "bias") for name in names),
    ]
    first = names[0].format("throughput")
    assert told.shares[first][:8] == pytest.approx([n / 9 for n in range(8)])
    for name in names:
        shares = told.shares[name.format("variance")]
        assert shares[0] == 0
        assert all(0 <= share <= 1 for share in shares)
