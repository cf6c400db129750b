"""The measure throughput over execution modes, and what a device refuses; times themselves are in test_timing.py."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

import vdbench
from vdbench.errors import CellError, InputError
from vdbench.measures import timing
from vdbench.measures.registry import load
from vdbench.measures.throughput import Throughput

SUITE: dict[str, Any] = {
    "name": "modes",
    "problems": [{"name": "digits", "options": {"widths": [4]}}],
    "batch_sizes": [8],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "threads": 1,
    "modes": ["compile", "eager"],
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 600},
        "variance": {"first_units": 8, "max_units": 8},
    },
}
TIME = "time.seconds_per_gradient"


def run(folder: Path, **more: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    done = vdbench.run({**SUITE, **more}, folder, isolate=False)
    return json.loads((folder / "run.json").read_text()), done.results


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is traced runs as it is: compilers take half a minute, and have tests of their own."""
    monkeypatch.setattr(torch, "compile", lambda traced, **_: traced)


@pytest.mark.usefixtures("no_compiler")
def test_every_estimator_is_timed_in_every_mode(tmp_path: Path) -> None:
    record, table = run(tmp_path / "run")
    cells = [
        (c["estimator"], c.get("mode")) for c in record["cells"] if c["measure"] == "throughput"
    ]
    assert cells == [("naive", "compile"), ("naive", None), ("local", "compile"), ("local", None)]
    assert {c["status"] for c in record["cells"] if c["measure"] == "throughput"} == {"ok"}
    timed = table[table["metric"] == TIME]
    assert sorted(zip(timed["label"], timed["mode"], strict=True)) == [
        ("local", "compile"), ("local", "eager"), ("naive", "compile"), ("naive", "eager")]  # fmt: skip
    assert set(table[table["metric"] == "variance.total"]["mode"]) == {""}
    costs = table[table["metric"] == "efficiency.variance_seconds"]
    assert set(costs["mode"]) == {"compile", "eager"}
    ratios = table[table["metric"] == "mode.seconds_per_gradient"]
    assert [(r.label, r.mode, r.against) for r in ratios.itertuples()] == [
        ("naive", "compile", "eager"), ("local", "compile", "eager")]  # fmt: skip
    again, same = run(tmp_path / "run")
    pd.testing.assert_frame_equal(table, same)
    assert [c["status"] for c in again["cells"]] == [c["status"] for c in record["cells"]]


def test_a_mode_that_fails_leaves_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(traced: Any, **_: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", missing)
    record, table = run(tmp_path / "run")
    cells = {
        (c["estimator"], c.get("mode")): c for c in record["cells"] if c["measure"] == "throughput"
    }
    for name in ("naive", "local"):
        assert cells[name, "compile"]["status"] == "failed"
        assert (
            cells[name, "compile"]["reason"]
            == "mode compile: RuntimeError: No working C++ compiler found"
        )
        assert cells[name, None]["status"] == "ok"
    assert set(table[table["metric"] == TIME]["mode"]) == {"eager"}
    failed = table[table["metric"] == "throughput"]
    assert set(zip(failed["mode"], failed["status"], strict=True)) == {("compile", "failed")}


def test_a_device_refuses_what_it_has_not(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^mode 'graph' records CUDA graphs, and the device is 'cpu'"
    ):
        vdbench.run({**SUITE, "modes": ["eager", "graph"]}, tmp_path / "run", device="cpu")
    with pytest.raises(
        InputError, match="says nothing of seconds or bytes, and the suite asks for throughput;"
    ):
        vdbench.run({**SUITE, "precision": "tf32"}, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_mode_is_named_once_and_known() -> None:
    with pytest.raises(InputError, match="mode 'eager' is given twice"):
        vdbench.run({**SUITE, "modes": ["eager", "eager"]})
    with pytest.raises(
        InputError, match=r"modes\.0: input should be 'eager', 'graph' or 'compile', not 'captured'"
    ):
        vdbench.run({**SUITE, "modes": ["captured"]})


def test_variance_under_bf16_is_measured_on_a_cpu(tmp_path: Path) -> None:
    measures = {"variance": {"first_units": 16, "max_units": 16}}
    found = {}
    for precision in ("float32", "bf16"):
        _, table = run(
            tmp_path / precision, measures=measures, modes=["eager"], precision=precision
        )
        assert set(table["precision"]) == {precision}
        mine = table[(table["metric"] == "variance.total") & (table["layer"] == "all")]
        found[precision] = mine.set_index(["label", "role"])["value"]
    ratio = found["bf16"] / found["float32"]
    assert (ratio != 1).all()
    assert ((ratio - 1).abs() < 0.5).all(), ratio


def test_processor_time_leaves_out_waiting() -> None:
    def wait() -> None:
        time.sleep(0.02)

    device = torch.device("cpu")
    assert timing.sample(wait, 2, device) >= 0.02
    assert timing.sample(wait, 2, device, timing.PROCESSOR) < 0.01


def test_a_pass_by_the_processor_s_clock_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its seconds are the readings of that clock: here, of one that counts its calls in units of 0.25 s."""
    ticks = itertools.count()
    monkeypatch.setattr(timing.time, "process_time", lambda: 0.25 * next(ticks))
    measures = {"throughput": {"rounds": 8, "budget_seconds": 600, "clock": "processor"}}
    record, table = run(tmp_path / "run", modes=["eager"], measures=measures)
    assert {c["reason"] for c in record["cells"]} == {"8 of 8 interleaved rounds of processor time"}
    rows = table[table["metric"] == TIME]
    assert set(rows["message"]) == {"processor time"}
    assert rows["value"].tolist() == [0.25, 0.25]


def test_the_processor_s_clock_is_refused_on_a_gpu() -> None:
    suite = load({**SUITE, "measures": {"throughput": {"clock": "processor"}}})
    session: Any = SimpleNamespace(suite=suite, device=torch.device("cuda"))
    with pytest.raises(
        CellError, match="is of a CPU, and this run is on cuda; expected clock: wall"
    ):
        Throughput().measure(session, SimpleNamespace(), [])  # type: ignore[arg-type] # refused before
