"""Regression on the diabetes data: what the data are, the likelihood, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes

from vdbench import problems
from vdbench.datasets.bundled import fixed_split
from vdbench.errors import InputError


def test_data_are_standardised_by_their_training_part() -> None:
    made = problems.build("mine", "regression", {"widths": [3]})
    measured, progression = load_diabetes(return_X_y=True, scaled=False)
    train, test = fixed_split(442, 354)
    for found, whole in (
        ((made.data.train.inputs, made.data.test.inputs), measured),
        ((made.data.train.targets, made.data.test.targets), progression[:, None]),
    ):
        middle, spread = whole[train].mean(0), whole[train].std(0)
        for split, rows in zip(found, (train, test), strict=True):
            np.testing.assert_allclose(split, (whole[rows] - middle) / spread, rtol=0, atol=1e-6)
    assert [layer.weight_shape for layer in made.layers] == [(3, 10), (1, 3)]
    assert (made.name, made.examples) == ("mine", 354)


def test_the_likelihood_is_normal() -> None:
    made = problems.build("mine", "regression", {"widths": [], "noise_variance": 0.3})
    outputs, targets = torch.tensor([[0.2], [-1.0]]), torch.tensor([[0.5], [2.0]])
    want = torch.distributions.Normal(outputs[:, 0], 0.3**0.5).log_prob(targets[:, 0])
    torch.testing.assert_close(made.likelihood(outputs, targets), want)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise_variance": 0}, "noise_variance must be a number above 0, not 0."),
        ({"noise_variance": True}, "noise_variance must be a number above 0, not True."),
        ({"noise_variance": float("inf")}, "noise_variance must be a number above 0, not inf."),
        ({"widths": [0]}, "widths must be a list of whole numbers above 0"),
        ({"width": [3]}, "regression has no option 'width'. Did you mean 'widths'?"),
        ({"prior": "gausian"}, "Did you mean 'gaussian'?"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        problems.build("mine", "regression", options)
    assert said in str(refused.value)
