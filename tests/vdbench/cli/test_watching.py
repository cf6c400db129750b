"""A run is followed from its folder alone: the cells that have begun and ended, and what came last."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import vdbench
from vdbench import cli
from vdbench.cli import watching
from vdbench.cli.verbs import watch
from vdbench.cli.watching import Watched
from vdbench.runner import record
from vdbench.store import records

pytestmark = pytest.mark.usefixtures("elsewhere")

SUITE: dict[str, Any] = {
    "name": "tiny",
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "batch_sizes": [16],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 1},
        "variance": {"first_units": 8, "max_units": 16},
        "convergence": {"steps": 4, "evaluations": 1, "seeds": 2, "samples": 2, "examples": 50},
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDBENCH_CACHE", str(folder / "cache"))
        vdbench.run(SUITE, folder / "run")
    return folder / "run"


@pytest.fixture
def run(made: Path) -> Path:
    return Path(shutil.copytree(made, "run"))


def unfinished(folder: Path, cells: int) -> None:
    """As a run's record is while so many cells have ended."""
    content = records.read(folder / "run.json")
    content["cells"] = content["cells"][:cells]
    del content["finished"]
    (folder / "run.json").write_text(records.text(content))


def test_a_run_is_followed_to_its_end(run: Path) -> None:
    whole = Watched(run).look()
    assert (whole.cells, whole.begun, whole.ended, whole.failed) == (6, 6, 6, 0)
    assert str(whole) == "finished: 6 of 6 cells"
    kept = Path("kept")
    shutil.copytree(run / "blocks", kept)
    shutil.rmtree(run / "blocks")
    unfinished(run, 0)
    watched = Watched(run)
    assert str(watched.look()) == "0 of 6 cells begun, 0 ended; 0 blocks"
    (run / "blocks").mkdir()
    seen = [0]
    for n, block in enumerate(sorted(kept.iterdir(), key=lambda p: p.stat().st_mtime_ns), 1):
        shutil.copy(block, run / "blocks")
        os.utime(run / "blocks" / block.name, (1e9 + n, 1e9 + n))
        look = watched.look()
        assert (look.blocks, look.ended, look.finished) == (n, 0, False)
        seen.append(look.begun)
    assert seen == sorted(seen)
    assert (seen[1], seen[-1]) == (2, 6)  # a pass of times is of both estimators
    assert look.newest == "convergence of local, seed 2"
    assert "6 of 6 cells begun, 0 ended; " in str(look)
    assert str(look).endswith(" h ago: convergence of local, seed 2")


def test_a_run_that_is_resumed_has_not_finished(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock says, which counts seconds: a small run begins and ends in one of them."""
    monkeypatch.setattr(record, "now", lambda: "2020-02-02T02:02:02+00:00")
    of_run = record.Record(run)
    of_run.open({}, {})
    of_run.save()
    assert not Watched(run).look().finished
    of_run.close(1.0)
    assert Watched(run).look().finished


def test_blocks_that_cannot_be_read_are_left_out(run: Path) -> None:
    blocks = sorted((run / "blocks").iterdir())
    blocks[0].write_bytes(b"")
    blocks[1].write_bytes(blocks[1].read_bytes()[:100])
    assert Watched(run).look().blocks == len(blocks) - 2


def test_the_verb(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vdbench", "watch", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    assert call("run") == (0, "finished: 6 of 6 cells\n", "")
    whole = (run / "run.json").read_bytes()
    unfinished(run, 2)
    code, out, _ = call("run", "--once")
    assert code == 0
    assert out.startswith("6 of 6 cells begun, 2 ended; ")
    looks: list[float] = []

    def ends(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            (run / "run.json").write_bytes(whole)

    monkeypatch.setattr(watch.time, "sleep", ends)
    code, out, _ = call("run")
    first, last = out.splitlines()  # a line where there is something new
    assert first.startswith("6 of 6 cells begun, 2 ended; ")
    assert last == "finished: 6 of 6 cells"

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    unfinished(run, 2)
    monkeypatch.setattr(watch.time, "sleep", interrupt)
    code, _, err = call("run")
    assert (code, err) == (130, "Interrupted. The run is left alone.\n")
    code, out, err = call("nowhere")
    assert (code, out) == (2, "")
    assert err == "vdbench: 'nowhere' is not a run folder: there is no such folder.\n"


def test_a_pass_in_two_modes_is_of_two_cells() -> None:
    one = {"name": "naive"}
    address = {"measure": "throughput", "group": [one, one], "modes": ["eager", "compile"]}
    cells = watching._cells_of({**address, "place": ["a"]})
    assert len(set(cells)) == 2
    older = {"measure": "throughput", "group": [one], "place": ["a"]}
    assert watching._cells_of(older) == [cells[0]]
