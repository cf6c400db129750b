"""The likelihood that is meant, by name or from the targets; and targets that do not fit it, in a sentence."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vdbench.datasets import Dataset, Split
from vdbench.errors import InputError
from vdbench.problems.from_module import noisy
from vdbench.problems.likelihoods import (
    NAMES,
    Bernoulli,
    Categorical,
    CategoricalByPlace,
    GaussianNoise,
    Heteroscedastic,
    Likelihood,
    Poisson,
    choose,
)
from vdbench.problems.toys import Cost

# -- the one that is meant ------------------------------------------------------------------------------------


def data(y: Any, test: Any = None) -> Dataset:
    y = torch.as_tensor(y)
    held_out = y[:0] if test is None else torch.as_tensor(test)
    return Dataset(
        "mine", Split(torch.zeros(len(y), 2), y), Split(torch.zeros(len(held_out), 2), held_out), 0
    )


CHOSEN: dict[str, tuple[Any, tuple[int, ...], Likelihood, str]] = {
    "classes": ([0, 2, 1], (4, 3), Categorical(), "integers from 0 to 2 and outputs (M, 3)"),
    "spare classes": ([0, 2, 1], (4, 30), Categorical(), "integers from 0 to 2 and outputs (M, 30)"),
    "two classes": ([0, 1, 1], (4, 2), Categorical(), "integers from 0 to 1 and outputs (M, 2)"),
    "binary": ([0, 1, 1], (4, 1), Bernoulli(), "integers from 0 to 1 and outputs (M, 1)"),
    "binary, flat": ([0, 1, 1], (4,), Bernoulli(), "integers from 0 to 1 and outputs (M,)"),
    "binary, (M, 1)": ([[0], [1]], (4, 1), Bernoulli(), "integers from 0 to 1"),
    "numbers": ([[0.5], [2.0]], (4, 1), GaussianNoise(1.0), "targets are floats; the noise has variance 1"),
    "numbers, flat": ([0.5, 2.0], (4,), GaussianNoise(1.0), "for outputs (M,)"),
    "several numbers": ([[0.5, 1.0], [2.0, 3.0]], (4, 2), GaussianNoise(1.0), "for outputs (M, 2)"),
    "tokens": ([[0, 1, 1, 0, 2]], (4, 5, 3), CategoricalByPlace(-1), "outputs (M, 5, 3)"),
    "tokens, torch's layout": ([[0, 1, 1, 0, 2]], (4, 3, 5), CategoricalByPlace(1), "outputs (M, 3, 5)"),
    "pixels": ([[[0, 1], [1, 1]]], (4, 3, 2, 2), CategoricalByPlace(1), "outputs (M, 3, 2, 2)"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOSEN)
def test_the_obvious_one_is_chosen_and_stated(case: str) -> None:
    y, outputs, wanted, why = CHOSEN[case]
    found, said = choose(None, data(y, y), outputs)
    assert found == wanted
    assert said.startswith(f"likelihood: {wanted!r}, chosen because ")
    assert why in said


NAMED: dict[str, tuple[Any, tuple[int, ...], Likelihood]] = {
    "classification": ([0, 2, 1], (4, 3), Categorical()),
    "regression": ([[0.5], [2.0]], (4, 1), GaussianNoise(1.0)),
    "heteroscedastic": ([[0.5], [2.0]], (4, 2), Heteroscedastic()),
    "binary": ([0.0, 1.0], (4, 1), Bernoulli()),
    "poisson": ([0, 17, 3], (4, 1), Poisson()),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_gives_its_likelihood(name: str) -> None:
    y, outputs, wanted = NAMED[name]
    found, said = choose(name, data(y), outputs)
    assert found == wanted
    assert said == f"likelihood: {wanted!r}, as '{name}' is called"


def own(outputs: Tensor, targets: Tensor) -> Tensor:
    return -(outputs - targets).abs().sum(1)


def test_objects_and_callables_are_taken_as_they_are() -> None:
    y = data([[0.5], [2.0]])
    for given, called in (
        (GaussianNoise(0.1), "GaussianNoise(variance=0.1)"),
        (own, "own"),
        (Cost("cos", 1.0), "Cost"),
    ):
        found, said = choose(given, y, (4, 1))
        assert found is given
        assert said == f"likelihood: {called}, as given"


AMBIGUOUS: dict[str, tuple[Any, tuple[int, ...], str]] = {
    "counts": (
        [0, 17, 3],
        (4, 1),
        "integers from 0 to 17 and outputs (M, 1), which does not say what is meant",
    ),
    "counts, flat": ([0, 17, 3], (4,), "'poisson' (counts) or 'regression'"),
    "counts of several kinds": ([[0, 3], [2, 1]], (4, 2), "which does not say what is meant"),
    "labels or one-hot": ([[0, 1], [1, 0]], (4, 2), "which does not say what is meant"),
    "floats 0 and 1": (
        [[0.0], [1.0]],
        (4, 1),
        "may mean classes or numbers; expected likelihood='binary' or",
    ),
    "classes as floats": (
        [0.0, 2.0, 1.0],
        (4, 3),
        "whole numbers as floats, and outputs (M, 3); expected integers",
    ),
    "one-hot as floats": ([[0.0, 1.0]], (4, 2), "or y.argmax(1) where they are one-hot"),
    "classes on either axis": (
        [[0, 1, 2]],
        (4, 3, 3),
        "classes on axis 1 or on the last; expected",
    ),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_is_not_obvious_is_asked(case: str) -> None:
    y, outputs, said = AMBIGUOUS[case]
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        choose(None, data(y), outputs)
    assert str(caught.value).startswith("data 'mine': ")


NO_LIKELIHOOD: dict[str, tuple[Any, str]] = {
    "misspelt": (
        "clasification",
        "likelihood 'clasification' is unknown. Did you mean 'classification'?",
    ),
    "class": (
        Categorical,
        "likelihood=Categorical is a class; expected an object of it, Categorical(…).",
    ),
    "loss": (nn.CrossEntropyLoss(), "likelihood=CrossEntropyLoss is a loss, which is minimised"),
    "unreduced loss": (nn.MSELoss(reduction="none"), "likelihood=MSELoss is a loss"),
    "loss function": (F.cross_entropy, "likelihood=cross_entropy is a loss"),
    "number": (
        1.0,
        "likelihood=1.0 cannot be called; expected one of 'classification', 'regression'",
    ),
}


@pytest.mark.parametrize("case", NO_LIKELIHOOD)
def test_what_is_no_likelihood_is_refused(case: str) -> None:
    given, said = NO_LIKELIHOOD[case]
    with pytest.raises(InputError, match=re.escape(said)):
        choose(given, data([0, 1]), (4, 2))


# -- targets --------------------------------------------------------------------------------------------------

NAN = math.nan
BAD: dict[str, tuple[str | Likelihood | None, Any, tuple[int, ...], str]] = {
    "-100": (
        None, [0, 1, -100, -100], (4, 2),
        "targets have −100 at row 2 (2 values below 0), which is no class (−100 is torch's ignore_index); "
        "expected 0 to 1: remove these rows from the data."),
    "-1": ("classification", [-1, 1], (4, 2), "targets have −1 at row 0 (1 values below 0)"),
    "negative after too large": ("classification", [7, -100], (4, 2), "targets have −100 at row 1"),
    "class K": (None, [0, 1, 3, 2], (4, 3), "targets have class 3 at row 2, and the network has outputs for 3 classes; "
                "expected 0 to 2."),
    "classes from 1": (None, [1, 2, 3], (4, 3), "class 3 at row 2"),
    "float classes": ("classification", [0.0, 1.0], (4, 2), "targets are float32; classification needs int64 class "
                      "numbers from 0 to 1: pass y.long()."),
    "column of classes": ("classification", [[0], [1]], (4, 3), "one class number an example, (M,): pass y[:, 0]."),
    "column of classes, not named": (None, [[0], [1]], (4, 3), "(M,): pass y[:, 0]."),
    "one-hot": ("classification", [[0, 1], [1, 0]], (4, 2), "(M,): pass y.argmax(1)."),
    "one output": (
        "classification", [0, 1], (4, 1),
        "outputs have shape (M, 1); classification needs logits (M, C) of two or more classes "
        "(for one logit an example likelihood='binary')."),
    "token classes too large": ("classification", [[0, 1, 2]], (4, 3, 2), "class 2 at row 0, place (2,)"),
    "padded tokens": (None, [[0, 1, -100]], (4, 3, 2), "expected 0 to 1: give CategoricalByPlace(ignore=…), or remove"),
    "nothing but padding": (CategoricalByPlace(-1, -100), [[0, 1, 1], [-100] * 3], (4, 3, 2),
                            "targets of row 1 are all -100, so that this example is no data"),
    "tokens of other length": (CategoricalByPlace(-1), [[0, 1]], (4, 3, 2), "expected one class a place, (M, 3)."),
    "nan": (None, [[0.5], [NAN]], (4, 1), "targets have nan at row 1, place (0,); expected finite numbers"),
    "inf": ("regression", [0.5, math.inf], (4,), "targets have inf at row 1"),
    "nan for a callable": (own, [[0.5], [NAN]], (4, 1), "targets have nan at row 1"),
    "broadcast": (
        None, [0.5, 2.0], (4, 1),
        "targets have shape (M,) and the network's outputs (M, 1); regression needs equal shapes, and never "
        "broadcasts: pass y[:, None], or end the network with nn.Flatten(0)."),
    "broadcast the other way": ("regression", [[0.5], [2.0]], (4,), "never broadcasts: pass y[:, 0]."),
    "other width": ("regression", [[0.5, 1.0, 1.0]], (4, 4),
        "targets have shape (M, 3) and the network's outputs (M, 4)"),
    "mean and variance": ("regression", [[0.5], [2.0]], (4, 2),
        "needs likelihood='heteroscedastic' and targets (M, D)."),
    "mean and variance, flat": (None, [0.5, 2.0], (4, 2), "needs likelihood='heteroscedastic' and targets (M, D)."),
    "integers": ("regression", [[1], [2]], (4, 1), "targets are int64; regression needs floats: pass y.float()."),
    "heteroscedastic, flat": ("heteroscedastic", [0.5, 2.0], (4, 2),
        "never broadcasts: pass y[:, None], or end the network with nn.Flatten(0)."),
    "heteroscedastic, odd": ("heteroscedastic", [[0.5]], (4, 3), "needs (M, 2D): D means, then D log variances."),
    "heteroscedastic, nan": ("heteroscedastic", [[NAN]], (4, 2), "targets have nan at row 0"),
    "heteroscedastic, integers": ("heteroscedastic", [[1]], (4, 2), "targets are int64; heteroscedastic"),
    "binary of two": ("binary", [0, 1, 2], (4, 1),
        "targets have 2 at row 2; binary classification needs 0 and 1 alone."),
    "binary signs": ("binary", [-1, 1], (4, 1), "targets have −1 at row 0; binary"),
    "binary, half": ("binary", [0.5, 1], (4, 1), "targets have 0.5 at row 0; binary"),
    "binary, broadcast": ("binary", [[0], [1]], (4,), "pass y[:, 0]."),
    "binary, two outputs": ("binary", [0, 1], (4, 2),
        "targets have shape (M,) and the network's outputs (M, 2); binary"),
    "negative count": ("poisson", [3, -2], (4, 1), "targets have −2 at row 1; poisson needs counts 0, 1, 2, …."),
    "half a count": ("poisson", [[3.0], [2.5]], (4, 1), "targets have 2.5 at row 1, place (0,); poisson"),
    "poisson, broadcast": ("poisson", [[3], [2]], (4,), "pass y[:, 0]."),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_targets_that_do_not_fit_are_refused(case: str) -> None:
    likelihood, y, outputs, said = BAD[case]
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        choose(likelihood, data(y), outputs)
    message = str(caught.value)
    assert message.startswith("data 'mine', training: ")
    assert "\n" not in message


@pytest.mark.parametrize("place", [0, 1, 999])
def test_every_row_of_both_splits_is_looked_at(place: int) -> None:
    good = torch.arange(1000) % 3
    bad = good.clone()
    bad[place] = 3
    for kind, given in (("training", data(bad, good)), ("test", data(good, bad))):
        with pytest.raises(
            InputError, match=f"data 'mine', {kind}: targets have class 3 at row {place},"
        ):
            choose(None, given, (2, 3))


def test_a_cost_that_does_not_depend_on_the_targets_is_no_loss() -> None:
    """It is positive and falls towards the targets, which are all 0 and mean nothing to it."""
    x, y = torch.ones(8, 1), torch.zeros(8, 1)
    held = Dataset("cost", Split(x, y), Split(x[:2], y[:2]), 1)

    def cost(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:, 0].square() + 1

    assert noisy(nn.Linear(1, 1), held, likelihood=cost).layers

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets)[:, 0].square() + 1

    varied = Dataset("loss", Split(x, torch.arange(8.0)[:, None]), Split(x[:2], y[:2]), 1)
    with pytest.raises(InputError, match="as a loss does"):
        noisy(nn.Linear(1, 1), varied, likelihood=loss)
