"""A network with noisy layers and one output, on the ten measurements of diabetes patients that scikit-learn has."""

from __future__ import annotations

import math

import torch

from vdbench.datasets import Dataset, Split
from vdbench.datasets.bundled import read_diabetes
from vdbench.errors import InputError
from vdbench.problems import gaussian, networks, priors
from vdbench.problems.from_module import noisy
from vdbench.problems.likelihoods import GaussianNoise
from vdbench.problems.problem import Problem


def regression(
    widths: list[int] | tuple[int, ...] = (32,),
    noise_variance: float = 0.5,
    parameterization: object = "mean-log_variance",
    prior: object = "gaussian",
) -> Problem:
    """A network with noisy dense layers and one output: the progression of diabetes after a year.

    354 patients are for training and 88 for testing, always the same. The ten measurements and the target are
    standardised by the training part.

    Args:
        widths: Units of the hidden layers, with ReLU; none for linear regression.
        noise_variance: Of the normal likelihood, in units of the target's variance. About half of that variance can be
            predicted.
        parameterization: The posterior, as `vdbench.problems.classification` has it.
        prior: The prior, likewise.

    Raises:
        InputError: A value is not one there is.
    """
    valid = isinstance(noise_variance, int | float) and not isinstance(noise_variance, bool)
    if not (valid and 0 < noise_variance < math.inf):
        raise InputError(f"noise_variance must be a number above 0, not {noise_variance!r}.")
    inputs, targets, test_inputs, test_targets = map(torch.from_numpy, read_diabetes())
    # the network has as many outputs as the data set has classes: one
    body = networks.mlp(
        Dataset("diabetes", Split(inputs, targets), Split(inputs, targets), 1), widths
    )
    data = Dataset("diabetes", Split(inputs, targets), Split(test_inputs, test_targets), 0)
    return noisy(
        body,
        data,
        name="-".join(map(str, ("diabetes", inputs.shape[1], *widths, 1))),
        likelihood=GaussianNoise(float(noise_variance)),
        prior=priors.from_spec(prior),
        parameterization=gaussian.from_spec(parameterization),
        keep_weights=False,
    )
