"""Peak memory of a gradient: an allocation of known size is seen, and failures are told.

Every measurement starts a process that imports torch; they are few, and shared.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vdbench import problems
from vdbench.errors import CellError
from vdbench.estimation.options import get
from vdbench.measures.memory import rows
from vdbench.noise import Key
from vdbench.training.trainer import Trainer

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

MIB = 2**20
KEY = ("tests", "memory", 0)
BATCH = 16
GRAIN = MIB // 4  # Linux counts resident pages in batches of 64 a thread
SLACK = 4 * MIB  # heap and page granularity, and what a small network's own gradient takes

PLUGIN = """\
from dataclasses import dataclass

import torch
import vdbench
from vdbench import differentiate


@vdbench.register(
    "holder", objective="elbo", unbiased=True, laws=(), independent_examples=True
)
@dataclass(frozen=True)
class Holder(vdbench.Pathwise):
    '''Holds so many KiB an example while the gradient is computed, and touches them.'''

    kibibytes: int = 0
    fault: str = ""

    def preactivation(self, layer, x, q, noise):
        if self.fault == "raise":
            raise ZeroDivisionError("a fault of its own")
        if self.fault == "kill":
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        held = torch.ones(x.shape[0] * self.kibibytes * 256)
        return layer.linear(x, q.mean) + 0 * held.sum()
"""
PROBLEM = """\
import torch
import vdbench
from vdbench.datasets import Dataset, Split


def make(width):
    split = Split(torch.ones(256, 64), torch.zeros(256, dtype=torch.int64))
    net = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))
    return vdbench.noisy(net, Dataset("synthetic", split, split, 10))
"""
NETWORK = {"factory": "vdbench_test_memory:make", "options": {"width": 256}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A job as a run writes it: parameters as `Trainer.save` left them, a plug-in, keys and sizes."""
    folder = tmp_path_factory.mktemp("memory")
    (folder / "holder.py").write_text(PLUGIN)
    (folder / "vdbench_test_memory.py").write_text(PROBLEM)
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.syspath_prepend(folder)  # the processes look where this one does
    problem = problems.build("mine", **NETWORK)
    start = problem.initial(Key(KEY))
    Trainer(problem, get("local"), start, BATCH, 0.01, Key(KEY)).save(folder / "start.npz")
    yield {
        "plugins": [str(folder / "holder.py")],
        "threads": 1,
        "device": "cpu",
        "precision": "float32",
        "problem": {"name": "mine", **NETWORK},
        "parameters": str(folder / "start.npz"),
        "estimator": "holder",
        "options": {},
        "key": list(KEY),
        "noise": "torch",
        "batch_size": BATCH,
    }
    monkeypatch.undo()


@pytest.fixture(scope="module")
def measured(base: dict[str, Any]):  # type: ignore[no-untyped-def]
    """Smaller peak of two processes for an estimator with its options, measured once."""

    @functools.cache
    def peak(estimator: str, batch_size: int, **options: object) -> float:
        job = {**base, "estimator": estimator, "options": options, "batch_size": batch_size}
        table = rows(job, 2)
        assert list(table) == ["bytes"]
        assert table["bytes"].shape == (2,)
        assert (table["bytes"] >= 0).all()
        return float(table["bytes"].min())

    return peak


@pytest.mark.parametrize("mebibytes", [8, pytest.param(64, marks=pytest.mark.long)])
def test_an_allocation_of_known_size_is_seen(measured, mebibytes: int) -> None:  # type: ignore[no-untyped-def]
    """Each of the two layers holds so much, one after the other; once counted, not twice."""
    seen = measured("holder", BATCH, kibibytes=mebibytes * 1024 // BATCH)
    assert mebibytes * MIB - GRAIN <= seen < mebibytes * MIB + SLACK
    assert measured("holder", BATCH, kibibytes=0) < SLACK


@pytest.mark.long
def test_a_chunk_bounds_the_memory_of_per_example_sampling(measured) -> None:  # type: ignore[no-untyped-def]
    """All weight samples of the minibatch at once, or one at a time: two layers' noise and weights each."""
    size = 256
    weights = 4 * (64 * 256 + 256 * 10)  # bytes of one weight sample
    whole = measured("per-example", size, chunk=size)
    one = measured("per-example", size, chunk=1)
    assert whole > 2 * size * weights
    assert one < 50 * weights + SLACK
    assert one < whole / 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"fault": "raise"}}, "ZeroDivisionError: a fault of its own"),
        ({"options": {"fault": "kill"}}, "killed by signal 9, out of memory?"),
        ({"estimator": "holdr"}, "estimator 'holdr' is unknown. Did you mean 'holder'?"),
    ],
)
def test_a_failure_names_its_cause(
    base: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CellError) as caught:
        rows({**base, **change}, 1)
    text = str(caught.value)
    assert text.startswith("measuring memory in a process of its own failed: ")
    assert message in text
    assert "\n" not in text


def test_a_folder_of_the_user_s_does_not_hide_ours(
    base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process finds what this one found, whatever the current folder holds."""
    (tmp_path / "estimators").mkdir()
    (tmp_path / "estimators" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert rows(base, 1)["bytes"].shape == (1,)
