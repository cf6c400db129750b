"""A run that is killed or interrupted goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import vdbench
from vdbench import datasets
from vdbench.errors import InputError
from vdbench.measures.instrument.crash_recovery import SUITE, Undisturbed, blocks, untimed
from vdbench.measures.instrument.launcher import Launched, Launcher
from vdbench.runner import record
from vdbench.runner.record import Record

KILLS = 10
EPOCHS = SUITE["checkpoints"][1]["epochs"]
BLOCKS = 2 * (1 + 5 * 4 + 5) + 5 * 2
"""One pass of throughput a checkpoint; variance in blocks of 8 units; bias; trainings."""


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    """Starts runs in processes of their own."""
    with Launcher() as helper:
        yield helper


@pytest.fixture(scope="module")
def undisturbed(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """A run that nobody disturbed."""
    made = Undisturbed(tmp_path_factory.mktemp("runs"), launcher)
    made.make()
    assert len(blocks(made.whole)) == BLOCKS
    return made


@pytest.fixture(scope="module")
def whole(undisturbed: Undisturbed) -> Path:
    """Its folder."""
    return undisturbed.whole


def test_times_and_nothing_else_are_outside_the_promise(whole: Path) -> None:
    promised = set(untimed(whole)["metric"])
    assert promised == {
        "variance.total", "variance.noise", "variance.data", "ratio.variance.total", "ratio.variance.noise",
        "pairwise.variance.total", "pairwise.variance.noise", "snr", "relative_bias",
        "adjusted.relative_bias", "convergence.elbo",
        "convergence.final_elbo", "test.error", "test.nll",
    }  # fmt: skip


@pytest.mark.long
def test_a_run_killed_ten_times_ends_as_if_it_had_not_been(undisturbed: Undisturbed) -> None:
    found = undisturbed.disturb("killed", KILLS, 1)
    assert found.kills == KILLS, "the run ended before it was killed"
    assert found.equal
    assert found.rewritten == 0, "a block was written again"
    assert found.figures == len(untimed(undisturbed.whole)) > 1000
    assert not (undisturbed.folder / "killed").exists()


def test_a_run_that_is_not_as_it_was_is_found_out(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The comparison can fail: one figure, one block, one chunk."""
    for place in ("figure", "block", "chunk"):
        out = tmp_path / place
        shutil.copytree(undisturbed.whole, out)
        assert undisturbed.equal(out) == (True, len(untimed(out)))
        table = pd.read_parquet(out / "results.parquet")
        if place == "figure":
            row = int(np.flatnonzero(table["metric"] == "variance.noise")[7])
            table.loc[row, "ci_high"] = np.nextafter(table["ci_high"][row], np.inf)
            table.to_parquet(out / "results.parquet", index=False)
        elif place == "block":
            next((out / "blocks").glob("*.parquet")).unlink()
        else:
            content = json.loads((out / "run.json").read_text())
            content["chunks"][next(iter(content["chunks"]))] += 1
            (out / "run.json").write_text(json.dumps(content))
        assert not undisturbed.equal(out)[0], place


def test_a_run_that_is_done_measures_nothing_again(undisturbed: Undisturbed) -> None:
    whole = undisturbed.whole
    # all blocks are there and no cache: the same table is written
    shutil.rmtree(undisturbed.folder / "whole-cache")
    before, table = blocks(whole), pd.read_parquet(whole / "results.parquet")
    resumed = len(json.loads((whole / "run.json").read_text()).get("resumed", []))
    undisturbed.start("whole").finish()
    assert blocks(whole) == before
    pd.testing.assert_frame_equal(
        pd.read_parquet(whole / "results.parquet"), table, check_exact=True
    )
    assert len(json.loads((whole / "run.json").read_text())["resumed"]) == resumed + 1


def test_a_training_goes_on_from_its_last_epoch(
    whole: Path, launcher: Launcher, tmp_path: Path
) -> None:
    only = {
        **SUITE,
        "checkpoints": SUITE["checkpoints"][1:],
        "measures": {"bias": SUITE["measures"]["bias"]},
    }
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(only))
    out, cache = tmp_path / "run", tmp_path / "cache"
    folder = cache / "checkpoints"
    steps = len(datasets.load("digits").train.targets) // 32

    def start() -> Launched:
        return launcher.start(tmp_path / "suite.yaml", out, cache)

    reached = 0
    for _ in range(3):
        process = start()
        while epochs(folder, steps) <= reached:
            assert process.alive, "the training ended before it was killed"
            time.sleep(0.001)
        assert process.kill()
        reached = epochs(folder, steps)
    assert 3 <= reached < EPOCHS
    assert not (out / "checkpoints").exists()
    start().finish()
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


def test_control_c_says_how_to_go_on(
    whole: Path, launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "stopped.yaml").write_text(yaml.safe_dump(SUITE))
    command = [sys.executable, "-P", "-m", "vdbench", "run", "stopped.yaml", "--out", "run"]
    # a job that a shell put into the background ignores interrupts, and so would its children
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
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
    last = "Interrupted. Completed measurements are saved; resume with:"
    assert said.splitlines()[-2:] == [last, "  vdbench run stopped.yaml --out run"]
    kept = blocks(out)
    assert 0 < len(kept) < BLOCKS
    assert not (out / "results.parquet").exists()
    launcher.start(tmp_path / "stopped.yaml", out, tmp_path / "cache").finish()
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
        vdbench.run({**SUITE, **changes}, whole)
    with pytest.raises(
        InputError, match=r"holds another run, only was \[\] and is now \['local'\]"
    ):
        vdbench.run(SUITE, whole, only=["local"])
    assert (whole / "run.json").read_bytes() == before


def test_a_reworded_description_is_the_same_suite(whole: Path) -> None:
    vdbench.run({**SUITE, "description": "The same in other words."}, whole)


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
