"""N that is no multiple of M, and M above N: which examples a minibatch and an epoch have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import KEY, classifier

import vdbench
from vdbench.datasets import Split
from vdbench.errors import InputError
from vdbench.estimation.draws import gather, minibatch
from vdbench.estimation.options import get
from vdbench.problems.problem import Problem
from vdbench.training.trainer import Trainer


def numbered() -> Problem:
    """Forty examples whose first input is their number."""
    problem = classifier()
    inputs = problem.data.train.inputs.clone()
    inputs[:, 0] = torch.arange(40)
    return replace(
        problem, data=replace(problem.data, train=Split(inputs, problem.data.train.targets))
    )


def epochs(trainer: Trainer, count: int) -> list[list[int]]:
    """The numbers of the examples of each epoch, in order."""
    found = []
    for epoch in range(count):
        numbers: list[int] = []
        for place in range(trainer.steps_per_epoch):
            trainer.step = epoch * trainer.steps_per_epoch + place
            batch = trainer._minibatch()
            assert len(batch.inputs) == min(trainer.batch_size, 40)
            numbers += batch.inputs[:, 0].int().tolist()
        found.append(numbers)
    return found


def training(size: int) -> Trainer:
    problem = numbered()
    return Trainer(problem, get("naive"), problem.initial(KEY), size, 0.01, KEY)


def test_an_epoch_leaves_out_what_makes_no_whole_minibatch() -> None:
    """N = 40, M = 12: three minibatches of 12; the 4 left out are others in the next epoch, and by then none is."""
    made = training(12)
    assert made.steps_per_epoch == 3
    found = epochs(made, 60)
    assert all(len(numbers) == len(set(numbers)) == 36 for numbers in found)
    assert len({frozenset(numbers) for numbers in found}) > 50
    # left out with probability 0.1 each time: of 60 epochs, P(an example is left out of 25 or more) < 10⁻⁹ each
    used = np.bincount(np.concatenate(found), minlength=40)
    assert used.min() > 35
    whole = training(8)
    assert whole.steps_per_epoch == 5
    assert all(sorted(numbers) == list(range(40)) for numbers in epochs(whole, 3))


@pytest.mark.parametrize("size", [40, 41, 1000])
def test_a_minibatch_as_large_as_the_data_set_or_larger_is_all_of_it(size: int) -> None:
    made = training(size)
    assert made.steps_per_epoch == 1
    assert all(sorted(numbers) == list(range(40)) for numbers in epochs(made, 3))
    batch = made._minibatch()
    assert made.problem.scale(batch) == 1.0
    made.step = 0
    made.advance(2)
    assert made.step == 2
    assert made.epochs == 2


def test_a_measured_minibatch_is_drawn_without_replacement_and_never_too_large() -> None:
    problem = numbered()
    for size in (1, 12, 40):
        batch = gather(problem, minibatch(problem, size, KEY / size))
        assert len(batch.inputs[:, 0].unique()) == size
        assert problem.scale(batch) == 40 / size
    with pytest.raises(
        InputError, match="a minibatch of 41 examples is more than the 40 training examples"
    ):
        minibatch(problem, 41, KEY)


def test_a_suite_with_minibatches_above_the_data_set_is_refused() -> None:
    suite = {
        "name": "large", "problems": [{"name": "p", "options": {"widths": []}}], "batch_sizes": [1438],
        "estimators": ["naive"], "baseline": "naive", "measures": {"variance": {}},
    }  # fmt: skip
    with pytest.raises(
        InputError, match="batch size 1438 is more than the 1437 training examples of problem 'p'"
    ):
        vdbench.run(suite, "nowhere")
