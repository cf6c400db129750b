"""Networks with several inputs: what they compute is what the network gives for the rows themselves."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from vdbench.datasets.conversion import as_dataset
from vdbench.estimation.draws import gradients, trace
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.identity import fingerprint
from vdbench.problems.problem import Batch, Problem
from vdbench.problems.several_inputs import RowLookup
from vdbench.training.evaluation import fixed, mean_weights, predict

KEY = Key(("tests", "several inputs"))
N, T, F = 9, 4, 3


class Two(nn.Module):
    """Tokens and measurements; which is which shows in the types."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 5)
        self.body = nn.Linear(5 + F, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, ids: Tensor, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(torch.cat([self.embed(ids).mean(-2), x], -1))))


def arrays(name: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    noise = stream(KEY / name, dtype=torch.float64)
    ids = (noise("ids", (n, T), "uniform") * 11).long()
    y = (noise("y", (n,), "uniform") * 3).long()
    return ids.numpy(), noise("x", (n, F)).numpy(), y.numpy()


def made(by_name: bool) -> tuple[Two, Problem]:
    torch.manual_seed(0)
    network = Two()

    def split(name: str, n: int) -> object:
        ids, x, y = arrays(name, n)
        # in another order than the network's own, where names say which is which
        return ({"x": x, "ids": ids} if by_name else (ids, x)), y

    found = as_dataset((split("train", N), split("test", 5)))
    assert found.tables is not None
    return network, noisy(RowLookup(network, found.tables), found.dataset)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_problem_gives_what_the_network_gives(by_name: bool) -> None:
    network, problem = made(by_name)
    names = [layer.name for layer in problem.layers]
    assert names == ["network.embed", "network.body", "network.head"]
    means = fixed(mean_weights(problem, problem.start))
    for name, n, split in (("train", N, problem.data.train), ("test", 5, problem.data.test)):
        ids, x, _ = (torch.tensor(a) for a in arrays(name, n))
        wanted = network(ids, x.float())
        torch.testing.assert_close(problem.outputs(means, split.inputs, problem.start), wanted)
        some = torch.tensor([3, 0, 3])
        found = problem.outputs(means, split.inputs[some], problem.start)
        torch.testing.assert_close(found, wanted[some])
    assert np.isfinite(
        predict(
            problem, problem.start, [mean_weights(problem, problem.start)], problem.data.test
        ).nll
    )


@pytest.mark.parametrize("name", ["naive", "local", "per-example", "flipout"])
def test_vectorised_draws_are_the_looped_ones(name: str) -> None:
    _, problem = made(True)
    estimator = get(name)
    rows = torch.tensor([[0, 3, 5], [8, 1, 1], [2, 7, 4], [6, 0, 2]])
    batches = Batch(problem.data.train.inputs[rows], problem.data.train.targets[rows])
    keys = [KEY / k for k in range(4)]
    traced = trace(estimator, problem, problem.start, Batch(*(t[0] for t in batches)))
    assert traced.together >= 4
    many = gradients(estimator, problem, problem.start, batches, keys, traced)
    each = gradients(
        estimator, problem, problem.start, batches, keys, traced.__class__(traced.requests, 0)
    )
    torch.testing.assert_close(many.value, each.value, rtol=1e-4, atol=1e-4)
    for role, value in many.gradients.items():
        torch.testing.assert_close(value, each.gradients[role], rtol=1e-3, atol=1e-4)


def test_the_lookup_is_a_module_like_any_other() -> None:
    tables = {
        "input-ids": torch.arange(6).reshape(3, 2),
        "x.y": torch.ones(3, 2, dtype=torch.float64),
    }

    class Free(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))

        def forward(self, **inputs: Tensor) -> Tensor:
            return self.gain * (inputs["input-ids"] + inputs["x.y"]).sum(-1)

    lookup = RowLookup(Free(), tables)
    rows = torch.tensor([2, 0])
    assert lookup(rows).tolist() == [11, 3]
    doubled = functional_call(lookup, {"network.gain": torch.tensor(2.0)}, (rows,))
    assert doubled.tolist() == [22, 6]
    assert vmap(lookup)(torch.tensor([[2, 0], [1, 1]])).tolist() == [[11, 3], [7, 7]]
    single = copy.deepcopy(lookup).to("cpu", torch.float32)
    assert [b.dtype for b in single.buffers()] == [torch.int64, torch.float32]
    assert "input-ids" in repr(lookup)
    assert lookup(rows).dtype == torch.float64


def test_the_tables_are_part_of_a_problem_s_fingerprint() -> None:
    _, one = made(False)
    _, same = made(False)
    assert fingerprint(one) == fingerprint(same)
    with torch.no_grad():
        dict(same.module.named_buffers())["table_1"][0, 0] += 1
    assert fingerprint(one) != fingerprint(same)


def test_a_network_that_writes_its_input_writes_a_copy() -> None:
    class Writes(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a.mul_(2) + b

    a = torch.ones(3, 1)
    lookup = RowLookup(Writes(), (a, torch.zeros(3, 1)))
    for _ in range(2):
        assert lookup(torch.arange(3)).flatten().tolist() == [2, 2, 2]
    assert a.flatten().tolist() == [1, 1, 1]
