"""Results are replaced only by something at least as complete: the rule of `vdbench.runner.earlier`."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fault_campaign import SUITE, figures

import vdbench
from vdbench.measures import bias, variance_units
from vdbench.runner import earlier
from vdbench.runner.record import Record


def failing(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    def rows(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "rows", rows)


def test_a_cell_that_fails_now_keeps_its_figures(
    copied: Callable[[], Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied()
    shutil.rmtree(run / "blocks")
    failing(monkeypatch, bias)
    failing(monkeypatch, variance_units)
    finished = vdbench.run(SUITE, run)
    assert finished.failed == 2 * 2 * 2  # measures, estimators, checkpoints; trainings do not fail
    pd.testing.assert_frame_equal(figures(run), figures(tiny), check_exact=True)
    cells = json.loads((run / "run.json").read_text())["cells"]
    kept = [cell for cell in cells if "kept" in cell]
    assert {cell["measure"] for cell in kept} == {"variance", "bias"}
    assert all("No space left on device" in cell["kept"] for cell in kept)
    assert all(cell["status"] != "failed" for cell in cells)
    monkeypatch.undo()


def test_pairs_of_a_cell_that_failed_are_kept_too(
    copied: Callable[[], Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ratio to an estimator that fails now stays, with its adjusted level."""
    run = copied()
    real = variance_units.rows
    shutil.rmtree(run / "blocks")

    def rows(context: Any, *more: Any) -> Any:
        if context.label == "naive":
            raise ZeroDivisionError("now")
        return real(context, *more)

    monkeypatch.setattr(variance_units, "rows", rows)
    assert vdbench.run(SUITE, run).failed == 2
    mine, theirs = (
        f.sort_values(KEY).reset_index(drop=True) for f in (figures(run), figures(tiny))
    )
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


KEY = ["checkpoint", "label", "metric", "layer", "role", "step", "against"]


def test_figures_of_another_version_are_not_kept(
    copied: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied()
    shutil.rmtree(run / "blocks")
    failing(monkeypatch, variance_units)
    monkeypatch.setattr("vdbench.runner.execution.__version__", "another")
    vdbench.run(SUITE, run)
    table = figures(run)
    assert set(table[table["metric"].str.contains("variance")]["status"]) == {"failed"}


def test_a_session_that_is_stopped_leaves_table_and_record(
    copied: Callable[[], Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied()
    shutil.rmtree(run / "blocks")

    def rows(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bias, "rows", rows)
    with pytest.raises(KeyboardInterrupt):
        vdbench.run(SUITE, run)
    pd.testing.assert_frame_equal(figures(run), figures(tiny), check_exact=True)
    before, after = (json.loads((r / "run.json").read_text())["cells"] for r in (tiny, run))
    assert after == before


def test_a_table_of_another_run_is_not_replaced(copied: Callable[[], Path]) -> None:
    run = copied()
    (run / "run.json").unlink()
    before = (run / "results.parquet").read_bytes()
    with pytest.raises(vdbench.InputError, match=r"its results.parquet is another run's"):
        vdbench.run({**SUITE, "seed": 3}, run)
    assert (run / "results.parquet").read_bytes() == before
    assert vdbench.run(SUITE, run).failed == 0


def test_new_keys_at_their_defaults_leave_a_run_what_it_is() -> None:
    from vdbench.measures.registry import load

    suite = load(SUITE)
    named = earlier.run_identity(suite, "cpu", [])
    assert named == earlier.run_identity(load({**SUITE, "description": "other"}), "cpu", [])
    assert named == earlier.run_identity(load({**SUITE, "seed": 0}), "cpu", [])
    assert named != earlier.run_identity(load({**SUITE, "seed": 1}), "cpu", [])
    assert named != earlier.run_identity(suite, "cpu", ["local"])


def test_a_record_that_is_damaged_is_begun_anew_where_there_are_blocks(tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "run.json").write_text('{"schema": 2')
    one = Record(tmp_path)
    one.open({"device": "cpu"}, {"seed": 0})
    (entry,) = one.content["damaged"]
    assert entry["why"] == "it cannot be read as JSON"
    assert (tmp_path / entry["kept"]).read_text() == '{"schema": 2'
    assert one.content["sealed"] is False  # what the blocks are is not known


def test_the_cache_is_optional(copied: Callable[[], Path], elsewhere: Path, tiny: Path) -> None:
    from vdbench.measures.progress import Quiet

    run, said = copied(), []

    class Notes(Quiet):
        def note(self, text: str) -> None:
            said.append(text)

    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "blocks")
    (elsewhere / "cache").write_text("a file has its name")
    finished = vdbench.run(SUITE, run, progress=Notes())
    assert finished.failed == 0
    told = [text for text in said if "cache" in text]
    assert len(told) == 1
    assert told[0].startswith("the cache cannot be used, ")
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {path.name for path in (tiny / "checkpoints").iterdir()}
    pd.testing.assert_frame_equal(figures(run), figures(tiny), check_exact=True)


def test_an_errors_log_that_cannot_be_written_is_said_once(
    copied: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vdbench.measures.progress import Quiet

    run, said = copied(), []

    class Notes(Quiet):
        def note(self, text: str) -> None:
            said.append(text)

    def rows(*_: object) -> None:
        raise ZeroDivisionError("of a test")

    shutil.rmtree(run)
    monkeypatch.setattr(bias, "rows", rows)
    run.mkdir()
    (run / "blocks").mkdir()
    (run / "errors.log").mkdir()
    assert vdbench.run(SUITE, run, progress=Notes()).failed == 4
    (told,) = [text for text in said if "errors.log" in text]
    assert told.startswith("errors.log cannot be written, Is a directory; the first traceback is:")
    assert "ZeroDivisionError: of a test" in told
    cells = json.loads((run / "run.json").read_text())["cells"]
    reasons = {cell["reason"] for cell in cells if cell["status"] == "failed"}
    assert reasons == {"ZeroDivisionError: of a test"}
