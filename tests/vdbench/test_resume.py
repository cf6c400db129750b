"""A run that is killed or interrupted goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from vdbench import datasets, record, runner
from vdbench.errors import InputError
from vdbench.record import Record

KILLS = 10
EPOCHS = 20
SUITE: dict[str, Any] = {
    "name": "stopped",
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "checkpoints": ["initial", {"epochs": EPOCHS, "batch_size": 32}],
    "batch_sizes": [16],
    "estimators": [
        "deterministic",
        "naive",
        "per-example",
        "local",
        {"name": "score", "options": {"samples": 2, "baseline": "leave-one-out"}},
    ],
    "baseline": "naive",
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 1},
        "variance": {"first_units": 8, "max_units": 32, "precision": 0.01},
        "bias": {"units": 8, "draws": 2},
        "convergence": {"steps": 60, "evaluations": 2, "seeds": 2, "samples": 2, "examples": 100},
    },
}
TIMED = r"(?:^|\.)(?:time|throughput|memory|efficiency)\.|^convergence\.seconds_to_target$"
"""Metrics outside the promise: times, throughput, memory, and what is computed from them."""

BLOCKS = 2 * (1 + 5 * 4 + 5) + 5 * 2
"""One pass of throughput a checkpoint; variance in blocks of 8 units; bias; trainings."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of these tests' own, and one thread, for all processes started here."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDBENCH_CACHE", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield folder


@pytest.fixture(scope="module")
def start(cache: Path) -> Callable[[dict[str, Any], Path], ForkServerProcess]:
    """Starts a run in a process of its own, forked from one that has imported torch and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "vdbench.runner",
            "pandas",
            "pyarrow.parquet",
            "sklearn.datasets",
            "torch.fx.experimental.symbolic_shapes",
        ]
    )

    def begin(suite: dict[str, Any], out: Path) -> ForkServerProcess:
        process = context.Process(target=runner.run, args=(suite, out))
        process.start()
        return process

    return begin


def finish(process: ForkServerProcess) -> None:
    process.join(120)
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def whole(start: Any, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed, its cache taken away again."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(SUITE, out))
    shutil.rmtree(cache / "checkpoints")
    assert len(blocks(out)) == BLOCKS
    return out


def blocks(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of writing of every block."""
    found = [(p.name, p.stat()) for p in (out / "blocks").glob("*.parquet")]
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found}


def record_of(out: Path) -> int:
    """When run.json was last written, in nanoseconds; 0 where there is none."""
    file = out / "run.json"
    return file.stat().st_mtime_ns if file.exists() else 0


def untimed(out: Path) -> pd.DataFrame:
    """The figures that are promised to be equal."""
    table = pd.read_parquet(out / "results.parquet").drop(columns="seconds")
    return table[~table["metric"].str.contains(TIMED)].reset_index(drop=True)


def test_times_and_nothing_else_are_outside_the_promise(whole: Path) -> None:
    promised = set(untimed(whole)["metric"])
    assert promised == {
        "variance.total", "variance.noise", "variance.data", "ratio.variance.total", "ratio.variance.noise",
        "pairwise.variance.total", "pairwise.variance.noise", "snr", "relative_bias",
        "adjusted.relative_bias", "convergence.elbo",
        "convergence.final_elbo", "test.error", "test.nll",
    }  # fmt: skip


def test_a_run_killed_ten_times_ends_as_if_it_had_not_been(
    whole: Path, start: Any, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    generator = np.random.Generator(np.random.PCG64(1))
    # each kill comes a random while after the run is taken up and a random number of blocks is there
    marks = [0, *sorted(generator.choice(BLOCKS - 6, KILLS - 1, replace=False))]
    first: dict[str, tuple[int, int]] = {}
    for mark in marks:
        before = record_of(out)
        process = start(SUITE, out)
        while record_of(out) == before or len(blocks(out)) < mark:
            assert process.is_alive(), "the run ended before it was killed"
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.05))
        process.kill()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed"
        now = blocks(out)
        assert len(now) < BLOCKS
        assert first.items() <= now.items(), "a block was written again"
        first = now
    finish(start(SUITE, out))
    assert first.items() <= blocks(out).items()
    assert set(blocks(out)) == set(blocks(whole))
    pd.testing.assert_frame_equal(untimed(out), untimed(whole), check_exact=True)
    about = json.loads((out / "run.json").read_text())
    assert len(about["resumed"]) == KILLS
    assert about["chunks"] == json.loads((whole / "run.json").read_text())["chunks"]

    # once more, with all blocks there and no cache: nothing is measured, the same table is written
    shutil.rmtree(cache / "checkpoints")
    before, table = blocks(out), pd.read_parquet(out / "results.parquet")
    finish(start(SUITE, out))
    assert blocks(out) == before
    pd.testing.assert_frame_equal(pd.read_parquet(out / "results.parquet"), table, check_exact=True)


