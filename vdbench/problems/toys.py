"""Problems small enough for their variances to be known: toy costs of one weight, and Bayesian logistic regression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vdbench import datasets
from vdbench.datasets import Dataset, Split
from vdbench.errors import InputError, nearest
from vdbench.problems import gaussian, priors
from vdbench.problems.from_module import noisy
from vdbench.problems.likelihoods import Bernoulli
from vdbench.problems.problem import Problem

COSTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "quadratic": lambda w, k: (w - k).square(),
    "exp": lambda w, k: torch.exp(-k * w.square()),
    "cos": lambda w, k: torch.cos(k * w),
}
"""The costs of Mohamed, Rosca, Figurnov & Mnih 2020, section 3: (w − k)², exp(−kw²), cos(kw)."""


@dataclass(frozen=True)
class Cost:
    """A cost of the output alone, as a log-likelihood: −cost, without any constant.

    Attributes:
        cost: One of `COSTS`.
        k: Its parameter.
    """

    cost: str
    k: float

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """−cost of each example's output (M, 1), shape (M,)."""
        return -COSTS[self.cost](outputs, self.k).flatten(1).sum(1)


MANY: dict[str, Callable[[Tensor], Tensor]] = {
    "largest": lambda w: SHARP * torch.logsumexp(w / SHARP, -1),
    "square-of-sum": lambda w: w.sum(-1).square() / (2 * w.shape[-1]),
}
"""Costs of d weights: the largest of them (smooth, so that its gradient is nearly all in one weight), (Σw)²/2d."""

SHARP = 0.01
"""Width of the region in which two weights count as equally large."""


@dataclass(frozen=True)
class CostOfMany:
    """A cost of d outputs, as a log-likelihood: −cost, without any constant.

    Attributes:
        cost: One of `MANY`.
    """

    cost: str

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """−cost of each example's outputs (M, d), shape (M,)."""
        return -MANY[self.cost](outputs)


def toy_dimension(cost: str = "largest", d: int = 16, sigma: float = 2.0) -> Problem:
    """The weights w_1 … w_d ~ N(0, sigma²) with a cost of all of them; one example, N = M = 1.

    Args:
        cost: ``largest`` (their maximum) or ``square-of-sum`` ((Σw)²/2d); the log-likelihood is −cost.
        d: How many weights.
        sigma: Standard deviation of q; at 2 the gradient in log σ² is that in σ.

    Raises:
        InputError: A value is not one there is.
    """
    if cost not in MANY:
        raise InputError(f"toy-dimension has no cost '{cost}'.{nearest(str(cost), MANY)}")
    if isinstance(d, bool) or not isinstance(d, int) or not 2 <= d <= 10**6:
        raise InputError(f"toy-dimension: d must be a number from 2 to 1,000,000, not {d!r}.")
    split = Split(torch.ones(1, 1), torch.zeros(1, 1))
    body = nn.Linear(1, d, bias=False)
    with torch.no_grad():
        body.weight.zero_()
    return noisy(
        body,
        Dataset(f"toy-{cost}", split, split, 0),
        name=f"toy-{cost}-{d}",
        likelihood=CostOfMany(cost),
        prior=priors.NoPrior(),
        parameterization=gaussian.MeanLogVariance(sigma=sigma),
    )


def toy_cost(
    cost: str = "quadratic",
    k: float = 1.0,
    mean: float = 1.0,
    sigma: float = 1.0,
    prior: object = "none",
) -> Problem:
    """One weight w ~ N(mean, sigma²) with the cost (w − k)², exp(−kw²) or cos(kw); one example, N = M = 1.

    Args:
        cost: ``quadratic``, ``exp`` or ``cos``; the log-likelihood is −cost.
        k: The cost's parameter.
        mean: Mean of q.
        sigma: Standard deviation of q; the coordinates are (μ, log σ²), in which ∂/∂log σ² = ½σ·∂/∂σ.
        prior: The prior, as `vdbench.problems.classification` has it.

    Raises:
        InputError: A value is not one there is.
    """
    if cost not in COSTS:
        raise InputError(f"toy-cost has no cost '{cost}'.{nearest(str(cost), COSTS)}")
    for name, value in (("k", k), ("mean", mean)):
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise InputError(f"toy-cost: {name} must be a number, not {value!r}.")
    form = gaussian.MeanLogVariance(sigma=sigma)
    split = Split(torch.ones(1, 1), torch.zeros(1, 1))
    body = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        body.weight.fill_(float(mean))
    return noisy(
        body,
        Dataset(f"toy-{cost}", split, split, 0),
        name=f"toy-{cost}",
        likelihood=Cost(cost, float(k)),
        prior=priors.from_spec(prior),
        parameterization=form,
    )


def logistic_regression(
    dataset: str = "breast-cancer",
    parameterization: object = "mean-log_variance",
    prior: object = "gaussian",
) -> Problem:
    """Bayesian logistic regression: one noisy layer with one output, the logit of class 1.

    Args:
        dataset: A data set of two classes.
        parameterization: The posterior, as `vdbench.problems.classification` has it.
        prior: The prior, likewise.

    Raises:
        InputError: A value is not one there is, or the data set has not two classes.
    """
    if not isinstance(dataset, str):
        raise InputError(f"dataset must be a name, not {dataset!r}.{nearest('', datasets.names())}")
    classes = datasets.info(dataset).classes
    if classes != 2:
        raise InputError(
            f"data set '{dataset}' has {classes} classes; logistic-regression needs one of two, such as "
            "'breast-cancer'."
        )
    data = datasets.load(dataset)
    with torch.random.fork_rng(devices=[]):  # torch draws weights here that are never used
        body = nn.Linear(int(data.train.inputs[0].numel()), 1)
    return noisy(
        body,
        data,
        name=f"{dataset}-logistic",
        likelihood=Bernoulli(),
        prior=priors.from_spec(prior),
        parameterization=gaussian.from_spec(parameterization),
        keep_weights=False,
    )
