"""A training stops at the first step that is not finite, and says what was lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_training import classifier, trainer
from torch import Tensor

from vdbench.errors import CellError
from vdbench.estimation.base import Declaration, Estimator, Gradient
from vdbench.estimation.options import get
from vdbench.noise import Noise
from vdbench.problems.problem import Batch, Parameters, Problem
from vdbench.training.non_finite import Watch
from vdbench.training.trainer import train

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Breaks(Estimator):
    """As `local`, until a value or a gradient is lost at the seventh call."""

    declaration = Declaration("breaks", "elbo", True, ("normal",), True, "1")
    what: str
    calls: list[int]

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        value, gradients = get("local")(problem, parameters, batch, noise)
        self.calls.append(1)
        if len(self.calls) == 7 and self.what == "value":
            value = value + math.inf
        if len(self.calls) == 7 and self.what == "gradient":
            gradients = {**gradients, "2.bias": gradients["2.bias"] * math.nan}
        return Gradient(value, gradients)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("value", "diverged at step 6: the value of the likelihood is not finite; lower"),
        ("gradient", "diverged at step 6: the gradient of parameter '2.bias' is not finite; lower"),
    ],
)
def test_training_stops_at_the_first_step_that_is_not_finite(
    what: str, said: str, tmp_path: Path
) -> None:
    calls: list[int] = []
    with pytest.raises(CellError, match=said):
        train(trainer(estimator=Breaks(what, calls)), 9, tmp_path / "state.npz")
    assert len(calls) == (7 if what == "value" else 8)  # a lost gradient is seen at the next value
    with np.load(tmp_path / "state.npz") as saved:
        assert int(saved["step"]) == 5  # what is broken is not saved


def test_a_kl_that_is_not_finite_is_named() -> None:
    class Broken:
        def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
            return (mean / 0).sum()

    problem = classifier()
    object.__setattr__(problem, "prior", Broken())
    said = r"at step 0: the KL is not finite, and with it the gradient of parameter '0.mean'"
    with pytest.raises(CellError, match=said):
        trainer(problem=problem).advance(3)


def test_a_gradient_lost_in_the_last_step_of_an_epoch_is_named() -> None:
    run = trainer(estimator=Breaks("gradient", []))
    with pytest.raises(CellError, match=r"at step 6: the gradient of parameter '2\.bias'"):
        run.advance(7)


def test_a_parameter_that_overflows_is_named() -> None:
    """The gradient is finite and the step is not."""
    leaf = torch.tensor([1.0, math.inf])
    leaf.grad = torch.ones(2)
    with pytest.raises(CellError, match=r"before step 3: parameter 'w' is not finite; lower"):
        Watch("local", 0.1, {"v": torch.ones(1), "w": leaf}).parameters(3)
