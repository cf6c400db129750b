"""The stop of a training at the first step whose numbers are not finite, with the step and the cause.

Looked at are the value of the likelihood and the KL of every step, two scalars: a gradient that is lost breaks its
parameter, which breaks one of them in the next step, while the optimizer still holds the gradient that did it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from vdbench.errors import CellError

EVERY = 50
"""Steps between two looks on a GPU, whose queue of work each look empties; on a CPU every step is looked at."""


class Averages(NamedTuple):
    """Means over training steps, in nats; NaN without steps.

    Attributes:
        log_likelihood: Of the estimated log-likelihood of the training set.
        kl: Of the KL, over the steps in which it had a weight.
    """

    log_likelihood: float
    kl: float


class Noted(NamedTuple):
    """A step: its value and KL (None where it has no weight), with the gradients of each."""

    step: int
    value: Tensor
    kl: Tensor | None
    gradients: Mapping[str, Tensor]
    slopes: Mapping[str, Tensor]


@dataclass
class Watch:
    """Notes each step's value and KL.

    Attributes:
        who: What is trained with, for messages.
        rate: Learning rate, for messages.
        leaves: The trained parameters, each with the gradient that its last step descended.
    """

    who: str
    rate: float
    leaves: Mapping[str, Tensor]
    _rows: list[Noted] = field(default_factory=list)
    _values: list[float] = field(default_factory=list)
    _kls: list[float] = field(default_factory=list)

    def note(self, noted: Noted) -> None:
        """Look at a step that has not been taken yet.

        Raises:
            CellError: Something of this step, or on a GPU of one shortly before it, is not finite.
        """
        alone = noted.value.device.type == "cpu"
        # the gradients of many steps are not held for a message
        self._rows.append(noted if alone else noted._replace(gradients={}, slopes={}))
        if alone or len(self._rows) >= EVERY:
            self.look()

    def look(self) -> None:
        """Look at the steps noted since the last look.

        Raises:
            CellError: Something is not finite in one of them.
        """
        rows, self._rows = self._rows, []
        for place, row in enumerate(rows):
            value = float(row.value)
            kl = 0.0 if row.kl is None else float(row.kl)
            if not (math.isfinite(value) and math.isfinite(kl)):
                raise self._error(row, last=place == len(rows) - 1)
            self._values.append(value)
            self._kls += [] if row.kl is None else [kl]

    def _error(self, row: Noted, last: bool) -> CellError:
        """What broke a step: the step before it, if that can still be seen, or itself."""
        if last:
            self.parameters(row.step)
        fine = math.isfinite(float(row.value))
        cause = "the KL" if fine else "the value of the likelihood"
        broken = _first(row.slopes if fine else row.gradients)
        more = f", and with it the gradient of parameter '{broken}'" if broken else ""
        return self._diverged(f"at step {row.step}", f"{cause} is not finite{more}")

    def averages(self) -> Averages:
        """Means over the steps looked at since this was last asked for."""
        found = Averages(_mean(self._values), _mean(self._kls))
        self._values, self._kls = [], []
        return found

    def parameters(self, step: int) -> None:
        """Look at the parameters themselves after so many steps.

        Raises:
            CellError: One is not finite.
        """
        broken = _first(self.leaves)
        if not broken:
            return
        slopes = {name: leaf.grad for name, leaf in self.leaves.items() if leaf.grad is not None}
        cause = _first(slopes)
        if cause:
            raise self._diverged(
                f"at step {step - 1}", f"the gradient of parameter '{cause}' is not finite"
            )
        raise self._diverged(f"before step {step}", f"parameter '{broken}' is not finite")

    def _diverged(self, when: str, cause: str) -> CellError:
        return CellError(
            f"training with {self.who} diverged {when}: {cause}; lower the learning rate ({self.rate})."
        )


def _first(tensors: Mapping[str, Tensor]) -> str:
    """Name of the first tensor that is not finite; empty where all are."""
    return next((n for n, t in tensors.items() if not bool(torch.isfinite(t).all())), "")


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
