"""A run whose noise is made by counter: recorded, at addresses of its own, equal however it is run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_runs import sorted_rows

import vdbench
from vdbench import problems
from vdbench.errors import InputError
from vdbench.measures.instrument.crash_recovery import untimed

SUITE: dict[str, Any] = {
    "name": "by-counter",
    "noise": "philox",
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "checkpoints": ["initial", {"epochs": 1, "batch_size": 256}],
    "batch_sizes": [16],
    "estimators": ["deterministic", "naive", "flipout"],
    "baseline": "naive",
    "measures": {
        "variance": {"first_units": 8, "max_units": 16, "precision": 0.01},
        "convergence": {"steps": 2, "evaluations": 1, "seeds": 2, "samples": 2, "examples": 64},
    },
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one process."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("by-counter")
        patch.setenv("VDBENCH_CACHE", str(folder / "cache"))
        assert not vdbench.run(SUITE, folder / "run").failed
    return folder / "run"


def assert_equal(one: Path, other: Path) -> None:
    """All figures but times, to the last bit; cells may end in another order."""
    first, second = (sorted_rows(untimed(folder)) for folder in (one, other))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def addresses(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(pq.read_schema(path).metadata[b"vdbench"])
        for path in sorted((folder / "blocks").glob("*.parquet"))
    ]


def variances(folder: Path, label: str, checkpoint: str = "initial") -> list[float]:
    table = pd.read_parquet(folder / "results.parquet")
    chosen = table[(table.label == label) & (table.checkpoint == checkpoint)]
    return list(chosen[chosen.metric.str.startswith("variance.")].value)


def test_it_is_recorded_and_in_every_address(whole: Path) -> None:
    assert json.loads((whole / "run.json").read_text())["suite"]["noise"] == "philox"
    found = addresses(whole)
    assert {a["measure"] for a in found} == {"variance", "convergence"}
    assert {a["noise"] for a in found} == {"philox"}


def test_what_was_measured_stays_when_it_is_run_again(whole: Path, elsewhere: Path) -> None:
    """Every second block is lost: they are measured again, and all is as it was."""
    shutil.copytree(whole, elsewhere / "run")
    for path in sorted((elsewhere / "run" / "blocks").glob("*.parquet"))[::2]:
        path.unlink()
    shutil.rmtree(elsewhere / "run" / "checkpoints")
    assert not vdbench.run(SUITE, elsewhere / "run").failed
    assert_equal(elsewhere / "run", whole)


def test_two_jobs_in_processes_of_their_own_give_the_same(whole: Path, elsewhere: Path) -> None:
    assert not vdbench.run(SUITE, elsewhere / "run", isolate=True, jobs=2).failed
    assert_equal(elsewhere / "run", whole)


def test_only_the_noise_is_another(whole: Path, elsewhere: Path) -> None:
    """Weights at the start and minibatches are those of torch's noise; what is drawn and trained is not."""
    other = {**SUITE, "noise": "torch", "measures": {"variance": SUITE["measures"]["variance"]}}
    assert not vdbench.run(other, elsewhere / "torch").failed
    assert variances(whole, "deterministic") == variances(elsewhere / "torch", "deterministic")
    for label in ("naive", "flipout"):
        one, two = (variances(folder, label) for folder in (whole, elsewhere / "torch"))
        assert not set(one) & set(two)
    assert not any("noise" in address for address in addresses(elsewhere / "torch"))
    names = [{p.stem for p in (f / "checkpoints").iterdir()} for f in (whole, elsewhere / "torch")]
    assert len(names[0] & names[1]) == 1
    assert len(names[0] | names[1]) == 3
    found = vdbench.compare(elsewhere / "torch", whole)
    assert "noise: torch and philox" in found.differing
    with pytest.raises(InputError, match=r"suite\.noise was 'torch' and is now 'philox'"):
        vdbench.run({**other, "noise": "philox"}, elsewhere / "torch")


def test_a_kind_that_there_is_not_is_refused() -> None:
    said = r"noise: input should be 'torch' or 'philox', not 'phlox'\.$"
    with pytest.raises(InputError, match=said):
        vdbench.run({**SUITE, "noise": "phlox"}, "never")
    problem = problems.build("p", "classification", {"widths": [4]})
    with pytest.raises(InputError, match=said):
        vdbench.measure(problem, "naive", noise="phlox", out="never")
