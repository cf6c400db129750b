"""Log-likelihoods: one value an example, shape (M,); each can check all targets of a data set."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn

from vdbench.datasets import Dataset
from vdbench.errors import InputError, nearest
from vdbench.problems import targets as check
from vdbench.problems.further_likelihoods import CategoricalByPlace as CategoricalByPlace
from vdbench.problems.further_likelihoods import Heteroscedastic as Heteroscedastic
from vdbench.problems.further_likelihoods import Poisson as Poisson
from vdbench.problems.further_likelihoods import total


class Likelihood(Protocol):
    """log p(target | output), one value an example."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Values of shape (M,) in nats for outputs (M, …) and targets (M, …)."""
        ...


@runtime_checkable
class Checks(Protocol):
    """A likelihood that knows which targets it is defined for."""

    def check_targets(self, targets: Tensor, outputs: Sequence[int]) -> None:
        """Refuse targets (N, …) that do not fit outputs of shape (M, …), whatever M is, with an `InputError`."""
        ...


@runtime_checkable
class Expected(Protocol):
    """A likelihood that knows its expectation under independent normal outputs, exactly or nearly."""

    def expected(self, mean: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
        """E[log p(target | output)] of each example, shape (M,), for outputs N(mean, variance), each (M, …)."""
        ...


@runtime_checkable
class ExpectedJointly(Protocol):
    """A likelihood that knows its expectation under jointly normal outputs, exactly or nearly."""

    def expected_jointly(self, mean: Tensor, covariance: Tensor, targets: Tensor) -> Tensor:
        """E[log p(target | output)] of each example, shape (M,), for outputs of mean (M, C), covariance (M, C, C)."""
        ...


@dataclass(frozen=True)
class Categorical:
    """Softmax classification: outputs are logits (M, C), targets class indices (M,)."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """−cross entropy of each example, shape (M,)."""
        return -F.cross_entropy(outputs, targets, reduction="none")

    def expected(self, mean: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
        """Second-order expansion about the mean, log p_y(m) − ½ Σ_k p_k(1 − p_k) v_k (Braun & McAuliffe 2010)."""
        p = mean.softmax(1)
        return self(mean, targets) - 0.5 * (p * (1 - p) * variance).sum(1)

    def expected_jointly(self, mean: Tensor, covariance: Tensor, targets: Tensor) -> Tensor:
        """Second-order expansion about the mean, log p_y(m) − ½ (Σ_k p_k V_kk − pᵀVp)."""
        p = mean.softmax(1)
        own = (p * covariance.diagonal(dim1=1, dim2=2)).sum(1)
        joint = (p[:, :, None] * covariance * p[:, None, :]).sum((1, 2))
        return self(mean, targets) - 0.5 * (own - joint)

    def check_targets(self, targets: Tensor, outputs: Sequence[int]) -> None:
        """Refuse targets that are no class indices (N,) from 0 to C − 1.

        Raises:
            InputError: They are not, or outputs are no (M, C) with C of 2 or more.
        """
        if len(outputs) != 2 or outputs[1] < 2:
            hint = (
                "for one logit an example likelihood='binary'"
                if math.prod(outputs[1:]) == 1
                else "for a class each place CategoricalByPlace of vdbench.problems.likelihoods"
            )
            raise InputError(
                f"the network's outputs have shape {check.examples(outputs)}; classification needs logits (M, C) of "
                f"two or more classes ({hint})."
            )
        if targets.dim() != 1:
            fixes = {True: "y.argmax(1)", False: "y[:, 0]"}
            one_hot = tuple(targets.shape[1:]) == tuple(outputs[1:])
            end = f": pass {fixes[one_hot]}" if targets.dim() == 2 else ""
            raise InputError(
                f"targets have shape {check.examples(targets.shape)}; classification needs one class number an "
                f"example, (M,){end}."
            )
        check.classes(targets, outputs[1])


@dataclass(frozen=True)
class GaussianNoise:
    """Regression with known noise: outputs and targets (M, D) or (M,), variance of the noise in units of target².

    The constant −½D·log(2π·variance) is part of the value: it shifts a score-function estimator's variance,
    so it is stated here and never dropped silently.
    """

    variance: float = 1.0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Log-density of each example, summed over D, shape (M,)."""
        constant = math.log(2 * math.pi * self.variance)
        residual = (outputs - targets).square() / self.variance
        return total(-0.5 * (residual + constant))

    def expected(self, mean: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
        """Exactly: each residual's square has its variance added to it."""
        return self(mean, targets) - 0.5 * total(variance / self.variance)

    def expected_jointly(self, mean: Tensor, covariance: Tensor, targets: Tensor) -> Tensor:
        """Exactly; covariances play no part."""
        return self.expected(mean, covariance.diagonal(dim1=1, dim2=2), targets)

    def check_targets(self, targets: Tensor, outputs: Sequence[int]) -> None:
        """Refuse targets that are not finite floats of the outputs' shape.

        Raises:
            InputError: They are not.
        """
        if len(outputs) == 2 and outputs[1] == 2 * targets[:1].numel() and targets.dim() < 3:
            raise InputError(
                f"targets have shape {check.examples(targets.shape)} and the network's outputs "
                f"{check.examples(outputs)}; regression needs equal shapes, and a network that gives mean and log "
                "variance needs likelihood='heteroscedastic' and targets (M, D)."
            )
        check.same_shape(targets, outputs, "regression")
        check.floats(targets, "regression")
        check.finite(targets)


@dataclass(frozen=True)
class Bernoulli:
    """Binary classification: outputs are logits of class 1, (M, 1), targets class numbers 0 and 1, (M,).

    Logits (M,) will do as well, and for several labels an example logits and targets of one shape (M, L).
    """

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Log-probability of each example's class, shape (M,): log s(±logit), s the logistic function."""
        logits = outputs.squeeze(1) if outputs.dim() == 2 and targets.dim() == 1 else outputs
        sign = 2.0 * targets - 1
        return total(F.logsigmoid(logits * sign.to(outputs.dtype)))

    def check_targets(self, targets: Tensor, outputs: Sequence[int]) -> None:
        """Refuse targets that are not 0 and 1, one a logit.

        Raises:
            InputError: They are not.
        """
        check.one_each(targets, outputs, "binary classification")
        check.zeros_and_ones(targets)


# -- by name, or from the targets -----------------------------------------------------------------------------

NAMES = ("classification", "regression", "heteroscedastic", "binary", "poisson")
"""Likelihoods by name."""


def choose(
    likelihood: Likelihood | Callable[[Tensor, Tensor], Tensor] | str | None,
    dataset: Dataset,
    outputs: Sequence[int],
) -> tuple[Likelihood, str]:
    """A likelihood by name or from the targets, with all targets of a data set checked against it.

    Args:
        likelihood: One of `NAMES`, a likelihood, any callable ``(outputs, targets) -> (M,)``; None for what the targets
            say, where that is obvious.
        dataset: Training and test targets.
        outputs: Shape of the network's outputs, (M, …), of any number M of examples.

    Returns:
        The likelihood, and a sentence that states it, with the reason where it was chosen here.

    Raises:
        InputError: No likelihood has the name, it is a loss, the targets do not say which one is meant, or a target
            does not fit it.

    Example:
        >>> from vdbench import datasets
        >>> from vdbench.problems.likelihoods import choose
        >>> likelihood, said = choose(None, datasets.load("digits"), (2, 10))
        >>> said
        'likelihood: Categorical(), chosen because targets are integers from 0 to 9 and outputs (M, 10)'
    """
    outputs = tuple(outputs)
    if likelihood is None:
        found, why = _from_targets(dataset, outputs)
        said = f"chosen because {why}"
    elif isinstance(likelihood, str):
        found, said = _named(likelihood, dataset, outputs), f"as {likelihood!r} is called"
    else:
        found, said = _given(likelihood), "as given"
    check_data(found, dataset, outputs)
    return found, f"likelihood: {_called(found)}, {said}"


def check_data(likelihood: Likelihood, dataset: Dataset, outputs: Sequence[int]) -> None:
    """Check all targets of training and test split against a likelihood.

    Args:
        likelihood: One that has ``check_targets``; of any other, only that targets are finite.
        dataset: The targets.
        outputs: Shape of the network's outputs, (M, …).

    Raises:
        InputError: A target does not fit; says which split and row.
    """
    for kind, split in (("training", dataset.train), ("test", dataset.test)):
        if not len(split.targets):
            continue
        try:
            if isinstance(likelihood, Checks):
                likelihood.check_targets(split.targets, tuple(outputs))
            else:
                check.finite(split.targets)
        except InputError as error:
            raise InputError(f"data '{dataset.name}', {kind}: {error}") from error


def _called(likelihood: Likelihood) -> str:
    name = getattr(likelihood, "__qualname__", None)
    return (
        str(name)
        if name
        else repr(likelihood)
        if isinstance(likelihood, Checks)
        else type(likelihood).__name__
    )


def _given(likelihood: Any) -> Likelihood:
    """A likelihood as it is; what is surely none is refused."""
    name = getattr(likelihood, "__name__", type(likelihood).__name__)
    if inspect.isclass(likelihood):
        raise InputError(f"likelihood={name} is a class; expected an object of it, {name}(…).")
    if not callable(likelihood):
        raise InputError(
            f"likelihood={likelihood!r} cannot be called; expected one of {', '.join(map(repr, NAMES))} or a callable "
            "(outputs, targets) -> (M,)."
        )
    of_torch = getattr(likelihood, "__module__", None) in (F.__name__, "torch._C._nn")
    if isinstance(likelihood, nn.modules.loss._Loss) or of_torch:
        raise InputError(
            f"likelihood={name} is a loss, which is minimised; expected a log-likelihood of each example, (M,): one of "
            f"{', '.join(map(repr, NAMES))}, or minus the loss with reduction='none'."
        )
    found: Likelihood = likelihood
    return found


def _named(name: str, dataset: Dataset, outputs: Sequence[int]) -> Likelihood:
    """The likelihood of a name, in the layout of outputs and targets."""
    if name == "classification":
        return _by_place(dataset, outputs) if len(outputs) > 2 else Categorical()
    known: dict[str, Likelihood] = {
        "regression": GaussianNoise(),
        "heteroscedastic": Heteroscedastic(),
        "binary": Bernoulli(),
        "poisson": Poisson(),
    }
    if name not in known:
        raise InputError(f"likelihood '{name}' is unknown.{nearest(name, NAMES)}")
    return known[name]


def _by_place(dataset: Dataset, outputs: Sequence[int]) -> CategoricalByPlace:
    """A class each place, with the classes on the axis that the targets have not."""
    places = tuple(dataset.train.targets.shape[1:])
    first, last = tuple(outputs[2:]) == places, tuple(outputs[1:-1]) == places
    if first and last:
        raise InputError(
            f"data '{dataset.name}': the network's outputs {check.examples(outputs)} have their classes on axis 1 or "
            "on the last; expected likelihood=CategoricalByPlace(1) or CategoricalByPlace(-1)."
        )
    return CategoricalByPlace(-1 if last else 1)


def _from_targets(dataset: Dataset, outputs: Sequence[int]) -> tuple[Likelihood, str]:
    """What the training targets say, with the reason."""
    y, where = dataset.train.targets, f"data '{dataset.name}'"
    single = math.prod(outputs[1:]) == 1
    pair = bool(((y == 0) | (y == 1)).all())
    shape = check.examples(outputs)
    if y.is_floating_point():
        if pair:
            raise InputError(
                f"{where}: targets are floats that are all 0 or 1, which may mean classes or numbers; expected "
                "likelihood='binary' or likelihood='regression', or y.argmax(1) where they are one-hot."
            )
        if y.dim() == 1 and len(outputs) == 2 and not single and bool((y == y.round()).all()):
            raise InputError(
                f"{where}: targets are whole numbers as floats, and outputs {shape}; expected integers for a "
                "classification, y.long(), or floats of the outputs' shape for a regression."
            )
        shares = y.dim() == 2 and y.shape[1] > 1 and bool((y >= 0).all())
        if shares and bool(((y.sum(1) - 1).abs() < 1e-4).all()):
            raise InputError(
                f"{where}: the rows of the targets are shares that add up to 1, which may mean soft labels or numbers; "
                "expected likelihood='regression', or a function of outputs and targets that gives (M,)."
            )
        return GaussianNoise(), f"targets are floats; the noise has variance 1 for outputs {shape}"
    why = f"targets are integers from {int(y.min())} to {int(y.max())} and outputs {shape}"
    if single and pair:
        return Bernoulli(), why
    if len(outputs) == 2 and not single and y.numel() == len(y):
        return Categorical(), why
    if len(outputs) > 2 and y.dim() == len(outputs) - 1:
        return _by_place(dataset, outputs), why
    raise InputError(
        f"{where}: {why}, which does not say what is meant; expected likelihood='classification' (with an output a "
        "class), 'binary', 'poisson' (counts) or 'regression' (with y.float() of the outputs' shape)."
    )
