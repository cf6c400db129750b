"""Further log-likelihoods: counts, noise that the network gives, and a class each place of an example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vdbench.errors import InputError
from vdbench.problems import targets as check


def total(each: Tensor) -> Tensor:
    """Summed over all but the examples."""
    return each if each.dim() == 1 else each.flatten(1).sum(1)


@dataclass(frozen=True)
class Poisson:
    """Counts: outputs are log rates (M, 1) or (M, D), targets counts (M,) or (M, D), integers or whole floats.

    The term −log y! is part of the value.
    """

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Log p = y·η − e^η − log y! of each example, summed over D, shape (M,); η is the log rate."""
        return self._value(outputs, outputs.exp(), targets)

    def expected(self, mean: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
        """Exactly: E[e^η] = e^(m + v/2)."""
        return self._value(mean, (mean + 0.5 * variance).exp(), targets)

    def _value(self, log_rate: Tensor, rate: Tensor, targets: Tensor) -> Tensor:
        if targets.dim() == 1 and log_rate.dim() == 2:
            log_rate, rate = log_rate.squeeze(1), rate.squeeze(1)
        y = targets.to(log_rate.dtype)
        return total(y * log_rate - rate - torch.lgamma(y + 1))

    def check_targets(self, targets: Tensor, outputs: Sequence[int]) -> None:
        """Refuse targets that are no counts, one a rate.

        Raises:
            InputError: They are not.
        """
        check.one_each(targets, outputs, "poisson")
        check.counts(targets)


@dataclass(frozen=True)
class Heteroscedastic:
    """Regression with noise that the network gives: outputs (M, 2D) are D means and then D log variances.

    Targets are (M, D). With one target an example, outputs are (M, 2): mean and log variance. The constant
    −½D·log 2π is part of the value.
    """

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Log p = −½ Σ (log 2π + s + (y − m)² e^(−s)) of each example, shape (M,)."""
        mean, log_variance = outputs.chunk(2, 1)
        return self._value(log_variance, (targets - mean).square(), -log_variance)

    def expected(self, mean: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
        """Exactly: E[(y − m)²] has the mean's variance added, and E[e^(−s)] = e^(−s + v/2)."""
        (m, s), (v_m, v_s) = mean.chunk(2, 1), variance.chunk(2, 1)
        return self._value(s, (targets - m).square() + v_m, 0.5 * v_s - s)

    def _value(self, log_variance: Tensor, square: Tensor, log_precision: Tensor) -> Tensor:
        each = math.log(2 * math.pi) + log_variance + square * log_precision.exp()
        return -0.5 * each.sum(1)

    def check_targets(self, targets: Tensor, outputs: Sequence[int]) -> None:
        """Refuse targets that are not finite floats (N, D) for outputs (M, 2D).

        Raises:
            InputError: They are not.
        """
        if len(outputs) != 2 or outputs[1] % 2:
            raise InputError(
                f"the network's outputs have shape {check.examples(outputs)}; heteroscedastic regression needs "
                "(M, 2D): D means, then D log variances."
            )
        check.same_shape(targets, (outputs[0], outputs[1] // 2), "heteroscedastic regression")
        check.floats(targets, "heteroscedastic regression")
        check.finite(targets)


@dataclass(frozen=True)
class CategoricalByPlace:
    """A class each place of an example, such as each token or pixel; summed over places.

    Attributes:
        axis: Of the outputs, where the classes are: 1 for (M, C, …), torch's layout; −1 for (M, …, C).
        ignore: Class number of places that are no part of the data, such as −100 for padding: they add nothing.
            None for none.
    """

    axis: int = 1
    ignore: int | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """−cross entropy, summed over the places of each example, shape (M,)."""
        logits = outputs.movedim(self.axis, 1)
        index = -100 if self.ignore is None else self.ignore
        each = F.cross_entropy(logits, targets, reduction="none", ignore_index=index)
        return -each.flatten(1).sum(1)

    def check_targets(self, targets: Tensor, outputs: Sequence[int]) -> None:
        """Refuse targets that are no class numbers, one a place, or examples of which every place is ignored.

        Raises:
            InputError: They are, or there are.
        """
        rest = list(outputs)
        count = rest.pop(self.axis)
        if len(outputs) < 3 or tuple(targets.shape[1:]) != tuple(rest[1:]):
            raise InputError(
                f"targets have shape {check.examples(targets.shape)} and the network's outputs "
                f"{check.examples(outputs)}, with classes on axis {self.axis}; expected one class a place, "
                f"{check.examples(rest)}."
            )
        remedy = "give CategoricalByPlace(ignore=…), or remove these examples"
        check.classes(targets, count, self.ignore, remedy)
        empty = (targets == self.ignore).flatten(1).all(1) if self.ignore is not None else None
        if empty is not None and bool(empty.any()):
            raise InputError(
                f"targets of row {int(empty.nonzero()[0])} are all {self.ignore}, so that this example is no data; "
                "expected one class or more: remove it from the data."
            )
