"""Which estimators refuse which families of noise, and what they name in their place."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from noise_families import REFERENCES
from oracles import network
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError
from vdbench.estimation.draws import gather, trace
from vdbench.estimation.options import get
from vdbench.noise import Key, stream
from vdbench.problems import priors
from vdbench.problems.from_module import noisy
from vdbench.problems.problem import Batch, Problem

KEY = Key(("noise families",))
CORRELATED = ("matrix-normal", "low-rank-plus-diagonal")


def place(family: str) -> tuple[Problem, dict[str, Tensor], Batch]:
    made, parameters = network(REFERENCES[family].form, 12, priors.NoPrior())
    return made, parameters, gather(made, np.arange(5))


REFUSED = {
    (
        "local",
        "uniform",
    ): "weights whose pre-activations are normal, and the posterior 'uniform' of problem 'module' "
    "has uniform noise; expected an estimator that is valid for it: flipout, grouped, naive, per-example.",
    (
        "local",
        "radial",
    ): "weights whose pre-activations are normal, and the posterior 'radial' of problem 'module' "
    "has radial noise; expected an estimator that is valid for it: flipout, grouped, naive, per-example.",
    (
        "flipout",
        "matrix-normal",
    ): "noise that keeps its law when inputs and outputs change sign, and the posterior "
    "'matrix-normal' of problem 'module' has correlated weights; expected an estimator that is valid for it: grouped, "
    "local, naive, per-example.",
    (
        "flipout",
        "low-rank-plus-diagonal",
    ): "noise that keeps its law when inputs and outputs change sign, and the "
    "posterior 'low-rank-plus-diagonal' of problem 'module' has correlated weights; expected an estimator that is "
    "valid for it: grouped, local, naive, per-example.",
    (
        "score",
        "truncated-normal",
    ): "independent normal weights, and the posterior 'truncated-normal' of problem "
    "'module' has truncated-normal noise; expected an estimator that is valid for it: flipout, grouped, naive, "
    "per-example.",
}


@pytest.mark.parametrize(("name", "family"), REFUSED)
def test_what_is_not_valid_is_refused(name: str, family: str) -> None:
    message = f"estimator '{name}' is derived for {REFUSED[name, family]}"
    with pytest.raises(CellError, match=re.escape(message)):
        trace(get(name), *place(family))


@pytest.mark.parametrize("family", CORRELATED)
def test_pre_activations_of_correlated_weights_are_of_dense_layers(family: str) -> None:
    """A convolution's weights are sampled; so are those of a dense layer along a sequence, but for fast dropout."""
    form, noise = REFERENCES[family].form, stream(KEY, dtype=torch.float64)
    body = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 2)).double()
    rows = nn.Sequential(nn.Linear(3, 2), nn.Flatten(), nn.Linear(6, 2)).double()
    for network_, shape, refused in (
        (body, (1, 3, 3), "local fast-dropout"),
        (rows, (3, 3), "local"),
    ):
        inputs = noise(str(shape), (6, *shape))
        split = Split(inputs, torch.arange(6) % 2)
        data = Dataset("tiny", split, split, 2)
        made = noisy(network_, data, parameterization=form, prior=priors.NoPrior())
        at = made, dict(made.start), Batch(*split)
        for name in ("local", "fast-dropout"):
            if name not in refused.split():
                assert trace(get(name), *at).requests
                continue
            once = " that an example meets once" if name == "local" else ""
            message = (
                f"estimator '{name}' knows the pre-activations of correlated weights of dense layers{once}, "
                f"and layer '0' is not one in problem 'module' with the posterior '{family}'; expected an "
                "estimator that samples weights: grouped, naive, per-example."
            )
            with pytest.raises(CellError, match=re.escape(message)):
                trace(get(name), *at)
        for name in ("naive", "per-example", "grouped"):
            g = get(name)(*at, noise)
            assert all(bool(torch.isfinite(v).all()) for v in g.gradients.values())


@pytest.mark.parametrize("family", ["uniform", *CORRELATED])
def test_control_variates_refuse_what_is_not_normal(family: str) -> None:
    message = f"the posterior '{family}' of problem 'module' has"
    with pytest.raises(CellError, match=re.escape(message)):
        get("control-variate", of="naive")(*place(family), stream(KEY, dtype=torch.float64))
