"""Cells in processes of their own: the same figures however many there are, and none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import psutil
import pytest
from fault_campaign import SUITE, cache, figures
from misbehaving import write

import vdbench
from vdbench.errors import InputError
from vdbench.runner.run_suite import work

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")

TIMED: dict[str, Any] = {**SUITE, "measures": {**SUITE["measures"], "throughput": {"rounds": 8}}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one process."""
    folder = tmp_path_factory.mktemp("whole")
    with cache(folder / "cache"):
        vdbench.run(TIMED, folder / "run", isolate=False)
    return folder / "run"


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_no_value_depends_on_processes_or_their_number(
    jobs: int, whole: Path, elsewhere: Path
) -> None:
    done = vdbench.run(TIMED, elsewhere / "run", isolate=True, jobs=jobs)
    assert not done.failed
    assert figures(elsewhere / "run").equals(figures(whole))
    assert {p.name for p in (whole / "blocks").iterdir()} == {
        p.name for p in (elsewhere / "run" / "blocks").iterdir()
    }
    about = [json.loads((run / "run.json").read_text()) for run in (whole, elsewhere / "run")]
    assert [one["isolation"]["processes"] for one in about] == [False, True]
    assert "isolate=False" in about[0]["isolation"]["why"]
    places = [[(c["problem"], c["estimator"], c["measure"]) for c in one["cells"]] for one in about]
    assert places[0] == places[1]
    assert not (elsewhere / "run" / "logs").exists()


def test_three_workers_and_one_that_was_killed_are_one_run(whole: Path, elsewhere: Path) -> None:
    """Two parts are measured, the third is not; the run measures what is missing."""
    for index in (0, 2):
        assert not work(TIMED, elsewhere / "run", index, 3, isolate=True).failed
        assert (elsewhere / "run" / "receipts" / f"{index}-of-3.json").exists()
    assert not (elsewhere / "run" / "results.parquet").exists()
    before = set((elsewhere / "run" / "blocks").iterdir())
    assert before
    done = vdbench.run(TIMED, elsewhere / "run")
    assert not done.failed
    assert before < set((elsewhere / "run" / "blocks").iterdir())
    assert figures(elsewhere / "run").equals(figures(whole))
    about = json.loads((elsewhere / "run" / "run.json").read_text())
    assert [one["index"] for one in about["workers"]] == [0, 2]


@pytest.mark.parametrize(("index", "of"), [(-1, 3), (3, 3), (0, 0)])
def test_a_part_that_there_is_not_is_refused(index: int, of: int, elsewhere: Path) -> None:
    with pytest.raises(InputError, match="expected an index from 0"):
        work(TIMED, elsewhere / "run", index, of)


@pytest.mark.parametrize("jobs", [0, -1, 10**6, 1.5, True])
def test_a_number_of_jobs_that_cannot_be_is_refused(jobs: Any, elsewhere: Path) -> None:
    with pytest.raises(InputError, match="expected a whole number"):
        vdbench.run(TIMED, elsewhere / "run", jobs=jobs)


def test_limits_are_no_part_of_what_a_run_is(whole: Path) -> None:
    limits = {"timeout": 1000, "timeout_run": 10**6, "memory": 3, "description": "another"}
    assert not vdbench.run({**TIMED, **limits}, whole).failed


def test_estimators_of_a_notebook_travel(elsewhere: Path) -> None:
    """A class that no module has is measured in a process of its own."""
    code = """
import vdbench
from dataclasses import dataclass

@vdbench.register("own-noise", objective="elbo", unbiased=True, laws=("normal",), independent_examples=False)
@dataclass(frozen=True)
class OwnNoise(vdbench.Pathwise):
    def preactivation(self, layer, x, q, noise):
        return layer.linear(x, q.mean + q.scale * noise(layer.name, q.mean.shape))
"""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(code, space)
    content = {**SUITE, "estimators": ["naive", "own-noise"], "checkpoints": ["initial"]}
    done = vdbench.run(content, elsewhere / "run", isolate=True)
    assert not done.failed
    table = done.results
    means = [table[(table["label"] == x) & (table["metric"] == "variance.noise")]["value"].tolist()
             for x in ("naive", "own-noise")]  # fmt: skip
    assert means[0] == pytest.approx(means[1], rel=1e-5)  # its sums may be taken in another way


