"""What a cell is: one estimator on one problem at one checkpoint with one batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad

from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import Trace, gather, minibatch, trace
from vdbench.noise import Key
from vdbench.problems.problem import Batch, Group, Problem


@dataclass(frozen=True)
class Context:
    """Where an estimator is measured.

    Attributes:
        problem: On its device, in its precision.
        parameters: At which gradients are taken.
        estimator: What is measured.
        label: How reports call it.
        batch_size: M.
        key: Address of the cell's noise, shared by all estimators under comparison.
        address: What blocks of this cell are named by.
        objective: ``likelihood``, or ``elbo`` to add the gradient of −KL.
        state: What the estimator was fitted to.
        together: Draws in one vectorised call as an earlier run fixed it; None to follow from the shapes.
        examples: Only the first so many examples of each minibatch are used; None for all M.
    """

    problem: Problem
    parameters: Mapping[str, Tensor]
    estimator: Estimator
    label: str
    batch_size: int
    key: Key
    address: Mapping[str, Any]
    objective: str = "likelihood"
    state: Any = ()
    together: int | None = None
    examples: int | None = None

    def at(self, *parts: str | int) -> Context:
        """The same place with its noise one or more levels below: each measure draws its own."""
        key = self.key
        for part in parts:
            key = key / part
        made = replace(self, key=key, together=self.traced.together)
        _ = self.shared
        # what follows from the place is the same below it
        known = ("traced", "divergence", "members", "sizes", "shared")
        made.__dict__.update({name: self.__dict__[name] for name in known if name in self.__dict__})
        return made

    @cached_property
    def traced(self) -> Trace:
        """One draw's noise, and how many draws are taken together."""
        batch = self.batch(self.key / "trace")
        found = trace(self.estimator, self.problem, self.parameters, batch, self.state)
        return found if self.together is None else Trace(found.requests, self.together)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What a measure prepares once for this place and all addresses below it, by a name of its own."""
        return {}

    @cached_property
    def divergence(self) -> dict[str, Tensor]:
        """Gradient of −KL in the free parameters if the objective is the ELBO, else nothing."""
        if self.objective == "likelihood":
            return {}
        free = self.problem.free(self.parameters)
        slope = grad(lambda at: self.problem.kl({**self.parameters, **at}))(free)
        return {name: -value for name, value in slope.items()}

    def batch(self, key: Key) -> Batch:
        """The minibatch addressed by ``key``."""
        return gather(self.problem, self._indices(key))

    def batches(self, keys: list[Key]) -> Batch:
        """The minibatches addressed by the keys, stacked: inputs (K, M, …)."""
        return gather(self.problem, np.stack([self._indices(key) for key in keys]))

    def _indices(self, key: Key) -> np.ndarray[Any, np.dtype[np.int64]]:
        # in random order, so that its first examples are a random part of a minibatch
        return minibatch(self.problem, self.batch_size, key)[: self.examples]

    @cached_property
    def members(self) -> dict[Group, list[str]]:
        """Free parameters by layer and role, in order."""
        found: dict[Group, list[str]] = {}
        for name in self.problem.free(self.parameters):
            found.setdefault(self.problem.groups[name], []).append(name)
        return found

    @cached_property
    def sizes(self) -> dict[Group, int]:
        """How many parameters each layer and role has."""
        return {
            group: sum(self.parameters[name].numel() for name in names)
            for group, names in self.members.items()
        }

    def mean(self, product: Mapping[str, Tensor]) -> dict[Group, np.ndarray[Any, Any]]:
        """Average over the parameters of each layer and role.

        Args:
            product: By parameter, shape (U, …), one value a unit and parameter.

        Returns:
            Shape (U,) for each group, summed in float64.
        """
        result = {}
        for group, names in self.members.items():
            sums = [product[name].flatten(1).sum(1, dtype=torch.float64) for name in names]
            result[group] = (torch.stack(sums).sum(0) / self.sizes[group]).cpu().numpy()
        return result


def column(group: Group, quantity: str) -> str:
    """Name of a column of unit rows: ``layer|role|quantity``."""
    return f"{group.layer}|{group.role}|{quantity}"
