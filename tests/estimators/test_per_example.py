"""Noise of `per-example` over several groups of examples: `naive` on each alone, with its row of the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agreement import gaps
from oracles import network
from twins import own

import estimators.per_example
from vdbench.estimation.base import Gradient
from vdbench.estimation.draws import gather, trace
from vdbench.estimation.options import get
from vdbench.noise import NOISES, Key, stream
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.problem import Batch, Problem

EXAMPLES = 70


@pytest.fixture(scope="module", name="at")
def place() -> tuple[Problem, dict[str, torch.Tensor], Batch]:
    problem, parameters = network(MeanLogVariance(), EXAMPLES)
    return problem, parameters, gather(problem, np.arange(EXAMPLES))


def one_by_one(
    at: tuple[Problem, dict[str, torch.Tensor], Batch], key: Key, together: int
) -> Gradient:
    problem, parameters, batch = at
    noise, naive = stream(key, dtype=problem.dtype), get("naive")
    drawn = [
        naive(problem, parameters, Batch(*(t[m : m + 1] for t in batch)), own(noise, m, EXAMPLES, together))
        for m in range(EXAMPLES)
    ]  # fmt: skip
    share = 1 / EXAMPLES  # of N/M, which is N for one example
    return Gradient(
        share * torch.stack([g.value for g in drawn]).sum(),
        {n: share * torch.stack([g.gradients[n] for g in drawn]).sum(0) for n in parameters},
    )


@pytest.mark.parametrize("numbers", NOISES)
def test_examples_have_rows_of_their_groups_whatever_the_chunk(at, numbers: str) -> None:  # type: ignore[no-untyped-def]
    key = Key(("groups",), numbers)
    want = one_by_one(at, key, 32)
    for chunk in (1, 7, 32, 45, EXAMPLES):
        found = get("per-example", chunk=chunk)(*at, stream(key, dtype=torch.float64))
        wrong = gaps(found, want, 1e-12)
        assert not wrong, f"chunk {chunk}:\n" + "\n".join(wrong)


def test_large_networks_have_smaller_groups(at, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    weights = sum(int(np.prod(layer.weight_shape)) for layer in at[0].layers)
    monkeypatch.setattr(estimators.per_example, "LARGEST", 4 * weights - 1)
    key = Key(("small groups",))
    want = one_by_one(at, key, 3)
    for chunk in (2, 32):
        estimator = get("per-example", chunk=chunk)
        assert estimator.examples_together(at[0]) == min(chunk, 3)
        wrong = gaps(estimator(*at, stream(key, dtype=torch.float64)), want, 1e-12)
        assert not wrong, f"chunk {chunk}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("chunk", [5, 32, 64])
def test_a_layer_has_an_address_for_each_group(at, chunk: int) -> None:  # type: ignore[no-untyped-def]
    """Each once: rows of a group that several chunks share are not drawn again."""
    found = trace(get("per-example", chunk=chunk), *at).requests
    rows = {(r.path[1], r.path[2]): r.shape[0] for r in found}
    names = [layer.name for layer in at[0].layers]
    assert len(found) == len(rows)
    assert rows == {(g, n): size for g, size in enumerate((32, 32, 6)) for n in names}
