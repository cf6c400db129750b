"""The script for a GPU runs, in a form that takes seconds on a CPU, so that it is ready where there is a GPU."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import gpu_rows
import gpu_setting
import pytest
import torch

from vdbench import InputError


@pytest.fixture(scope="module")
def measure() -> Any:
    path = Path(__file__).with_name("measure.py")
    spec = importlib.util.spec_from_file_location("gpu_measure", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_every_section_runs(measure: Any, tmp_path: Path) -> None:
    assert measure.main(["--tiny", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.md").read_text("utf-8")
    for name in gpu_rows.SECTIONS:
        rows = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))["rows"]
        assert rows
        assert all(row["what"] in page for row in rows)
    engine = json.loads((tmp_path / "engine.json").read_text("utf-8"))["rows"]
    assert [r["way"] for r in engine if "way" in r] == ["products"] * 4
    assert "torch" in json.loads((tmp_path / "environment.json").read_text("utf-8"))


def test_commands_end_at_their_limit_and_their_runs_are_kept(measure: Any, tmp_path: Path) -> None:
    short = [sys.executable, "-c", "print('done')"]
    assert measure.finished(short, 60, tmp_path / "a.txt") == ("done\n", "exit code 0")
    endless = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert measure.finished(endless, 0.5, tmp_path / "b.txt")[1] == "interrupted after 0 s"
    for name in ("run.json", "report/report.md", "blocks/block.npz"):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(name)
    measure.keep(tmp_path / "run", tmp_path / "kept")
    kept = sorted(p.relative_to(tmp_path / "kept") for p in (tmp_path / "kept").rglob("*.*"))
    assert kept == [Path("report/report.md"), Path("run.json")]


def test_what_fails_or_is_wrong_is_said(measure: Any, tmp_path: Path) -> None:
    def broken() -> list[gpu_setting.Row]:
        raise InputError("not here")

    run = measure.Run(tmp_path, 1)
    run.section("broken", broken)
    run.section(
        "wrong", lambda: [gpu_setting.held("gap", 0.5, 0.1), gpu_setting.held("small", 0.0, 0.1)]
    )
    run.section("nan", lambda: [gpu_setting.held("gap", float("nan"), 0.1)])
    run.until = 0
    run.section("late", broken)
    assert run.wrong == [
        "broken: InputError: not here",
        "wrong: gap: 0.5",
        "nan: gap: nan",
        "late: left out, no time left",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(measure: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (["--out", "x"], "no CUDA device; --tiny"),
        (["--tiny"], "--out DIR"),
        (["--tiny", "--out", "x", "--only", "speed"], "no section speed; there are parity"),
    ):
        with pytest.raises(SystemExit) as ended:
            measure.main(words)
        assert ended.value.code == 2
        assert says in capsys.readouterr().err


def test_the_work_of_a_gradient_is_that_of_its_products() -> None:
    """30.4 GFLOP of local on the big network at M = 1000, counted by torch."""
    timing = gpu_setting.Timing(torch.device("cpu"))
    whole = gpu_setting.Setting(timing, gpu_setting.WHOLE)
    assert round(gpu_setting.work(whole, 1000) / 1e9, 1) == 30.4
    from torch.utils.flop_counter import FlopCounterMode

    tiny = gpu_setting.Setting(timing, gpu_setting.TINY)
    gradient = gpu_setting.by_hand(gpu_setting.context(tiny, 5))
    with FlopCounterMode(display=False) as counter:
        gradient()
    assert counter.get_total_flops() == gpu_setting.work(tiny, 5)