def test_what_cannot_travel_is_measured_here_and_said(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> bytes:
        raise TypeError("cannot pickle 'generator' object")

    monkeypatch.setattr(cloudpickle, "dumps", refuse)
    content = {**SUITE, "checkpoints": ["initial"]}
    done = vdbench.run(content, elsewhere / "run", isolate=True, jobs=4)
    assert not done.failed
    said = json.loads((elsewhere / "run" / "run.json").read_text())["isolation"]
    assert not said["processes"]
    assert "cannot pickle 'generator' object" in said["why"]


def test_one_that_hangs_is_ended_at_the_time_limit(elsewhere: Path) -> None:
    content = {
        **SUITE, "estimators": ["naive", "bad-hang"], "checkpoints": ["initial"], "timeout": 5,
        "measures": {"variance": SUITE["measures"]["variance"]},
    }  # fmt: skip
    began = time.monotonic()
    done = vdbench.run(content, elsewhere / "run", plugins=write(elsewhere, ["hang"]), isolate=True)
    table = done.results
    (row,) = table[table["label"] == "bad-hang"].to_dict("records")
    assert row["message"] == "no end within the time limit of 5 s"
    assert time.monotonic() - began > 5


EXITS = """\
import os, sys
import vdbench


def exits(how="os"):
    os._exit(0) if how == "os" else sys.exit(0)


def odd():
    raise type("Odd", (BaseException,), {})("odd")
"""


@pytest.mark.parametrize(
    ("factory", "options", "expected"),
    [
        ("own_exits:exits", {}, "did not come to an end: its process ended with exit code 0"),
        ("own_exits:exits", {"how": "sys"}, "failed with SystemExit"),
        ("own_exits:odd", {}, "failed with Odd: odd"),
    ],
)
def test_a_factory_that_exits_ends_the_run_with_a_sentence(
    factory: str, options: dict[str, Any], expected: str, elsewhere: Path
) -> None:
    (elsewhere / "own_exits.py").write_text(EXITS)
    sys.path.append(str(elsewhere))
    problem = {"name": "p", "factory": factory, "options": options}
    with pytest.raises(InputError, match=expected):
        vdbench.run({**SUITE, "problems": [problem]}, elsewhere / "run", isolate=True)


@pytest.mark.alone
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_run_that_is_killed_leaves_no_process(number: signal.Signals, elsewhere: Path) -> None:
    code = (
        "import sys, vdbench, time; sys.path.append(sys.argv[1]); from fault_campaign import SUITE;"
        "vdbench.run({**SUITE, 'measures': {'variance': {'first_units': 8192, 'max_units': 8192}}}, 'run', jobs=2)"
    )
    helpers = str(Path(__file__).parents[2] / "helpers")
    run = subprocess.Popen([sys.executable, "-P", "-c", code, helpers], cwd=elsewhere,
                           env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    deadline = time.monotonic() + 120
    family: list[psutil.Process] = []
    while len(family) < 5 and time.monotonic() < deadline:
        family = psutil.Process(run.pid).children(recursive=True)
        time.sleep(0.05)
    assert len(family) >= 5, "no processes were started"
    run.send_signal(number)
    run.wait(30)
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive


def test_the_time_of_the_run_is_the_limit_where_it_ends_first() -> None:
    from vdbench.runner.apart import Family

    suite = SimpleNamespace(timeout=100.0, timeout_run=7.0)
    family = Family(SimpleNamespace(suite=suite), 1)  # type: ignore[arg-type]
    assert family._limit().why == "no end within the time limit of 100 s"
    assert 99 < family._limit().left <= 100
    family._ends = time.monotonic() + 3
    assert family._limit().why == "no end within the time limit of the run, 7 s"
    assert 2 < family._limit().left <= 3
    family._ends = time.monotonic() - 1
    assert family._limit().left == 0


@pytest.mark.long
def test_the_time_limit_of_a_run_ends_what_is_at_work(elsewhere: Path) -> None:
    content = {
        **SUITE, "estimators": ["naive", "bad-hang"], "checkpoints": ["initial"], "timeout_run": 6,
        "measures": {"variance": SUITE["measures"]["variance"], "throughput": {"rounds": 8}},
    }  # fmt: skip
    plugins = write(elsewhere, ["hang"])
    for jobs in (1, 4):
        done = vdbench.run(
            content, elsewhere / f"run-{jobs}", plugins=plugins, isolate=True, jobs=jobs
        )
        failed = done.results[done.results["label"] == "bad-hang"]
        assert set(failed["status"]) == {"failed"}
        assert any("no end within the time limit of the run, 6 s" in m for m in failed["message"])


def test_where_no_process_can_be_started_the_run_says_so_and_guards_hold(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is measured in one process, a line and the record say why, and what is written into is found out."""
    from vdbench import workers
    from vdbench.measures.progress import Quiet

    def refuse(*_: Any) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    class Lines(Quiet):
        def note(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    monkeypatch.setattr(workers, "root", refuse)
    content = {
        **SUITE, "estimators": ["naive", "bad-parameter"], "checkpoints": ["initial"],
        "measures": {"bias": {"units": 4, "draws": 1}},
    }  # fmt: skip
    plugins = write(elsewhere, ["parameter"])
    done = vdbench.run(
        content, elsewhere / "run", plugins=plugins, isolate=True, jobs=4, progress=Lines()
    )
    why = "no process can be started, [Errno 11] Resource temporarily unavailable"
    assert f"cells are not isolated: {why}." in said
    about = json.loads((elsewhere / "run" / "run.json").read_text())
    assert about["isolation"] == {"processes": False, "why": why}
    table = done.results
    (row,) = table[table["label"] == "bad-parameter"].to_dict("records")
    assert "the estimator changed parameter" in row["message"]
    assert (table[table["label"] == "naive"]["status"] != "failed").all()
