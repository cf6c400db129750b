"""A guard sees what is written into, and puts the state of the process right again."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vdbench import Key, problems
from vdbench.errors import CellError
from vdbench.measures import variance_units
from vdbench.measures.guard import SETTINGS, Guard, _digest
from vdbench.problems.problem import Problem


@pytest.fixture
def problem() -> Problem:
    built = problems.build("p", "classification", {"widths": [3]})
    return built.to("cpu", torch.float32)


@pytest.fixture
def guard(problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guard]:
    monkeypatch.chdir(tmp_path)
    made = Guard(problem, problem.initial(Key()))
    yield made
    made.restore()


STATE: dict[str, Callable[[], Any]] = {
    "default type": lambda: torch.set_default_dtype(torch.float64),
    "takes gradients": lambda: torch._C._set_grad_enabled(False),
    "number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "torch's global random": lambda: torch.rand(1),
    "numpy's global random": lambda: np.random.rand(),
    "Python's global random": lambda: random.random(),
    "current folder": lambda: os.chdir("/"),
    "torch.randn": lambda: setattr(torch, "randn", lambda *a: torch.zeros(*a)),
    "Tensor.square": lambda: setattr(torch.Tensor, "square", lambda self: self),
    "variance_units.rows": lambda: setattr(variance_units, "rows", lambda *a: {}),
    "variance_units.sum": lambda: setattr(variance_units, "sum", lambda *a: 0),
    "Problem.kl": lambda: setattr(Problem, "kl", lambda *a: 0),
}


@pytest.mark.parametrize("words", STATE)
def test_the_state_of_the_process_is_seen_and_put_right(words: str, guard: Guard) -> None:
    guard.check()
    STATE[words]()
    with pytest.raises(CellError, match=words):
        guard.check()
    guard.restore()
    guard.check()


def test_every_tensor_that_is_handed_out_is_looked_at(problem: Problem) -> None:
    parameters = problem.initial(Key())
    tensors = [
        *parameters.values(),
        *problem.start.values(),
        *problem.data.train,
        *problem.data.test,
    ]
    guard = Guard(problem, parameters)
    for tensor in tensors:
        plain = tensor.numpy().reshape(-1)
        before = plain[-1]
        plain[-1] = before + 1  # torch does not see this one
        assert guard.changed(), tuple(tensor.shape)
        plain[-1] = before
        assert not guard.changed()


def test_a_change_that_is_undone_is_seen_where_torch_made_it(problem: Problem) -> None:
    guard = Guard(problem, {})
    problem.data.train.inputs.neg_().neg_()
    assert "inputs" in guard.changed()


def test_large_tensors_are_known_by_the_sums_of_rows_and_columns() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    large = torch.from_numpy(generator.normal(size=(600, 784)).astype(np.float32))
    seen = {_digest(large)[3:]}
    for change in range(50):
        other = large.numpy().copy()
        i, j = generator.integers(other.size, size=2)
        flat = other.reshape(-1)
        if change % 2:
            flat[i] = np.nextafter(flat[i], np.float32(np.inf))
        else:
            flat[[i, j]] = flat[[j, i]]
        seen.add(_digest(torch.from_numpy(other))[3:])
    seen.add(_digest(large.flip(0))[3:])
    seen.add(_digest(large.flip(1))[3:])
    assert len(seen) == 53


def test_settings_have_names_of_their_own() -> None:
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
