"""The stop of a training at the first step whose numbers are not finite, with the step and the cause."""

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


@dataclass
class Watch:
    """Notes of each step the value, the KL and the largest component of each parameter's gradient.

    Attributes:
        who: What is trained with, for messages.
        rate: Learning rate, for messages.
    """

    who: str
    rate: float
    _rows: list[Tensor] = field(default_factory=list)
    _first: int = 0
    _sums: list[float] = field(default_factory=lambda: [0.0] * 4)

    def note(
        self, step: int, value: Tensor, kl: Tensor | None, gradients: Mapping[str, Tensor]
    ) -> None:
        """Look at a step; the parameters have taken it already.

        Args:
            step: Its number.
            value: Of the likelihood part, a scalar.
            kl: A scalar; None where it has no weight.
            gradients: Of what the optimizer descends, by parameter.

        Raises:
            CellError: Something of this step, or on a GPU of one shortly before it, is not finite.
        """
        if not self._rows:
            self._first = step
        largest = torch._foreach_norm(list(gradients.values()), math.inf)
        dtype = largest[0].dtype
        given = value.new_zeros(()) if kl is None else kl
        scalars = [x.detach().reshape(()).to(dtype) for x in (value, given)]
        self._rows.append(torch.stack([*scalars, *largest]))
        self._sums[1] += 1
        self._sums[3] += kl is not None
        if value.device.type == "cpu" or len(self._rows) >= EVERY:
            self.look(list(gradients))

    def look(self, names: list[str]) -> None:
        """Look at the steps noted since the last look.

        Args:
            names: Of the parameters.

        Raises:
            CellError: Something is not finite in one of them.
        """
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        noted = torch.stack(rows)
        table = noted.isfinite()
        if bool(table.all()):
            fit, kl = noted[:, :2].double().sum(0).tolist()
            self._sums[0] += fit
            self._sums[2] += kl
            return
        place = int((~table.all(1)).nonzero()[0])
        fine = table[place].tolist()
        raise self._error(f"at step {self._first + place}", fine[0], fine[1], fine[2:], names)

    def _error(
        self, when: str, value: bool, kl: bool, gradients: list[bool], names: list[str]
    ) -> CellError:
        broken = [name for name, fine in zip(names, gradients, strict=True) if not fine]
        where = f"the gradient of parameter '{broken[0]}'" if broken else ""
        if not value:
            cause = "the value of the likelihood"
        elif not kl:
            cause = "the KL"
        else:
            cause, where = where, ""
        more = f", and with it {where}" if where else ""
        return self.error(when, f"{cause} is not finite{more}")

    def averages(self) -> Averages:
        """Means over the steps looked at since this was last asked for."""
        fit, steps, kl, weighted = self._sums
        self._sums = [0.0] * 4
        return Averages(fit / steps if steps else math.nan, kl / weighted if weighted else math.nan)

    def parameters(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Look at the parameters themselves after so many steps.

        Raises:
            CellError: One is not finite.
        """
        self.look(list(values))
        broken = [name for name, value in values.items() if not bool(value.isfinite().all())]
        if broken:
            raise self.error(f"before step {step}", f"parameter '{broken[0]}' is not finite")

    def error(self, when: str, cause: str) -> CellError:
        """The error, in one sentence."""
        return CellError(
            f"training with {self.who} diverged {when}: {cause}; lower the learning rate ({self.rate})."
        )
