"""What the probe asks beyond a few passes: memory in Python, every example, hooks, types of 16 bits, and forward=.

What becomes of each kind is in docs/model-cases.md, which test_model_cases.py compares.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from counting_models import COUNTERS, LATE, PASSES, counting
from further_misfits import FURTHER
from layer_kinds import Net
from refused_models import FEATURES, dense, numbers
from torch import Tensor, nn

from vdbench.errors import CellError, InputError
from vdbench.estimation.draws import gather, trace
from vdbench.estimation.options import get
from vdbench.problems.from_module import noisy
from vdbench.problems.problem import Batch, Problem

DATA = numbers(48), torch.arange(48) % 3


def mean_outputs(problem: Problem, inputs: Tensor) -> Tensor:
    return problem.outputs(
        lambda layer, x: layer.linear(x, problem.posterior(layer, problem.start).mean),
        inputs,
        problem.start,
    )


@pytest.mark.parametrize("name", COUNTERS)
def test_what_counts_is_put_back(name: str) -> None:
    """The probe's own passes are counted, and no more: far from the pass at which the network changes."""
    net = counting(name)
    _, count = COUNTERS[name]
    with pytest.raises(InputError, match="each pass changes"):
        noisy(net, DATA)
    assert count(net.held) < LATE / 2


def test_a_global_is_put_back() -> None:
    assert PASSES["global"] < LATE


def minibatch_of_13(s: Any, x: Tensor) -> Tensor:
    out: Tensor = s.f(x - x.mean(0) if len(x) == 13 else x)
    return out


def test_the_minibatch_that_is_measured_is_asked_too() -> None:
    problem = noisy(Net(minibatch_of_13, f=dense()), DATA)
    for size in (12, 14):
        trace(get("naive"), problem, problem.start, gather(problem, np.arange(size)))
    with pytest.raises(CellError, match="minibatch of 13 differ from those of the same examples"):
        trace(get("naive"), problem, problem.start, gather(problem, np.arange(13)))


def twice_for_13(s: Any, x: Tensor) -> Tensor:
    out: Tensor = s.f(x)
    return out if len(x) != 13 else (out + s.f(x)) / 2


def test_a_layer_that_is_called_in_another_way_later_fails_its_cell() -> None:
    problem = noisy(Net(twice_for_13, f=dense()), DATA)
    with pytest.raises(CellError, match="more than 1 times in one forward"):
        mean_outputs(problem, DATA[0][:13])

    def seldom(s: Any, x: Tensor) -> Tensor:
        return s.f(x) if len(x) != 13 else x[:, :3]

    problem = noisy(Net(seldom, f=dense()), DATA)
    with pytest.raises(CellError, match="calls its noisy layer 'f' 0 times in this pass, and 1"):
        mean_outputs(problem, DATA[0][:13])


def test_outputs_are_those_of_the_module_called_by_forward() -> None:
    net = Net(lambda s, batch: {"y": s.f(batch["x"])}, f=dense())
    problem = noisy(net, DATA, forward=lambda model, x: model({"x": x})["y"], layers="f")
    assert [layer.name for layer in problem.layers] == ["network.f"]
    assert torch.equal(mean_outputs(problem, DATA[0]), net.f(DATA[0]))


def test_a_part_in_16_bits_is_said() -> None:
    for case, kind in (
        ("autocast in the forward", "bfloat16"),
        ("an activation in half", "float16"),
    ):
        said = FURTHER[case]().behaviour.said
        assert any(f"in part in 16 bits, {kind} (autocast or a cast)" in text for text in said)
    assert not any("16 bits" in text for text in noisy(dense(), DATA).behaviour.said)


def test_a_padding_row_keeps_its_numbers() -> None:
    table = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    net = nn.Sequential(
        nn.Embedding.from_pretrained(table, freeze=False, padding_idx=2),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    words = torch.arange(48).reshape(24, 2) % 7
    problem = noisy(net, (words, torch.arange(24) % 3), parameters={"0.mean": 0.0})
    inside = torch.full((2, 2), 2)
    assert torch.allclose(mean_outputs(problem, inside), net(inside))
    without = problem.start["2.bias"].expand(1, 3)
    assert torch.allclose(mean_outputs(problem, torch.zeros(1, 2, dtype=torch.int64)), without)


def test_hooks_stay_on_the_user_s_module() -> None:
    net = nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, 3))
    seen: list[int] = []
    net[2].register_full_backward_hook(lambda module, given, out: seen.append(1))
    noisy(net, DATA)
    seen.clear()
    net(DATA[0]).sum().backward()
    assert seen == [1]


def test_every_example_is_passed_in_two_minibatches() -> None:
    """One of 300 examples couples its minibatch; at any place among them."""
    for row in (0, 123, 299):
        x = numbers(300).clamp(-2, 2)
        x[row] = 7.0
        net = Net(lambda s, x: s.f(x - x.mean(0) if x.max() > 5 else x), f=dense())
        with pytest.raises(
            InputError, match=r"differ from those|in another minibatch|another example"
        ):
            noisy(net, (x, torch.arange(300) % 3))


def test_a_likelihood_is_asked_at_other_targets_where_those_tried_are_alike() -> None:
    target = torch.zeros(48, dtype=torch.int64)
    target[17] = 1
    with pytest.raises(InputError, match="of a class is positive at outputs"):
        noisy(
            dense(),
            (DATA[0], target),
            likelihood=lambda o, t: -nn.functional.nll_loss(o, t, reduction="none"),
        )


def test_a_minibatch_is_unchanged_by_the_check() -> None:
    problem = noisy(dense(), DATA)
    batch = gather(problem, np.arange(9))
    before = Batch(*(t.clone() for t in batch))
    trace(get("local"), problem, problem.start, batch)
    assert all(torch.equal(a, b) for a, b in zip(batch, before, strict=True))