def test_a_training_goes_on_from_its_last_epoch(
    whole: Path, start: Any, cache: Path, tmp_path: Path
) -> None:
    only = {
        **SUITE,
        "checkpoints": SUITE["checkpoints"][1:],
        "measures": {"bias": SUITE["measures"]["bias"]},
    }
    out, folder = tmp_path / "run", cache / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    steps = len(datasets.load("digits").train.targets) // 32
    reached = 0
    for _ in range(3):
        process = start(only, out)
        while epochs(folder, steps) <= reached:
            assert process.is_alive(), "the training ended before it was killed"
            time.sleep(0.001)
        process.kill()
        process.join(30)
        reached = epochs(folder, steps)
    assert 3 <= reached < EPOCHS
    assert not (out / "checkpoints").exists()
    finish(start(only, out))
    assert epochs(folder, steps) == EPOCHS
    (own,), (other,) = ((p / "checkpoints").glob("*.npz") for p in (out, cache))
    named = whole / "checkpoints" / own.name
    with np.load(own) as ours, np.load(named) as theirs:
        assert set(ours.files) == set(theirs.files)
        assert all((ours[name] == theirs[name]).all() for name in ours.files)
    assert own.read_bytes() == other.read_bytes()


def epochs(folder: Path, steps: int) -> int:
    """How many epochs the one training in the cache has behind it."""
    files = list(folder.glob("*.npz"))
    if not files:
        return 0
    with np.load(files[0]) as saved:
        return int(saved["step"]) // steps


def test_control_c_says_how_to_go_on(whole: Path, start: Any, tmp_path: Path) -> None:
    (tmp_path / "stopped.yaml").write_text(yaml.safe_dump(SUITE))
    command = [sys.executable, "-P", "-m", "vdbench", "run", "stopped.yaml", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    out = tmp_path / "run"
    sent = 1 - 10
    while process.poll() is None:
        # after the first block; once more if ten others follow, for Python drops an interrupt that
        # comes in a callback which cannot raise
        if len(blocks(out)) >= sent + 10:
            process.send_signal(signal.SIGINT)
            sent = len(blocks(out))
        time.sleep(0.01)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    last = "interrupted; what was measured is kept: run the same command with --out run"
    assert said.splitlines()[-2:] == [last, "  vdbench run stopped.yaml --out run"]
    kept = blocks(out)
    assert 0 < len(kept) < BLOCKS
    assert not (out / "results.parquet").exists()
    finish(start(SUITE, out))
    assert kept.items() <= blocks(out).items()
    assert set(blocks(out)) == set(blocks(whole))
    pd.testing.assert_frame_equal(untimed(out), untimed(whole), check_exact=True)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 1}, "suite.seed was 0 and is now 1"),
        ({"batch_sizes": [8]}, "suite.batch_sizes.0 was 16 and is now 8"),
        ({"batch_sizes": [16, 8]}, r"suite.batch_sizes was \[16\] and is now \[16, 8\]"),
        ({"baseline": "local"}, "suite.baseline was 'naive' and is now 'local'"),
        ({"measures": {"bias": {}}}, r"suite.measures.bias.draws was 2 and is now 8"),
    ],
)
def test_another_suite_does_not_go_into_the_folder(
    whole: Path, changes: dict[str, Any], difference: str
) -> None:
    before = (whole / "run.json").read_bytes()
    with pytest.raises(InputError, match=f"holds another run, {difference}; expected the same"):
        runner.run({**SUITE, **changes}, whole)
    with pytest.raises(
        InputError, match=r"holds another run, only was \[\] and is now \['local'\]"
    ):
        runner.run(SUITE, whole, only=["local"])
    assert (whole / "run.json").read_bytes() == before


def test_a_run_killed_as_it_began_can_be_taken_up(tmp_path: Path) -> None:
    (tmp_path / ".run.json.0123.tmp").write_text(
        "{"
    )  # the kill came before the record had its name
    Record(tmp_path).open({"device": "cpu"}, {"seed": 0})
    again = Record(tmp_path)
    again.open({"device": "cpu"}, {"seed": 1})
    assert again.content["seed"] == 0
    assert len(again.content["resumed"]) == 1


def test_the_draws_taken_together_stay_what_they_were(tmp_path: Path) -> None:
    one = Record(tmp_path)
    one.open({}, {})
    assert one.chunk("local") is None
    one.fix_chunk("local", 12)
    again = Record(tmp_path)
    again.open({}, {})
    assert again.chunk("local") == 12


def test_the_time_of_all_parts_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "now", lambda: "2020-02-02T02:02:02+00:00")
    for seconds in (2.0, 3.0):
        one = Record(tmp_path)
        one.open({}, {})
        one.close(seconds)
    assert one.content["wall_seconds"] == 5
    assert one.content["finished"] == "2020-02-02T02:02:02+00:00"
    assert os.listdir(tmp_path) == ["run.json"]
